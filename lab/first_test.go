package lab

import (
	"fmt"
	"os"
	"testing"
)

// TestFirstPackets sends first packets between addresses that no host knows yet:
// each is answered, and the receiver's host was told before it had to ask.
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
	took, err := firstPackets(ctx, s, length{batches: 2})
	if err != nil {
		t.Fatal(err)
	}
	answers, err := s.answers(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%.0f us (median), %.0f us (99 %%); the DPC's round trip %s, %s", took[0], took[1], answers.P50, answers.P99)
	if took[1] >= us(firstWait) {
		t.Errorf("a first packet was lost: %.0f us", took[1])
	}
	if answers.Count < 2*coldBatch {
		t.Errorf("%d answers for %d cold addresses", answers.Count, 2*coldBatch)
	}
}
