package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sys/unix"

	"dove.network/agent"
	"dove.network/auth"
	"dove.network/control"
	"dove.network/control/stream"
	"dove.network/daemon"
	"dove.network/dataplane"
	"dove.network/dataplane/ebpf"
	"dove.network/dove"
	"dove.network/packet"
	"dove.network/vif"
)

// Files in the state folder, beside the host's credentials.
const (
	socketName = "dswitch.sock"
	savedName  = "agent.json"
	lockName   = "dswitch.lock"
)

// run switches until ctx is done.
func run(ctx context.Context, s *settings, log *slog.Logger) (err error) {
	supervisor, err := daemon.NewSupervisor(os.Getenv, os.Getpid(), log)
	if err != nil {
		return err
	}
	unlock, err := lock(s.State)
	if err != nil {
		return err
	}
	defer unlock()
	credentials, err := loadOrJoin(ctx, s, log)
	if err != nil {
		return err
	}
	identity := credentials.Identity
	metricsListener, err := daemon.Listen(s.Metrics)
	if err != nil {
		return err
	}
	if metricsListener != nil {
		defer metricsListener.Close()
	}
	underlay, err := vif.Underlay(identity.VTEP)
	if err != nil {
		return err
	}
	switcher, err := open(s, identity.VTEP, underlay, &supervisor, log)
	if err != nil {
		return err
	}
	defer func() {
		if s.RemoveOnExit {
			err = errors.Join(err, switcher.Remove())
		} else {
			err = errors.Join(err, switcher.Close())
		}
	}()
	saved, err := load(s.State)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	changes, err := vif.Watch(ctx, log)
	if err != nil {
		return err
	}
	config := credentials.TLS()
	log.Info("dswitch", "version", version, "host", identity.Host, "vtep", identity.VTEP, "dpc", s.DPC)
	var rest func() error
	if supervisor.Keeps() && !s.RemoveOnExit {
		rest = switcher.Rest
	}
	host := agent.New(agent.Options{
		Config: agent.Config{
			Host: identity.Host, VTEP: identity.VTEP, Software: "dswitch " + version,
			Rows: s.Rows, MTU: underlay.MTU - packet.OverlaySize(identity.VTEP), Own: []string{underlay.Name, s.Up, s.VXLAN},
		},
		Restored: agent.Restored{Saved: saved, Switch: agent.Contents(switcher.Held())},
		Switch:   switcher,
		Misses:   switcher.Misses,
		Drops:    switcher.Drops(),
		Hints:    switcher.Hints(),
		Claims:   switcher.Claims(),
		Notes:    switcher.Notes(),
		Devices:  devices(changes),
		Members:  s.DPC,
		Dial: func(ctx context.Context, address string) (control.HostConn, error) {
			return stream.Dial(ctx, []string{address}, config)
		},
		Prepare: func(d agent.Device) error { return vif.Prepare(vif.Device(d)) },
		Expire:  switcher.Expire,
		Rest:    rest,
		Save:    func(saved agent.Saved) error { return save(s.State, saved) },
		Socket:  filepath.Join(s.State, socketName),
		Log:     log,
	})
	metrics, err := gatherer(host, daemon.Facts("dove_dswitch", version, credentials.Certificate().NotAfter))
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { supervisor.Tell(daemon.Stopping) })()
	return daemon.Together(ctx,
		host.Run,
		daemon.Garbage,
		func(ctx context.Context) error {
			return daemon.Serve(ctx, metricsListener, daemon.Health{Alive: host.Alive, Ready: host.Ready}.Handler(metrics, log))
		},
		func(ctx context.Context) error {
			// The session is not waited for: without a DPC the host does what it
			// can, and to start it anew would not help.
			if host.Alive(ctx) == nil {
				supervisor.Tell(daemon.Ready, "STATUS=host "+string(identity.Host)+" at "+identity.VTEP.String())
			}
			return supervisor.Watch(ctx, host.Alive)
		},
	)
}

