package ebpf

import (
	"strings"
	"testing"

	"dove.network/dataplane"
)

// TestAnotherSwitch starts a second switch with pins of its own where the
// programs of a first one still run: it is refused, and the first goes on.
func TestAnotherSwitch(t *testing.T) {
	h := newHosts(t, 1)[0]
	if err := h.sw.Close(); err != nil {
		t.Fatal(err)
	}
	<-h.ended
	pins := testPinDir(t, "second")
	err := h.do(func() error {
		second, err := Open(Options{
			Config: dataplane.Config{VTEP: h.vtep, Underlay: "under"}, PinDir: pins,
		})
		if err == nil {
			t.Error("a second switch was let in")
			return second.Close()
		}
		if !strings.Contains(err.Error(), "another dswitch") {
			t.Errorf("refused for another reason: %v", err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	h.open(t)
}
