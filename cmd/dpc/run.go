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
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"dove.network/api"
	"dove.network/auth"
	"dove.network/config"
	"dove.network/control/stream"
	"dove.network/controller"
	"dove.network/daemon"
	"dove.network/dove"
	"dove.network/store/etcd"
)

// settings are the configuration of dpc run.
type settings struct {
	State         string
	Name          string
	API           string
	Control       string
	EtcdEndpoints []string
	EtcdCA        string
	EtcdCert      string
	EtcdKey       string
	Metrics       string
}

// stopGrace is how long requests may take to end when the member stops.
const stopGrace = 5 * time.Second

func runCommand() *cobra.Command {
	s := settings{State: "/var/lib/dove/dpc", API: ":7443", Control: ":7444"}
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run this member of the controller",
		Long: `run serves the API and the hosts' sessions until SIGTERM or SIGINT. Documents
are in an etcd member inside this process, in the state folder, unless
--etcd-endpoints names a cluster.`,
	}
	f := cmd.Flags()
	f.StringVar(&s.State, "state", s.State, "`FOLDER` that dpc init made")
	f.StringVar(&s.Name, "name", s.Name, "`NAME` of this member; as dpc init was told if empty")
	f.StringVar(&s.API, "api", s.API, "`ADDRESS` on which the API listens")
	f.StringVar(&s.Control, "control", s.Control, "`ADDRESS` on which sessions of hosts are accepted")
	f.StringSliceVar(&s.EtcdEndpoints, "etcd-endpoints", s.EtcdEndpoints, "`ADDRESSES` host:port of an etcd cluster to use in place of a member of its own")
	f.StringVar(&s.EtcdCA, "etcd-ca", s.EtcdCA, "`FILE` with the authorities of that cluster; without it connections are in the clear")
	f.StringVar(&s.EtcdCert, "etcd-cert", s.EtcdCert, "`FILE` with the certificate to show to that cluster")
	f.StringVar(&s.EtcdKey, "etcd-key", s.EtcdKey, "`FILE` with its key")
	f.StringVar(&s.Metrics, "metrics", s.Metrics, daemon.ListenFlag)
	config.Program(cmd, s.check, s.run)
	return cmd
}

func (s *settings) check() error {
	var faults []dove.Fault
	bad := func(path, format string, args ...any) {
		faults = append(faults, dove.Fault{Path: path, Message: fmt.Sprintf(format, args...)})
	}
	if s.Name != "" {
		if err := dove.CheckName(s.Name); err != nil {
			bad("name", "%v", err)
		}
	}
	for path, address := range map[string]string{"api": s.API, "control": s.Control} {
		if _, _, err := net.SplitHostPort(address); err != nil {
			bad(path, "%q is not of the form host:port", address)
		}
	}
	if err := daemon.CheckListen(s.Metrics); err != nil {
		bad("metrics", "%v", err)
	}
	if len(s.EtcdEndpoints) == 0 && s.EtcdCA+s.EtcdCert+s.EtcdKey != "" {
		bad("etcd-endpoints", "certificates are given for a cluster, but no cluster")
	}
	if (s.EtcdCert == "") != (s.EtcdKey == "") {
		bad("etcd-key", "a certificate and its key go together")
	}
	if len(faults) > 0 {
		return &dove.Error{Kind: dove.Invalid, Message: "the settings are not valid", Faults: faults}
	}
	return nil
}

// run wires the member together: first what only reads, then what acts.
func (s *settings) run(ctx context.Context, log *slog.Logger) error {
	authority, server, err := s.certificates()
	if err != nil {
		return err
	}
	if s.Name == "" {
		s.Name = server.Leaf.Subject.CommonName
	}
	etcdTLS, err := s.etcdTLS()
	if err != nil {
		return err
	}
	supervisor, err := daemon.NewSupervisor(os.Getenv, os.Getpid(), log)
	if err != nil {
		return err
	}
	apiListener, err := net.Listen("tcp", s.API)
	if err != nil {
		return fmt.Errorf("listen for the API: %w", err)
	}
	defer apiListener.Close()
	controlListener, err := net.Listen("tcp", s.Control)
	if err != nil {
		return fmt.Errorf("listen for sessions of hosts: %w", err)
	}
	defer controlListener.Close()
	metricsListener, err := daemon.Listen(s.Metrics)
	if err != nil {
		return err
	}
	if metricsListener != nil {
		defer metricsListener.Close()
	}

	// From here on the member acts.
	where := etcd.Config{Endpoints: s.EtcdEndpoints, TLS: etcdTLS, Log: log}
	if len(s.EtcdEndpoints) == 0 {
		where.Dir = filepath.Join(s.State, etcdFolder)
	}
	store, err := etcd.Open(ctx, where)
	if err != nil {
		return err
	}
	meter := newMeter()
	member := controller.NewMember(s.Name, measured{store, meter}, log)
	hosts := &stream.Server{
		TLS:      auth.ControlTLS(server, authority.Certificate()),
		Admit:    admit(member),
		Converse: member.Converse,
		Log:      log,
	}
	public := &http.Server{
		Handler: meter.handler(api.New(api.Config{
			Backend: member, Authority: authority, Member: s.Name, Version: version,
			Now: time.Now, Random: rand.Reader, Log: log,
		})),
		TLSConfig:         auth.APITLS(server),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    32 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	metrics := meter.gatherer(member, daemon.Facts("dove_dpc", version, server.Leaf.NotAfter), where.Dir != "")
	defer context.AfterFunc(ctx, func() { supervisor.Tell(daemon.Stopping) })()
	err = daemon.Together(ctx,
		member.Run,
		func(ctx context.Context) error {
			return daemon.Serve(ctx, metricsListener, health(member).Handler(metrics, log))
		},
		func(ctx context.Context) error { return supervisor.Watch(ctx, member.Alive) },
		func(ctx context.Context) error {
			if err := prepare(ctx, member, s.State, time.Now(), log); err != nil {
				return err
			}
			log.Info("dpc is ready", "member", s.Name, "version", version, "api", apiListener.Addr().String(), "control", controlListener.Addr().String())
			supervisor.Tell(daemon.Ready, "STATUS=member "+s.Name)
			return daemon.Together(ctx,
				func(ctx context.Context) error { return hosts.Serve(ctx, controlListener) },
				func(ctx context.Context) error { return serve(ctx, public, apiListener) },
				func(ctx context.Context) error { return sweep(ctx, member, log) },
				func(ctx context.Context) error { return expire(ctx, member, log) },
			)
		},
		func(ctx context.Context) error {
			select {
			case <-ctx.Done():
				return nil
			case <-store.Stopped():
				return errors.New("the etcd member inside this process stopped")
			}
		},
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
	if err != nil || !auth.NeedsRenewal(server.Leaf, time.Now()) {
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

func (s *settings) etcdTLS() (*tls.Config, error) {
	if s.EtcdCA == "" {
		return nil, nil
	}
	text, err := os.ReadFile(s.EtcdCA)
	if err != nil {
		return nil, fmt.Errorf("read the authorities of etcd: %w", err)
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: x509.NewCertPool()}
	if !c.RootCAs.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s holds no certificate", s.EtcdCA)
	}
	if s.EtcdCert != "" {
		pair, err := tls.LoadX509KeyPair(s.EtcdCert, s.EtcdKey)
		if err != nil {
			return nil, fmt.Errorf("read the certificate for etcd: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
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