// gatherer collects all metrics of the program.
func gatherer(host *agent.Agent, facts []prometheus.Collector) (prometheus.Gatherer, error) {
	own, err := host.Collector()
	if err != nil {
		return nil, err
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(facts...)
	registry.MustRegister(own, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return registry, nil
}

// open opens the switch on the device that carries the host's underlay address. The
// service manager, if there is one, keeps the tap's descriptor while nobody runs.
func open(s *settings, vtep netip.Addr, underlay vif.UnderlayDevice, supervisor *daemon.Supervisor, log *slog.Logger) (*ebpf.Switch, error) {
	o, err := options(s, vtep, underlay)
	if err != nil {
		return nil, err
	}
	if supervisor != nil {
		o.Kept = supervisor.Kept(tapName)
		o.Keep = func(f *os.File) {
			if err := supervisor.Keep(tapName, f); err != nil {
				log.Warn("first packets during a restart will be lost", "error", err)
			}
		}
	}
	return ebpf.Open(o)
}

// tapName is what the service manager knows the tap's descriptor by.
const tapName = "tap"

func options(s *settings, vtep netip.Addr, underlay vif.UnderlayDevice) (ebpf.Options, error) {
	dscp, err := s.dscp()
	return ebpf.Options{
		Config: dataplane.Config{VTEP: vtep, Underlay: underlay.Name, DSCP: dscp},
		PinDir: s.Pins, UpName: s.Up, VXLANName: s.VXLAN, Flows: s.Flows, FlowsPerPort: s.FlowsPerPort,
	}, err
}

// check finds out whether this machine can switch, before a token is used up
// for it.
func check(s *settings) error {
	underlay, err := vif.Underlay(s.Underlay)
	if err != nil {
		return err
	}
	o, err := options(s, s.Underlay, underlay)
	if err != nil {
		return err
	}
	return ebpf.Check(o)
}

// joinOnly gets the host's certificate.
func joinOnly(ctx context.Context, s *settings, log *slog.Logger) error {
	unlock, err := lock(s.State)
	if err != nil {
		return err
	}
	defer unlock()
	_, err = join(ctx, s, log)
	return err
}

// remove takes down what a dswitch left.
func remove(_ context.Context, s *settings, log *slog.Logger) error {
	unlock, err := lock(s.State)
	if err != nil {
		return err
	}
	defer unlock()
	vtep := s.Underlay
	if !vtep.IsValid() {
		c, err := auth.LoadHost(s.State)
		if err != nil {
			return fmt.Errorf("%w (or say --underlay)", err)
		}
		vtep = c.Identity.VTEP
	}
	underlay, err := vif.Underlay(vtep)
	if err != nil {
		return err
	}
	switcher, err := open(s, vtep, underlay, nil, log)
	if err != nil {
		return err
	}
	if err := switcher.Remove(); err != nil {
		return err
	}
	log.Info("everything is taken down", "pins", s.Pins)
	return removeSaved(s.State)
}

// loadOrJoin loads the host's credentials, or joins to get some.
func loadOrJoin(ctx context.Context, s *settings, log *slog.Logger) (*auth.HostCredentials, error) {
	c, err := auth.LoadHost(s.State)
	switch {
	case err == nil:
		id := c.Identity
		if s.Host != "" && dove.HostName(s.Host) != id.Host || s.Underlay.IsValid() && s.Underlay != id.VTEP {
			return nil, fmt.Errorf("the certificate in %s is for host %s at %s: correct --host and --underlay, or join anew with an empty state folder", s.State, id.Host, id.VTEP)
		}
		return c, nil
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	case s.Join == "":
		return nil, fmt.Errorf("this host has not joined: there is no certificate in %s (dswitch join TOKEN; dovectl host token makes one)", s.State)
	}
	if err := check(s); err != nil {
		return nil, err
	}
	return join(ctx, s, log)
}

func join(ctx context.Context, s *settings, log *slog.Logger) (*auth.HostCredentials, error) {
	token, err := s.token()
	if err != nil {
		return nil, err
	}
	host, err := s.host()
	if err != nil {
		return nil, err
	}
	if _, err := vif.Underlay(s.Underlay); err != nil {
		return nil, err // the token is not used up
	}
	c, err := auth.Join(ctx, s.api(), token, host, s.Underlay)
	if err != nil {
		return nil, err
	}
	if err := c.Save(s.State); err != nil {
		return nil, fmt.Errorf("the token is used up, but the certificate could not be saved: %w", err)
	}
	log.Info("joined", "host", host, "vtep", s.Underlay, "serial", c.Identity.Serial)
	return c, nil
}

// lock keeps a second dswitch off the state folder, which it makes if need be.
func lock(state string) (unlock func(), err error) {
	if err := os.MkdirAll(state, 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(state, lockName), os.O_CREATE|os.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("another dswitch works with %s: stop it, or give another --state", state), f.Close())
	}
	return func() { _ = f.Close() }, nil // the lock ends with the descriptor
}

// load reads what the last run saved; nothing if there is none.
func load(state string) (agent.Saved, error) {
	var saved agent.Saved
	path := filepath.Join(state, savedName)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return saved, nil
	}
	if err != nil {
		return saved, err
	}
	if err := json.Unmarshal(text, &saved); err != nil {
		return saved, fmt.Errorf("%s is damaged (remove it to begin anew: guests lose their connections): %w", path, err)
	}
	return saved, nil
}

func save(state string, saved agent.Saved) error {
	text, err := json.Marshal(saved)
	if err != nil {
		return err
	}
	return auth.WriteSecret(filepath.Join(state, savedName), text)
}

func removeSaved(state string) error {
	if err := os.Remove(filepath.Join(state, savedName)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// devices says in the agent's words what vif sees.
func devices(changes <-chan vif.Event) <-chan agent.Event {
	out := make(chan agent.Event)
	go func() {
		defer close(out)
		for e := range changes {
			switch e.Change {
			case vif.Up:
				out <- agent.DeviceUp{Device: agent.Device(e.Device)}
			case vif.Gone:
				out <- agent.DeviceGone{Name: e.Device.Name}
			case vif.Listed:
				out <- agent.DevicesListed{}
			}
		}
	}()
	return out
}
