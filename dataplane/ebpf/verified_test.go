package ebpf

import (
	"net/netip"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"dove.network/dataplane"
	"dove.network/privtest"
)

// verifiedMost bounds what the verifier goes through for all programs: it is
// most of the time that a start takes.
const verifiedMost = 100_000

// TestVerified loads every variant of the programs.
func TestVerified(t *testing.T) {
	privtest.Require(t)
	for _, v := range []struct {
		vtep     netip.Addr
		outcomes bool
	}{{twinVTEPs[0], false}, {twinVTEPs6[0], false}, {twinVTEPs[0], true}, {twinVTEPs6[0], true}} {
		s := newSwitch(Options{Config: dataplane.Config{VTEP: v.vtep}, read: loadDswitch, Flows: 1})
		s.testing = true
		began := time.Now()
		if err := s.load(v.outcomes); err != nil {
			t.Fatalf("%+v", err)
		}
		took := time.Since(began)
		var sum uint32
		for _, p := range []*ebpf.Program{s.programs.GuestIn, s.programs.GuestOut, s.programs.WireIn, s.programs.VxIn, s.programs.UpIn, s.programs.Gc, s.programs.Adopt, s.programs.Yield} {
			info, err := p.Info()
			if err != nil {
				t.Fatal(err)
			}
			n, _ := info.VerifiedInstructions()
			t.Logf("%v: %s: %d instructions verified", v, info.Name, n)
			sum += n
		}
		t.Logf("%v: %d in all, loaded in %v", v, sum, took)
		if sum > verifiedMost {
			t.Errorf("%d instructions are verified, at most %d: what is called from several places and is not static is verified once", sum, verifiedMost)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}
