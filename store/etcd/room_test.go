package etcd_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"dove.network/dove"
	"dove.network/privtest"
	"dove.network/store/etcd"
)

// TestFullDisk fills the disk of a member and empties it again: who would be refused for want of room
// is not once there is some, though nobody has told the store.
func TestFullDisk(t *testing.T) {
	privtest.Require(t)
	const (
		spare = 1 << 20  // less would stop the member
		used  = 12 << 20 // of documents: far more than what is spare
	)
	dir := t.TempDir()
	if err := unix.Mount("disk", dir, "tmpfs", 0, "mode=700,size=256m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	s := open(t, dir)
	defer s.Close()
	big := strings.Repeat("x", 512<<10)
	for n := range used / len(big) {
		put(t, s, "/big/"+string(rune('a'+n)), big)
	}
	ctx, end := context.WithCancel(t.Context())
	tended := make(chan error, 1)
	go func() { tended <- s.Tend(ctx, slog.New(slog.NewTextHandler(t.Output(), nil))) }()
	eventually(t, "how full the disk is has been looked at", func() bool { return s.Noted().Most > 0 })
	if err := s.Room(); err != nil {
		t.Errorf("there is room: %v", err)
	}

	filler := filepath.Join(dir, "filler")
	f := must[*os.File](t)(os.Create(filler))
	defer f.Close()
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		t.Fatal(err)
	}
	if err := unix.Fallocate(int(f.Fd()), 0, 0, int64(fs.Bavail)*fs.Bsize-spare); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the disk is found full", func() bool { return s.Room() != nil })
	end() // nobody looks at the disk any more unless he is asked
	if err := <-tended; err != nil {
		t.Error(err)
	}
	full := 0 // percent
	if err := s.Room(); dove.KindOf(err) != dove.Unavailable {
		t.Errorf("the disk is full: %v", err)
	} else if _, said := fmt.Sscanf(err.Error(), "the store is full to %d %%", &full); said != nil || full < etcd.RefuseAt {
		t.Errorf("the disk is full: %v, want at least %d %%", err, etcd.RefuseAt)
	}

	if err := f.Truncate(0); err != nil {
		t.Fatal(err)
	}
	if err := s.Room(); err != nil {
		t.Errorf("there is room again: %v", err)
	}
	if noted := s.Noted(); noted.Full() < etcd.RefuseAt {
		t.Errorf("somebody has noted that there is room: %+v", noted)
	}
}
