package resolver_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"dove.network/control"
	"dove.network/dove"
	"dove.network/resolver"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// A host that asks about networks it has nothing on hears the same whether they
// exist or not, and no name that it did not say itself.
func TestStrangersHearTheSame(t *testing.T) {
	w, _ := populated(t, rand.New(rand.NewPCG(1, 2)))
	told := map[string]bool{}
	asked := 0
	for vni := dove.VNI(1); vni < 5000; vni++ {
		for n := range 3 {
			q := control.Question{VNI: vni, Local: address(n), Peer: address(n + 1), Outgoing: true}
			got := resolver.Resolve(w, "stranger", q)
			if got.Answer.Status != control.Refused || len(got.Peers)+len(got.Pairs) > 0 || got.Answer.Local != 0 || got.Answer.Peer != 0 {
				t.Fatalf("VNI %d: %+v", vni, got)
			}
			told[strings.NewReplacer(q.Local.String(), "ADDR", fmt.Sprintf("VNI %d ", vni), "VNI ").Replace(got.Answer.Detail)] = true
			asked++
		}
		row := resolver.NewView(w).Peer("stranger", control.PeerKey{VNI: vni, Addr: address(0)})
		if diff := cmp.Diff(control.Peer{Key: row.Key, Absent: true}, row, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
			t.Fatalf("VNI %d: row %+v", vni, row)
		}
	}
	if len(told) != 1 {
		t.Fatalf("%d questions got different texts: %v", asked, told)
	}
}
