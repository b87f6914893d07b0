// Package privtest tells tests whether this machine lets them make network
// namespaces and load eBPF programs. A test that needs it calls Require first:
// on a developer's machine that lacks the means the test skips by name; where
// CI=true it fails, so nothing is skipped in silence. It knows nothing of DOVE.
package privtest

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// Require skips or fails t unless root may make network namespaces, mount a BPF
// file system and load programs here.
func Require(t testing.TB) {
	t.Helper()
	err := missing()
	if err == nil {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("privileged test cannot run: %v", err)
	}
	t.Skipf("privileged test skipped: %v", err)
}

func missing() error {
	if os.Getuid() != 0 {
		return errors.New("not root")
	}
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return err
	}
	var major, minor int
	if _, err := fmt.Sscanf(unix.ByteSliceToString(uts.Release[:]), "%d.%d", &major, &minor); err != nil {
		return err
	}
	if major < 6 || major == 6 && minor < 6 {
		return fmt.Errorf("kernel %d.%d is older than 6.6", major, minor)
	}
	for _, f := range []string{"/dev/net/tun", "/proc/self/ns/net", "/sys/kernel/btf/vmlinux"} {
		if _, err := os.Stat(f); err != nil {
			return fmt.Errorf("%s is not there", f)
		}
	}
	return nil
}
