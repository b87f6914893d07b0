package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"dove.network/api"
	"dove.network/auth"
	"dove.network/config"
	"dove.network/control"
	"dove.network/control/stream"
	"dove.network/controller"
	"dove.network/daemon"
	"dove.network/store/etcd"
	"dove.network/world"
)

// settings are the configuration of dpc run.
type settings struct {
	State     string
	Listen    addresses
	Advertise addresses
	Elsewhere elsewhere
	QuotaMiB  int64
	Metrics   string
}

// stopGrace is how long requests may take to end when the member stops.
const stopGrace = 5 * time.Second

func runCommand() *cobra.Command {
	s := settings{State: defaultState, Listen: listen, QuotaMiB: etcd.QuotaBytes >> 20}
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run this member of the controller",
		Long: `run serves the API and the hosts' sessions until SIGTERM or SIGINT. Documents
are in an etcd member inside this process, in the state folder, unless
--etcd-endpoints names a cluster. The etcd members inside the processes of all
members are one cluster; a member that is alone serves alone.`,
	}
	f := cmd.Flags()
	f.StringVar(&s.State, "state", s.State, "`FOLDER` that dpc init or dpc join made")
	f.StringVar(&s.Listen.API, "api", s.Listen.API, "`ADDRESS` on which the API listens")
	f.StringVar(&s.Listen.Control, "control", s.Listen.Control, "`ADDRESS` on which sessions of hosts are accepted")
	f.StringVar(&s.Listen.Peer, "peer", s.Listen.Peer, "`ADDRESS` on which streams of other members are accepted")
	f.StringVar(&s.Listen.Etcd, "etcd", s.Listen.Etcd, "`ADDRESS` on which the etcd member inside this process hears those of other members; empty: it is alone")
	s.Advertise.advertiseFlags(f, "as dpc init or dpc join was told, or the host of --advertise-api and the port of the listener")
	f.Int64Var(&s.QuotaMiB, "etcd-quota", s.QuotaMiB, "how many `MIB` the etcd member inside this process may keep, the same on all members")
	s.Elsewhere.flags(f)
	f.StringVar(&s.Metrics, "metrics", s.Metrics, daemon.ListenFlag)
	config.Program(cmd, s.check, s.run)
	return cmd
}

func (s *settings) check() error {
	var f config.Faults
	s.Listen.check(&f, "", true)
	s.Advertise.check(&f, "advertise-", false)
	if s.Listen.API == "" {
		f.Add("api", "", "it is missing")
	}
	if s.Listen.Control == "" {
		f.Add("control", "", "it is missing")
	}
	f.Check("metrics", "", daemon.CheckListen(s.Metrics))
	if s.QuotaMiB < quotaMinMiB {
		f.Add("etcd-quota", "", "%d MiB are too few: at least %d", s.QuotaMiB, quotaMinMiB)
	}
	s.Elsewhere.check(&f)
	return f.Err()
}

// quotaMinMiB is the least that a store may keep.
const quotaMinMiB = 16

