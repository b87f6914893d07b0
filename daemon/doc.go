// Package daemon knows how a program that runs in the background tells those
// who run it how it is.
//
// A Supervisor is the service manager that started the program: it is told
// when the program is of use, when it stops and, over and over, that it is alive
// (the protocol of sd_notify, so systemd's and that of whoever speaks it); it keeps open
// descriptors while the program is started anew. A Keeper is the other end of that, for
// who runs programs otherwise. A
// Health is asked over HTTP: whether the program works at all and whether it does what it is
// for, beside the metrics that its parts collect. Serve answers such requests,
// Together runs the parts of a program that stand and fall together, and Garbage bounds
// the memory that is of no use to it any more.
//
//	supervisor, err := daemon.NewSupervisor(os.Getenv, os.Getpid(), log)
//	err = daemon.Together(ctx,
//		work,
//		func(ctx context.Context) error { return daemon.Serve(ctx, listener, health.Handler(metrics, log)) },
//		func(ctx context.Context) error { return supervisor.Watch(ctx, health.Alive) },
//	)
//
// The package does not know what a program does, nor what it measures.
package daemon
