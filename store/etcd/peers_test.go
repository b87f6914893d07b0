package etcd_test

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"dove.network/auth"
	"dove.network/daemon/daemontest"
	"dove.network/dove"
	"dove.network/store/etcd"
)

// rig makes members of one cluster, each with a certificate of one authority.
type rig struct {
	t         *testing.T
	authority *auth.Authority
}

func newRig(t *testing.T) *rig {
	a, err := auth.NewAuthority("test", time.Now(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &rig{t, a}
}

// config returns the configuration of a new member.
func (r *rig) config(name string, join ...string) etcd.Config {
	r.t.Helper()
	dir := r.t.TempDir()
	server, err := r.authority.IssueServer(name, nil, time.Now(), rand.Reader)
	if err != nil {
		r.t.Fatal(err)
	}
	if err := auth.SaveServer(dir, server); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, auth.AuthorityCertFile), r.authority.CertificatePEM(), 0o600); err != nil {
		r.t.Fatal(err)
	}
	address := daemontest.FreeAddress(r.t)
	return etcd.Config{
		Dir: filepath.Join(dir, "etcd"), Log: slog.New(slog.NewTextHandler(r.t.Output(), nil)),
		Peers: &etcd.Peers{
			Name: name, Listen: address, Advertise: address, Join: join, Seed: r.t.Name(), ServerName: auth.ServerName,
			Cert: filepath.Join(dir, auth.ServerCertFile), Key: filepath.Join(dir, auth.ServerKeyFile), CA: filepath.Join(dir, auth.AuthorityCertFile),
		},
	}
}

// start opens a member and tends it until the test or what it returns ends it.
func (r *rig) start(c etcd.Config) (*etcd.Store, func()) {
	r.t.Helper()
	s, err := etcd.Open(r.t.Context(), c)
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Tend(ctx, c.Log) }()
	stop := func() {
		cancel()
		if err := <-done; err != nil {
			r.t.Error(err)
		}
		done <- nil
		s.Close()
	}
	r.t.Cleanup(stop)
	return s, stop
}

// TestGrow starts alone, as all do, grows to three, loses one, replaces it, and
// goes on with what was written before.
func TestGrow(t *testing.T) {
	r := newRig(t)
	alone := r.config("dpc-1")
	unheard := alone
	unheard.Peers = nil
	s, stop := r.start(unheard)
	put(t, s, "/a", "1")
	if _, err := s.Admit(t.Context(), "127.0.0.1:9"); dove.KindOf(err) != dove.Conflict || !strings.Contains(err.Error(), "--advertise-etcd") {
		t.Errorf("who is alone admits: %v", err)
	}
	stop()

	// The folder of one that was alone goes on as a cluster of one with an address,
	// and listens on all addresses.
	_, port, err := net.SplitHostPort(alone.Peers.Listen)
	if err != nil {
		t.Fatal(err)
	}
	alone.Peers.Listen = ":" + port
	one, _ := r.start(alone)
	nodes := must[[]etcd.Node](t)(one.Nodes(t.Context()))
	if len(nodes) != 1 || nodes[0].Address != alone.Peers.Advertise || nodes[0].Learner {
		t.Fatalf("a member that got an address is %+v", nodes)
	}
	var second, third *etcd.Store
	var stopSecond func()
	configs := []etcd.Config{alone}
	for _, name := range []string{"dpc-2", "dpc-3"} {
		c := r.config(name)
		c.Peers.Join = must[[]string](t)(one.Admit(t.Context(), c.Peers.Advertise))
		if _, err := one.Admit(t.Context(), daemontest.FreeAddress(t)); dove.KindOf(err) != dove.Conflict {
			t.Errorf("two at once: %v", err)
		}
		s, stop := r.start(c)
		if second == nil {
			second, stopSecond = s, stop
		}
		third = s
		configs = append(configs, c)
		if v := get(t, s, "/a"); v != "1" {
			t.Errorf("%s has %q", name, v)
		}
	}
	put(t, second, "/a", "2")
	if v := get(t, one, "/a"); v != "2" {
		t.Errorf("one has %q", v)
	}
	stopSecond()

	// The second is gone; the others write, and another takes its place.
	put(t, one, "/a", "3")
	if err := one.Dismiss(t.Context(), configs[1].Peers.Advertise); err != nil {
		t.Fatal(err)
	}
	if err := one.Dismiss(t.Context(), configs[1].Peers.Advertise); err != nil {
		t.Errorf("dismissed once more: %v", err)
	}
	if _, err := etcd.Open(t.Context(), configs[1]); err == nil {
		t.Error("who was dismissed comes back")
	}
	c := r.config("dpc-4")
	for range 2 { // the first answer was lost
		c.Peers.Join = must[[]string](t)(one.Admit(t.Context(), c.Peers.Advertise))
	}
	fourth, _ := r.start(c)
	if v := get(t, fourth, "/a"); v != "3" {
		t.Errorf("the fourth has %q", v)
	}
	if _, err := one.Admit(t.Context(), c.Peers.Advertise); dove.KindOf(err) != dove.Conflict {
		t.Errorf("two at one address: %v", err)
	}
	condition := must[etcd.Condition](t)(fourth.Condition(t.Context()))
	if !slices.Contains([]string{"dpc-1", "dpc-3", "dpc-4"}, condition.Leader) || len(condition.Alarms) != 0 || condition.Most == 0 {
		t.Errorf("condition %+v", condition)
	}
	// Who leads and is not heard stops all the same.
	all := []*etcd.Store{one, third, fourth}
	i := slices.IndexFunc(all, etcd.Leads)
	etcd.Mute(all[i])
	begun := time.Now()
	if all[i].Close(); time.Since(begun) > 4*time.Second {
		t.Errorf("who leads and is not heard took %s to stop", time.Since(begun))
	}
}

