package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"log/slog"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"dove.network/api"
	"dove.network/api/client"
	"dove.network/auth"
	"dove.network/backup"
	"dove.network/control"
	"dove.network/control/stream"
	"dove.network/daemon/daemontest"
	"dove.network/dove"
	"dove.network/store/etcd"
	"dove.network/world"

	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
)

// TestRestore takes a backup of a member that runs, and makes another one of it
// under a host that has seen more.
func TestRestore(t *testing.T) {
	state := filepath.Join(t.TempDir(), "dpc")
	s := settings{State: state, Listen: addresses{API: daemontest.FreeAddress(t), Control: daemontest.FreeAddress(t)}}
	if err := (&initial{State: state, Name: "dpc-1", Advertise: []string{s.Listen.API}}).init(io.Discard); err != nil {
		t.Fatal(err)
	}
	c, stop := start(t, s)
	must[api.Tenant](t)(c.PutTenant(t.Context(), "acme", nil))
	must[api.Blueprint](t)(c.PutBlueprint(t.Context(), "acme", "shop", []byte(shop), nil))
	vtep := netip.MustParseAddr("192.0.2.1")
	host := joinHost(t, c, s.Listen.API, vtep)
	unused := must[api.JoinToken](t)(c.CreateJoinToken(t.Context(), "h2", time.Hour))
	file := filepath.Join(t.TempDir(), "dpc.backup")
	save := saving{State: state}
	var printed strings.Builder
	if err := save.save(t.Context(), file, &printed); err != nil || !strings.Contains(printed.String(), "documents at revision") {
		t.Fatalf("backup: %v, %s", err, &printed)
	}
	if err := save.save(t.Context(), file, io.Discard); dove.KindOf(err) != dove.Exists {
		t.Errorf("over another backup: %v", err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file is %v, %v", info, err)
	}
	must[api.Tenant](t)(c.PutTenant(t.Context(), "globex", nil))
	seen := must[api.Status](t)(c.Status(t.Context()))

	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	restore := func(file, state string, force bool) error {
		return (&restoring{initial: initial{State: state, Name: "dpc-9", Advertise: []string{s.Listen.API}}, Force: force}).restore(t.Context(), file, io.Discard, log)
	}
	if err := restore(file, state, true); err == nil || !strings.Contains(err.Error(), "stop it first") {
		t.Errorf("under a member that runs: %v", err)
	}
	stop()
	if err := restore(file, state, false); dove.KindOf(err) != dove.Exists || !strings.Contains(err.Error(), "--force") {
		t.Errorf("over another state folder: %v", err)
	}
	empty := filepath.Join(t.TempDir(), "dpc")
	for name, change := range map[string]func([]byte) []byte{
		"format 2": func(text []byte) []byte { return bytes.Replace(text, []byte(`"format":1`), []byte(`"format":2`), 1) },
		"checksum": func(text []byte) []byte { return bytes.Replace(text, []byte("acme"), []byte("bolt"), 1) },
		"no end":   func(text []byte) []byte { return text[:bytes.LastIndexByte(text[:len(text)-1], '\n')+1] },
		"newer":    nil,
	} {
		bad := file + "." + strconv.Itoa(len(name))
		if change != nil {
			repack(t, file, bad, change)
		} else {
			newer(t, file, bad)
		}
		if err := restore(bad, empty, false); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Lstat(empty); err == nil {
			t.Fatalf("%s: something was written", name)
		}
	}

	// An etcd elsewhere that is not empty, or not there, is no reason to touch the folder.
	full := elsewhereWith(t, world.Put(world.Tenant{Name: "other"}))
	for address, want := range map[string]string{full: "the store has documents", daemontest.FreeAddress(t): "etcd"} {
		s := restoring{initial: initial{State: state, Name: "dpc-9", Advertise: []string{s.Listen.API}}, Force: true, Elsewhere: elsewhere{Endpoints: []string{address}}}
		within, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		if err := s.restore(within, file, io.Discard, log); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("onto the etcd at %s: %v", address, err)
		}
		cancel()
		if aside, err := filepath.Glob(filepath.Join(state, asidePrefix+"*")); err != nil || len(aside) > 0 {
			t.Fatalf("onto the etcd at %s: %v was kept aside, %v", address, aside, err)
		}
	}
	if err := restore(file, state, true); err != nil {
		t.Fatal(err)
	}
	if aside, err := filepath.Glob(filepath.Join(state, asidePrefix+"*", auth.AuthorityKeyFile)); err != nil || len(aside) != 1 {
		t.Errorf("what was there is in %v, %v", aside, err)
	}
	old := must[client.Config](t)(client.Load(filepath.Join(must[[]string](t)(filepath.Glob(filepath.Join(state, asidePrefix+"*")))[0], adminFile)))
	c, stop = start(t, s)
	renewed := must[api.Status](t)(c.Status(t.Context()))
	if renewed.Incarnation == seen.Incarnation || renewed.Tenants != 1 || renewed.Member != "dpc-9" || len(renewed.Members) != 1 {
		t.Errorf("restored: %+v", renewed)
	}
	if b := must[api.Blueprint](t)(c.Blueprint(t.Context(), "acme", "shop")); b.Text != shop {
		t.Errorf("the blueprint is %q", b.Text)
	}
	before := must[*client.Client](t)(client.New(old))
	defer before.Close()
	must[api.Status](t)(before.Status(t.Context()))

	parsed := must[auth.Token](t)(auth.ParseToken(auth.JoinToken, unused.Token))
	if _, err := auth.Join(t.Context(), s.Listen.API, parsed, "h2", netip.MustParseAddr("192.0.2.2")); dove.KindOf(err) != dove.Unauthorized {
		t.Errorf("by a token that may have been used since the backup: %v", err)
	}
	conn := must[control.HostConn](t)(stream.Dial(t.Context(), []string{s.Listen.Control}, host.TLS()))
	incarnation := must[uint64](t)(strconv.ParseUint(seen.Incarnation, 16, 64))
	if err := conn.Send(&control.Hello{Version: control.Version, Number: 1, Host: "h1", VTEP: vtep, Incarnation: incarnation, Seen: seen.Revision}); err != nil {
		t.Fatal(err)
	}
	if m, ok := must[control.Down](t)(conn.Recv()).(*control.Welcome); !ok {
		t.Errorf("the restored world says %+v", m)
	}
	conn.Close()
	stop()
	c, stop = start(t, s)
	defer stop()
	if again := must[api.Status](t)(c.Status(t.Context())); again.Incarnation != renewed.Incarnation {
		t.Error("another start gives another incarnation")
	}
}

