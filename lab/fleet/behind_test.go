package fleet

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"dove.network/privtest"
)

// behind is another process of TestBehind: it says under which policy its threads run, and then a program that is
// not behind.
func behind() error {
	if err := Behind(); err != nil {
		return err
	}
	threads, err := filepath.Glob("/proc/self/task/*/stat")
	if err != nil {
		return err
	}
	for _, thread := range threads {
		if text, err := os.ReadFile(thread); err == nil { // else it is gone
			fmt.Println("behind", policyOf(text))
		}
	}
	text, err := ahead(context.Background(), "cat", "/proc/self/stat").Output()
	fmt.Println("ahead", policyOf(text))
	return err
}

// policyOf finds the scheduling policy in a stat file (proc(5)).
func policyOf(stat []byte) string {
	const policy = 41 - 3 // behind the name, which is the second
	_, after, _ := strings.Cut(string(stat), ") ")
	if fields := strings.Fields(after); len(fields) > policy {
		return fields[policy]
	}
	return "none"
}

// TestBehind has all threads of a process run while nobody else wants to, and not what it starts to be measured.
func TestBehind(t *testing.T) {
	privtest.Require(t)
	out, err := exec.CommandContext(t.Context(), os.Args[0], "behind").CombinedOutput()
	said := strings.Fields(strings.ReplaceAll(string(out), "\n", " "))
	if err != nil || len(said) < 6 || len(said)%2 != 0 {
		t.Fatalf("%v: %s", err, out)
	}
	wants := map[string]string{"behind": "5", "ahead": "2"}
	if exec.Command("chrt", "--rr", "1", "true").Run() != nil { // nobody could come forward again
		wants = map[string]string{"behind": "0", "ahead": "0"}
	}
	for n := 0; n < len(said); n += 2 {
		if want := wants[said[n]]; said[n+1] != want {
			t.Errorf("policy %s, want %s, of who is %s", said[n+1], want, said[n])
		}
	}
}
