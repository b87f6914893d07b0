package daemon

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Keeper is a service manager as far as it keeps descriptors for one program over
// its restarts, for who runs programs without systemd. It hears nothing else.
type Keeper struct {
	conn  *net.UnixConn
	heard func(string)
	done  sync.WaitGroup
	mu    sync.Mutex
	kept  map[string]int // never a file: one would make the descriptor that all share block, or watch it
}

// NewKeeper listens on a socket that it makes in place of what is there. heard, which
// may be nil, gets each assignment that is not about descriptors, such as Ready.
func NewKeeper(socket string, heard func(string)) (*Keeper, error) {
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		return nil, fmt.Errorf("listen for the program's notifications: %w", err)
	}
	k := &Keeper{conn: conn, heard: heard, kept: map[string]int{}}
	k.done.Go(k.listen)
	return k, nil
}

// Start starts a command with the Keeper's socket and all that is kept.
func (k *Keeper) Start(cmd *exec.Cmd) error {
	sh, err := exec.LookPath("sh")
	if err != nil {
		return fmt.Errorf("hand descriptors over: %w", err)
	}
	if cmd.Env == nil {
		cmd.Env = os.Environ()
	}
	cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+k.conn.LocalAddr().String())
	k.mu.Lock()
	defer k.mu.Unlock()
	names := slices.Sorted(maps.Keys(k.kept))
	for _, name := range names {
		fd, err := unix.FcntlInt(uintptr(k.kept[name]), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("hand %s over: %w", name, err)
		}
		f := os.NewFile(uintptr(fd), name)
		defer f.Close()
		cmd.ExtraFiles = append(cmd.ExtraFiles, f)
	}
	if len(names) > 0 {
		cmd.Env = append(cmd.Env, fmt.Sprintf("LISTEN_FDS=%d", len(names)), "LISTEN_FDNAMES="+strings.Join(names, ":"))
		// Whom they are for is known only when it runs.
		cmd.Args = append([]string{sh, "-c", `LISTEN_PID=$$ exec "$0" "$@"`, cmd.Path}, cmd.Args[1:]...)
		cmd.Path = sh
	}
	return cmd.Start()
}

// Forget lets go of all that is kept, as when a service is stopped for good.
func (k *Keeper) Forget() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	var errs []error
	for _, fd := range k.kept {
		errs = append(errs, unix.Close(fd))
	}
	clear(k.kept)
	return errors.Join(errs...)
}

// Names lists what is kept.
func (k *Keeper) Names() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Sorted(maps.Keys(k.kept))
}

// Close ends the Keeper and lets go of all.
func (k *Keeper) Close() error {
	if k == nil {
		return nil
	}
	err := k.conn.Close()
	k.done.Wait()
	return errors.Join(err, k.Forget())
}

// Limits of one message.
const (
	messageMax  = 4096
	messageFDs  = 16
	assignFD    = "FDSTORE=1"
	assignNoFD  = "FDSTOREREMOVE=1"
	assignFDTag = "FDNAME="
)

func (k *Keeper) listen() {
	text, oob := make([]byte, messageMax), make([]byte, unix.CmsgSpace(4*messageFDs))
	for {
		n, m, _, _, err := k.conn.ReadMsgUnix(text, oob)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		k.take(strings.Split(strings.TrimSpace(string(text[:n])), "\n"), received(oob[:m]))
	}
}

// take does what one message says.
func (k *Keeper) take(assignments []string, fds []int) {
	name := "stored" // as systemd names one without a name
	var keep, forget bool
	for _, a := range assignments {
		switch tag, is := strings.CutPrefix(a, assignFDTag); {
		case is:
			name = tag
		case a == assignFD:
			keep = true
		case a == assignNoFD:
			forget = true
		case k.heard != nil:
			k.heard(a)
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if old, there := k.kept[name]; there && (forget || keep && len(fds) > 0) {
		_ = unix.Close(old) // nothing is written to it
		delete(k.kept, name)
	}
	for i, fd := range fds {
		if keep && i == 0 {
			k.kept[name] = fd
		} else {
			_ = unix.Close(fd)
		}
	}
}

// received returns the descriptors that came with a message.
func received(oob []byte) (fds []int) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil
	}
	for _, m := range messages {
		if some, err := unix.ParseUnixRights(&m); err == nil {
			fds = append(fds, some...)
		}
	}
	return fds
}
