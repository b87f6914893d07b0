package lab

import (
	"fmt"
	"math"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"dove.network/api"
	"dove.network/blueprint"
	"dove.network/dove"
)

// TestTrial strikes two members, and then a member and a dswitch, at once.
func TestTrial(t *testing.T) {
	var told strings.Builder
	x := &Trial{Out: &told, Software: "test", Short: true, Rate: 200}
	_, err := x.Run(t.Context(), Options{Name: fmt.Sprintf("tr-%d", os.Getpid()), Bin: programs(t)})
	if err != nil {
		t.Fatalf("%v\n%s", err, told.String())
	}
	for _, f := range x.Faults() {
		t.Error(f)
	}
	t.Logf("%s\n%s", told.String(), x.Summary())
}

// TestRegisters finds histories that no order explains.
func TestRegisters(t *testing.T) {
	op := func(call, ret int64, in asked, out came) porcupine.Operation {
		in.key = "k"
		return porcupine.Operation{Input: in, Call: call, Output: out, Return: ret}
	}
	write := func(value string, match dove.Revision) asked { return asked{write: true, value: value, match: match} }
	at := func(revision dove.Revision, value string) came { return came{revision: revision, value: value} }
	const never = math.MaxInt64
	for _, c := range []struct {
		name string
		all  []porcupine.Operation
		want bool
	}{
		{"a read sees the last write", []porcupine.Operation{op(1, 2, write("a", 0), at(5, "a")), op(3, 4, asked{}, at(5, "a"))}, true},
		{"a read before the first write", []porcupine.Operation{op(1, 2, asked{}, came{}), op(3, 4, write("a", 0), at(5, "a"))}, true},
		{"a stale read", []porcupine.Operation{op(1, 2, write("a", 0), at(5, "a")), op(3, 4, write("b", 0), at(6, "b")), op(5, 6, asked{}, at(5, "a"))}, false},
		{"reads that go back", []porcupine.Operation{op(1, 2, write("a", 0), at(5, "a")), op(3, 9, write("b", 0), at(6, "b")), op(4, 5, asked{}, at(6, "b")), op(6, 7, asked{}, at(5, "a"))}, false},
		{"a lost write", []porcupine.Operation{op(1, 2, write("a", 0), at(5, "a")), op(3, 4, asked{}, came{})}, false},
		{"a condition that held", []porcupine.Operation{op(1, 2, write("a", 0), at(5, "a")), op(3, 4, write("b", 5), at(6, "b"))}, true},
		{"both of two with one condition", []porcupine.Operation{op(1, 2, write("a", 0), at(5, "a")), op(3, 6, write("b", 5), at(6, "b")), op(4, 7, write("c", 5), at(7, "c"))}, false},
		{"one of two with one condition", []porcupine.Operation{op(1, 2, write("a", 0), at(5, "a")), op(3, 6, write("b", 5), at(6, "b")), op(4, 7, write("c", 5), came{refused: true})}, true},
		{"refused though it held", []porcupine.Operation{op(1, 2, write("a", 0), at(5, "a")), op(3, 4, write("b", 5), came{refused: true})}, false},
		{"no answer, and it happened", []porcupine.Operation{op(1, never, write("a", 0), came{unknown: true}), op(3, 4, asked{}, at(5, "a"))}, true},
		{"no answer, and it did not happen", []porcupine.Operation{op(1, never, write("a", 0), came{unknown: true}), op(3, 4, asked{}, came{})}, true},
		{"done twice", []porcupine.Operation{op(1, 2, write("a", 0), at(5, "a")), op(3, 4, write("b", 0), at(6, "b")), op(5, 6, asked{}, at(7, "a"))}, false},
	} {
		if got := porcupine.CheckOperations(registers, c.all); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
		h := history{all: c.all}
		h.check()
		if (len(h.faults) == 0) != c.want {
			t.Errorf("%s: %v", c.name, h.faults)
		}
	}
}

// TestGateJudges forbids what the oracle denies, from when one of the two hosts
// enforces it until the next edit begins.
func TestGateJudges(t *testing.T) {
	guest := func(id, group, addr string) *Guest {
		return &Guest{Endpoint: dove.Endpoint{Tenant: trialTenant, ID: dove.EndpointID(id)}, Network: "gate", Addrs: []netip.Addr{netip.MustParseAddr(addr)},
			Groups: []dove.Group{{Tenant: trialTenant, Blueprint: "gate", Name: group}}}
	}
	for _, c := range []struct {
		name string
		d    delivery
		want int
	}{
		{"allowed", delivery{port: gatePort, sent: 15, came: 16}, 0},
		{"allowed by the edit before, under way", delivery{port: gatePort, sent: 18, came: 29}, 0},
		{"sent before a host enforces it", delivery{port: gatePort, sent: 24, came: 26}, 0},
		{"forbidden", delivery{port: gatePort, sent: 26, came: 27}, 1},
		{"forbidden, but the next edit has begun", delivery{port: gatePort, sent: 28, came: 31}, 0},
		{"nobody is known to enforce it", delivery{port: gatePort + 1, sent: 35, came: 36}, 0},
		{"never allowed", delivery{port: shutPort, sent: 35, came: 36}, 1},
	} {
		g := &gate{tenant: trialTenant, name: "gate", epoch: time.Now().Add(-time.Hour), from: []*Guest{guest("o", "outside", "10.0.2.2")}, to: guest("i", "inside", "10.0.2.3"), came: []delivery{c.d}}
		for n, current := range []time.Duration{12, 25, 0} {
			b, err := blueprint.Parse(trialTenant, g.text(n))
			if err != nil {
				t.Fatal(err)
			}
			g.periods = append(g.periods, &period{number: n, blueprint: b, began: time.Duration(10 * (n + 1)), current: []time.Duration{current}})
		}
		g.judge(func(time.Duration) string { return "then" })
		if len(g.faults) != c.want {
			t.Errorf("%s: %v", c.name, g.faults)
		}
	}
}

// TestEnforces takes a receipt at its word, and no further.
func TestEnforces(t *testing.T) {
	now := time.Now()
	for _, c := range []struct {
		name string
		r    api.Receipt
		want bool
	}{
		{"complete", api.Receipt{Complete: true}, true},
		{"complete without it", api.Receipt{Complete: true, Unconfirmed: []dove.HostName{"h1"}}, false},
		{"pending", api.Receipt{Committed: now, Pending: []dove.HostName{"h1"}}, false},
		{"another is pending", api.Receipt{Committed: now, Pending: []dove.HostName{"h2"}}, true},
		{"failed", api.Receipt{Committed: now, Failed: []api.HostFailure{{Host: "h1"}}}, false},
		{"unknown", api.Receipt{Committed: now, Unknown: []api.UnknownHost{{Host: "h1", Member: "dpc-2"}}}, false},
		{"a member has not spoken", api.Receipt{Committed: now, Members: []string{"dpc-2"}}, false},
		{"not known yet", api.Receipt{}, false},
	} {
		if got := enforces(c.r, "h1"); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}