// run wires the member together: first what only reads, then what acts.
func (s *settings) run(ctx context.Context, log *slog.Logger) error {
	authority, server, err := s.certificates()
	if err != nil {
		return err
	}
	id, err := loadIdentity(s.State)
	if err != nil {
		return err
	}
	own, err := s.member(id, server)
	if err != nil {
		return err
	}
	where, err := s.store(id, own, log)
	if err != nil {
		return err
	}
	supervisor, err := daemon.NewSupervisor(os.Getenv, os.Getpid(), log)
	if err != nil {
		return err
	}
	apiListener, err := net.Listen("tcp", s.Listen.API)
	if err != nil {
		return fmt.Errorf("listen for the API: %w", err)
	}
	defer apiListener.Close()
	controlListener, err := net.Listen("tcp", s.Listen.Control)
	if err != nil {
		return fmt.Errorf("listen for sessions of hosts: %w", err)
	}
	defer controlListener.Close()
	var peerListener net.Listener
	if own.Peer != "" {
		if peerListener, err = net.Listen("tcp", s.Listen.Peer); err != nil {
			return fmt.Errorf("listen for other members: %w", err)
		}
		defer peerListener.Close()
	}
	metricsListener, err := daemon.Listen(s.Metrics)
	if err != nil {
		return err
	}
	if metricsListener != nil {
		defer metricsListener.Close()
	}

	// From here on the member acts.
	store, err := etcd.Open(ctx, where)
	if err != nil {
		return err
	}
	meter := newMeter()
	member := controller.NewMember(own.Name, measured{store, meter}, log)
	peerTLS := auth.PeerTLS(server, authority.Certificate())
	member.DialPeers(func(ctx context.Context, its world.Member) (control.PeerConn, error) {
		return stream.DialPeer(ctx, its.Peer, control.PeerIdentity{Member: its.Name, Serial: its.Serial}, peerTLS)
	})
	peers := &stream.PeerServer{TLS: peerTLS, Admit: member.AdmitPeer, Converse: member.ConversePeer, Refused: meter.refusedAt(peerPort), Log: log}
	hosts := &stream.Server{
		TLS:      auth.ControlTLS(server, authority.Certificate()),
		Admit:    admit(member),
		Converse: member.Converse,
		Refused:  meter.refusedAt(controlPort),
		Turns:    member.Turns(),
		Log:      log,
	}
	public := &http.Server{
		Handler: meter.handler(api.New(api.Config{
			Backend: member, Store: keeper{store}, Authority: authority, Member: own.Name, Version: version,
			Now: time.Now, Random: rand.Reader, Log: log,
		})),
		TLSConfig:         auth.APITLS(server),
		ConnState:         newIdle(meter.refusedAt(apiPort)).note,
		ReadHeaderTimeout: 10 * time.Second,
		WriteTimeout:      api.WaitMax + time.Minute, // what streams has its own
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    32 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	metrics := meter.gatherer(member, store, daemon.Facts("dove_dpc", version, server.Leaf.NotAfter), where.Dir != "")
	defer context.AfterFunc(ctx, func() { supervisor.Tell(daemon.Stopping) })()
	err = daemon.Together(ctx,
		member.Run,
		daemon.Garbage,
		func(ctx context.Context) error {
			return daemon.Serve(ctx, metricsListener, health(member).Handler(metrics, log))
		},
		func(ctx context.Context) error { return supervisor.Watch(ctx, member.Alive) },
		func(ctx context.Context) error {
			if err := prepare(ctx, member, s.State, id, own, time.Now()); err != nil {
				return err
			}
			log.Info("dpc is ready", "member", own.Name, "version", version, "api", apiListener.Addr().String(), "control", controlListener.Addr().String())
			supervisor.Tell(daemon.Ready, "STATUS=member "+own.Name)
			return daemon.Together(ctx,
				func(ctx context.Context) error { return hosts.Serve(ctx, controlListener) },
				func(ctx context.Context) error {
					if peerListener != nil {
						return peers.Serve(ctx, peerListener)
					}
					<-ctx.Done()
					return nil
				},
				func(ctx context.Context) error { return serve(ctx, public, apiListener) },
				func(ctx context.Context) error { return sweep(ctx, member, log) },
				func(ctx context.Context) error { return expire(ctx, member, log) },
				func(ctx context.Context) error { return belong(ctx, member, own) },
			)
		},
		func(ctx context.Context) error {
			select {
			case <-ctx.Done():
				return nil
			case <-store.Stopped():
				return errors.New("the etcd member inside this process stopped: this member was removed, or its disk fails")
			}
		},
		func(ctx context.Context) error { return store.Tend(ctx, log) },
	)
	log.Info("dpc stops", "error", err)
	return errors.Join(err, store.Close())
}

// certificates loads the authority and this member's certificate, which is
// renewed when half of its time is over.
func (s *settings) certificates() (*auth.Authority, tls.Certificate, error) {
	authority, err := auth.LoadAuthority(s.State)
	if errors.Is(err, os.ErrNotExist) {
		return nil, tls.Certificate{}, fmt.Errorf("%s holds no authority: run dpc init --state %s first (%w)", s.State, s.State, err)
	}
	if err != nil {
		return nil, tls.Certificate{}, err
	}
	server, err := auth.LoadServer(s.State, authority.Certificate())
	usable := err == nil && slices.Contains(server.Leaf.ExtKeyUsage, x509.ExtKeyUsageClientAuth) // an older version made others
	if err != nil || usable && !auth.NeedsRenewal(server.Leaf, time.Now()) {
		return authority, server, err
	}
	names := server.Leaf.DNSNames
	for _, ip := range server.Leaf.IPAddresses {
		names = append(names, ip.String())
	}
	if server, err = authority.IssueServer(server.Leaf.Subject.CommonName, names, time.Now(), rand.Reader); err != nil {
		return nil, tls.Certificate{}, err
	}
	return authority, server, auth.SaveServer(s.State, server)
}

// serve answers requests until ctx is done, which ends those that wait too.
func serve(ctx context.Context, server *http.Server, l net.Listener) error {
	server.BaseContext = func(net.Listener) context.Context { return ctx }
	failed := make(chan error, 1)
	go func() { failed <- server.ServeTLS(l, "", "") }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve the API: %w", err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopGrace)
	defer cancel()
	if err := server.Shutdown(grace); err != nil {
		return errors.Join(err, server.Close())
	}
	return nil
}
