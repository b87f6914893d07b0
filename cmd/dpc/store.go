package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"dove.network/api"
	"dove.network/auth"
	"dove.network/config"
	"dove.network/dove"
	"dove.network/store/etcd"
	"dove.network/world"
)

// elsewhere names an etcd cluster to use in place of members of our own.
type elsewhere struct {
	Endpoints []string
	CA        string
	Cert      string
	Key       string
	User      string
	Password  string // file
}

func (e *elsewhere) flags(f *pflag.FlagSet) {
	f.StringSliceVar(&e.Endpoints, "etcd-endpoints", e.Endpoints, "`ADDRESSES` host:port of an etcd cluster to use in place of a member of its own")
	f.StringVar(&e.CA, "etcd-ca", e.CA, "`FILE` with the authorities of that cluster; without it connections are in the clear")
	f.StringVar(&e.Cert, "etcd-cert", e.Cert, "`FILE` with the certificate to show to that cluster")
	f.StringVar(&e.Key, "etcd-key", e.Key, "`FILE` with its key")
	f.StringVar(&e.User, "etcd-user", e.User, "`NAME` to give to that cluster")
	f.StringVar(&e.Password, "etcd-password", e.Password, "`FILE` with the password of that name")
}

func (e *elsewhere) check(f *config.Faults) {
	if len(e.Endpoints) == 0 && e.CA+e.Cert+e.Key+e.User+e.Password != "" {
		f.Add("etcd-endpoints", "", "certificates or a name are given for a cluster, but no cluster")
	}
	if (e.Cert == "") != (e.Key == "") {
		f.Add("etcd-key", "", "a certificate and its key go together")
	}
	if (e.User == "") != (e.Password == "") {
		f.Add("etcd-password", "", "a name and its password go together")
	}
}

// store returns how to reach that cluster.
func (e *elsewhere) store(log *slog.Logger) (etcd.Config, error) {
	c := etcd.Config{Endpoints: e.Endpoints, Prefix: world.Prefix, User: e.User, Log: log}
	if e.Password != "" {
		text, err := os.ReadFile(e.Password)
		if err != nil {
			return c, fmt.Errorf("read the password for etcd: %w", err)
		}
		c.Password = strings.TrimRight(string(text), "\r\n")
	}
	if e.CA == "" {
		return c, nil
	}
	text, err := os.ReadFile(e.CA)
	if err != nil {
		return c, fmt.Errorf("read the authorities of etcd: %w", err)
	}
	c.TLS = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: x509.NewCertPool()}
	if !c.TLS.RootCAs.AppendCertsFromPEM(text) {
		return c, fmt.Errorf("%s holds no certificate", e.CA)
	}
	if e.Cert != "" {
		pair, err := tls.LoadX509KeyPair(e.Cert, e.Key)
		if err != nil {
			return c, fmt.Errorf("read the certificate for etcd: %w", err)
		}
		c.TLS.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// member is this member's document, but for what the store knows better.
func (s *settings) member(id identity, server tls.Certificate) (world.Member, error) {
	name, serial, err := auth.MemberIdentity(server.Leaf)
	reached := s.Advertise.or(id.Advertise).reached(s.Listen)
	if len(s.Elsewhere.Endpoints) > 0 {
		reached.Etcd = ""
	}
	return world.Member{
		Name: name, UID: id.UID, Serial: serial,
		API: reached.API, Control: reached.Control, Peer: reached.Peer, Etcd: reached.Etcd,
	}, err
}

// store says where the documents are.
func (s *settings) store(id identity, own world.Member, log *slog.Logger) (etcd.Config, error) {
	if len(s.Elsewhere.Endpoints) > 0 {
		return s.Elsewhere.store(log)
	}
	if id.Elsewhere {
		return etcd.Config{}, dove.Errorf(dove.Invalid, "this installation keeps its documents in an etcd elsewhere: say which with --etcd-endpoints, as the other members do")
	}
	c := etcd.Config{Dir: filepath.Join(s.State, etcdFolder), Quota: s.QuotaMiB << 20, Log: log}
	if own.Etcd == "" && len(id.Join) > 0 {
		return c, dove.Errorf(dove.Invalid, "this member joins others, and must hear them: say --etcd ADDRESS")
	}
	if own.Etcd != "" {
		c.Peers = &etcd.Peers{
			Name: own.Name, Listen: s.Listen.Etcd, Advertise: own.Etcd, Join: id.Join, Seed: strconv.FormatUint(uint64(id.UID), 16),
			Cert: filepath.Join(s.State, auth.ServerCertFile), Key: filepath.Join(s.State, auth.ServerKeyFile),
			CA: filepath.Join(s.State, auth.AuthorityCertFile), ServerName: auth.ServerName,
		}
	}
	return c, nil
}

// keeper is the store as the API asks it.
type keeper struct{ *etcd.Store }

// Health says how the store is.
func (k keeper) Health(ctx context.Context) (api.StoreHealth, error) {
	c, err := k.Condition(ctx)
	return api.StoreHealth{Size: c.Size, InUse: c.InUse, Most: c.Most, Full: c.Full(), Leader: c.Leader, Alarms: c.Alarms}, err
}