// elsewhereWith starts an etcd that has documents, and returns its address.
func elsewhereWith(t *testing.T, docs ...dove.Put) string {
	t.Helper()
	c := embed.NewConfig()
	c.Dir = t.TempDir()
	c.ListenPeerUrls = nil
	c.ListenClientUrls = []url.URL{{Scheme: "http", Host: "127.0.0.1:0"}}
	c.AdvertiseClientUrls = c.ListenClientUrls
	c.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	e := must[*embed.Etcd](t)(embed.StartEtcd(c))
	t.Cleanup(e.Close)
	<-e.Server.ReadyNotify()
	address := e.Clients[0].Addr().String()
	store := must[*etcd.Store](t)(etcd.Open(t.Context(), etcd.Config{Endpoints: []string{address}}))
	must[dove.Revision](t)(store.Commit(t.Context(), dove.Txn{Puts: docs}))
	if err := store.Close(); err != nil {
		t.Error(err)
	}
	return address
}

// repack writes a backup whose lines are changed.
func repack(t *testing.T, from, to string, change func([]byte) []byte) {
	t.Helper()
	f := must[*os.File](t)(os.Open(from))
	defer f.Close()
	text := change(must[[]byte](t)(io.ReadAll(must[*gzip.Reader](t)(gzip.NewReader(f)))))
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	w.Write(text)
	w.Close()
	if err := os.WriteFile(to, out.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}

// newer writes a whole backup with a document that a newer controller wrote.
func newer(t *testing.T, from, to string) {
	t.Helper()
	f := must[*os.File](t)(os.Open(from))
	defer f.Close()
	var docs []dove.Doc
	is, err := backup.Read(f, func(_ backup.Header, page []dove.Doc) error {
		docs = append(docs, page...)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	docs = append(docs, dove.Doc{Key: "/dove/v1/wonders/w", Value: []byte("{}"), Revision: 7})
	out := must[*os.File](t)(os.Create(to))
	defer out.Close()
	if err := backup.Write(out, is.Header, func(page func([]dove.Doc) error) (dove.Revision, error) { return 7, page(docs) }); err != nil {
		t.Fatal(err)
	}
}

// joinHost has host h1 join.
func joinHost(t *testing.T, c *client.Client, server string, vtep netip.Addr) *auth.HostCredentials {
	t.Helper()
	token := must[api.JoinToken](t)(c.CreateJoinToken(t.Context(), "h1", time.Minute))
	parsed := must[auth.Token](t)(auth.ParseToken(auth.JoinToken, token.Token))
	return must[*auth.HostCredentials](t)(auth.Join(t.Context(), server, parsed, "h1", vtep))
}