// TestStrangers wants in without having been admitted, or from elsewhere.
func TestStrangers(t *testing.T) {
	r := newRig(t)
	c := r.config("dpc-1")
	one, _ := r.start(c)

	uninvited := r.config("dpc-2", c.Peers.Advertise)
	if _, err := etcd.Open(t.Context(), uninvited); dove.KindOf(err) != dove.Forbidden || !strings.Contains(err.Error(), "join again") {
		t.Errorf("uninvited: %v", err)
	}
	foreign := newRig(t).config("dpc-2", c.Peers.Advertise)
	if _, err := one.Admit(t.Context(), foreign.Peers.Advertise); err != nil {
		t.Fatal(err)
	}
	if _, err := etcd.Open(t.Context(), foreign); dove.KindOf(err) != dove.Unavailable {
		t.Errorf("of another authority: %v", err)
	}
	if err := one.Dismiss(t.Context(), foreign.Peers.Advertise); err != nil {
		t.Fatal(err)
	}
	taken := r.config("dpc-2")
	taken.Peers.Listen = c.Peers.Listen
	if _, err := etcd.Open(t.Context(), taken); err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("an address in use: %v", err)
	}

	// The certificate of a host opens no connection.
	vtep := netip.MustParseAddr("192.0.2.1")
	key, request, err := auth.NewHostKey("h1", vtep)
	if err != nil {
		t.Fatal(err)
	}
	cert, _, err := r.authority.SignHost(request, "h1", vtep, time.Now(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	host, err := auth.NewHostCredentials(key, cert, r.authority.CertificatePEM())
	if err != nil {
		t.Fatal(err)
	}
	member := must[tls.Certificate](t)(r.authority.IssueServer("dpc-9", nil, time.Now(), rand.Reader))
	for name, test := range map[string]struct {
		config *tls.Config
		ok     bool
	}{
		"member": {auth.PeerTLS(member, r.authority.Certificate()), true},
		"host":   {host.TLS(), false},
		"nobody": {auth.ClientTLS(r.authority.Certificate()), false},
	} {
		answer, err := (&http.Client{Transport: &http.Transport{TLSClientConfig: test.config}}).Get(fmt.Sprintf("https://%s/members", c.Peers.Advertise))
		if (err == nil) != test.ok {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil {
			answer.Body.Close()
		}
	}
}

// TestFullQuota fills a store, is told so, deletes, and goes on.
func TestFullQuota(t *testing.T) {
	s, err := etcd.Open(t.Context(), etcd.Config{Dir: t.TempDir(), Quota: 8 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Tend(ctx, slog.New(slog.NewTextHandler(t.Output(), nil))) }()
	defer func() { cancel(); <-done }()

	big := strings.Repeat("x", 256<<10)
	refused, full := false, error(nil)
	for i := 0; full == nil && i < 100; i++ {
		refused = refused || s.Room() != nil
		_, full = s.Commit(t.Context(), dove.Txn{Puts: []dove.Put{{Key: fmt.Sprintf("/big/%d", i%8), Value: []byte(big)}}})
	}
	if dove.KindOf(full) != dove.Unavailable {
		t.Fatalf("full: %v", full)
	}
	eventually(t, "it says that it is full", func() bool { return s.Room() != nil })
	condition := must[etcd.Condition](t)(s.Condition(t.Context()))
	if len(condition.Alarms) == 0 || condition.Full() < etcd.AlarmAt {
		t.Errorf("condition %+v", condition)
	}
	if _, err := s.Commit(t.Context(), dove.Txn{Deletes: []string{"/big/0"}}); err != nil {
		t.Errorf("a deletion: %v", err)
	}
	last, err := s.Current(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Compact(t.Context(), last); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it has room again", func() bool {
		_, err := s.Commit(t.Context(), dove.Txn{Puts: []dove.Put{{Key: "/small", Value: []byte("x")}}})
		return err == nil && s.Room() == nil
	})
	if condition := must[etcd.Condition](t)(s.Condition(t.Context())); len(condition.Alarms) != 0 {
		t.Errorf("condition %+v", condition)
	}
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !is(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it never happens that %s", what)
		}
	}
}

func put(t *testing.T, s *etcd.Store, key, value string) {
	t.Helper()
	if _, err := s.Commit(t.Context(), dove.Txn{Puts: []dove.Put{{Key: key, Value: []byte(value)}}}); err != nil {
		t.Fatal(err)
	}
}

func get(t *testing.T, s *etcd.Store, key string) string {
	t.Helper()
	value := ""
	if _, err := s.Load(t.Context(), key, func(docs []dove.Doc) error {
		value = string(docs[0].Value)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return value
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}
