package etcd_test

import (
	"bufio"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"dove.network/dove"
	"dove.network/store/etcd"
	"dove.network/store/storetest"
)

func open(t *testing.T, dir string) *etcd.Store {
	t.Helper()
	s, err := etcd.Open(t.Context(), etcd.Config{Dir: dir, Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStore(t *testing.T) {
	before := sockets(t)
	s := open(t, t.TempDir())
	if after := sockets(t); !slices.Equal(before, after) {
		t.Errorf("listening sockets of the process: %v, before the member started: %v", after, before)
	}
	storetest.Run(t, s)
	<-s.Stopped()
}

// sockets lists the sockets of this process that somebody could connect to.
func sockets(t *testing.T) []string {
	t.Helper()
	own := map[string]bool{}
	fds, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if to, err := os.Readlink(fd); err == nil && strings.HasPrefix(to, "socket:[") {
			own[strings.TrimSuffix(strings.TrimPrefix(to, "socket:["), "]")] = true
		}
	}
	var found []string
	// Columns of the state and the inode; TCP's state 0A is LISTEN, UNIX's flag
	// 00010000 an accepting socket.
	for _, table := range []struct {
		path         string
		state, inode int
		listens      string
	}{{"/proc/net/tcp", 3, 9, "0A"}, {"/proc/net/tcp6", 3, 9, "0A"}, {"/proc/net/unix", 3, 6, "00010000"}} {
		f, err := os.Open(table.path)
		if err != nil {
			t.Logf("%s: %v", table.path, err)
			continue
		}
		for lines := bufio.NewScanner(f); lines.Scan(); {
			columns := strings.Fields(lines.Text())
			if len(columns) > table.inode && columns[table.state] == table.listens && own[columns[table.inode]] {
				found = append(found, lines.Text())
			}
		}
		f.Close()
	}
	return found
}

// TestAgain closes a member and starts it on the same folder.
func TestAgain(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	_, err := etcd.Open(t.Context(), etcd.Config{Dir: dir})
	if dove.KindOf(err) != dove.Unavailable || !strings.Contains(err.Error(), "another process uses") {
		t.Errorf("a second member on the folder: %v", err)
	}
	r, err := s.Commit(t.Context(), dove.Txn{Puts: []dove.Put{{Key: "/a", Value: []byte("1")}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	defer s.Close()
	var docs []dove.Doc
	again, err := s.Load(t.Context(), "/", func(page []dove.Doc) error { docs = append(docs, page...); return nil })
	if err != nil || again != r || len(docs) != 1 || docs[0].Revision != r {
		t.Errorf("after a restart: %v at %d, want revision %d: %v", docs, again, r, err)
	}
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm()&0o077 != 0 && filepath.Base(dir) == "member" {
		t.Errorf("folder %v %v", info, err)
	}
}

// TestPages has many small documents before large ones: what was learned of the small
// ones makes no page of many large ones.
func TestPages(t *testing.T) {
	s := open(t, t.TempDir())
	defer s.Close()
	const small, large, size = 5000, 90, 128 << 10
	want := 0
	for begun := range small / 100 {
		var txn dove.Txn
		for i := range 100 {
			txn.Puts = append(txn.Puts, dove.Put{Key: fmt.Sprintf("/dove/names/t/%05d", 100*begun+i), Value: []byte("x")})
		}
		if _, err := s.Commit(t.Context(), txn); err != nil {
			t.Fatal(err)
		}
		want += len(txn.Puts)
	}
	big := []byte(strings.Repeat("x", size))
	for i := range large {
		if _, err := s.Commit(t.Context(), dove.Txn{Puts: []dove.Put{{Key: fmt.Sprintf("/dove/texts/t/%05d", i), Value: big}}}); err != nil {
			t.Fatal(err)
		}
		want++
	}
	var keys []string
	pages, most := 0, 0
	if _, err := s.Load(t.Context(), "/dove/", func(page []dove.Doc) error {
		pages++
		bytes := 0
		for _, d := range page {
			keys = append(keys, d.Key)
			bytes += len(d.Value)
		}
		most = max(most, bytes)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if len(keys) != want || !slices.IsSorted(keys) || len(slices.Compact(keys)) != want {
		t.Errorf("%d documents are loaded, want %d, each once and in order", len(keys), want)
	}
	if most > 64*size || pages > 12 {
		t.Errorf("%d pages, the largest of %d bytes", pages, most)
	}
}

func TestConfig(t *testing.T) {
	for _, c := range []etcd.Config{{}, {Dir: "x", Endpoints: []string{"127.0.0.1:1"}}} {
		if _, err := etcd.Open(t.Context(), c); dove.KindOf(err) != dove.Invalid {
			t.Errorf("open %+v: %v", c, err)
		}
	}
}
