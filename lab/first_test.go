package lab

import (
	"fmt"
	"os"
	"testing"
)

// TestFirstPackets sends first packets between addresses that no host knows yet:
// each is answered, and not after another try.
func TestFirstPackets(t *testing.T) {
	ctx := t.Context()
	l, err := New(ctx, Options{Name: fmt.Sprintf("first-%d", os.Getpid()), Bin: programs(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}()
	s, err := l.subject(ctx, dove1, shapes[0])
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	batches := 8
	if os.Getenv("BATCHES") != "" {
		fmt.Sscan(os.Getenv("BATCHES"), &batches)
	}
	took, err := firstPackets(ctx, s, length{batches: batches})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%.0f us, %.0f us", took[0], took[1])
}
