package controller

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"dove.network/control"
	"dove.network/dove"
	"dove.network/edit"
	"dove.network/oracle/worlds"
	"dove.network/world"
)

// holders is a Core with a domain of a thousand groups, in each of which is an
// endpoint, on a hundred hosts that hold what their flows need: each endpoint talks
// with twenty others.
type holders struct{ core *Core }

const (
	holdersGroups = 1000
	holdersHosts  = 100
)

func holdersAddress(g int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, 0, byte(1 + g/250), byte(1 + g%250)})
}

func newHolders(tb testing.TB) *holders {
	tb.Helper()
	h := &holders{core: NewCore("dpc-1", world.New())}
	h.edit(tb, func(w *world.World) (dove.Txn, error) { return edit.Initialize(w, world.Meta{Incarnation: 1}) })
	h.edit(tb, func(w *world.World) (dove.Txn, error) { txn, _, err := edit.PutTenant(w, "acme", nil); return txn, err })
	for part := range worlds.LargeParts {
		h.edit(tb, func(w *world.World) (dove.Txn, error) {
			txn, _, err := edit.PutBlueprint(w, "acme", "", []byte(worlds.Large(part, holdersGroups, "")), start, nil)
			return txn, err
		})
	}
	host := func(n int) world.Host {
		return world.Host{Name: dove.HostName(fmt.Sprintf("h%d", n)), VTEP: netip.AddrFrom4([4]byte{192, 0, 2, byte(1 + n)}), Serial: fmt.Sprintf("%02x", n+1)}
	}
	for n := range holdersHosts {
		h.edit(tb, func(*world.World) (dove.Txn, error) { return dove.Txn{Puts: []dove.Put{world.Put(host(n))}}, nil })
	}
	for g := range holdersGroups {
		h.edit(tb, func(w *world.World) (dove.Txn, error) {
			txn, _, err := edit.PutEndpoint(w, edit.EndpointRequest{
				Tenant: "acme", ID: dove.EndpointID(fmt.Sprintf("e%d", g)), Network: "net", Host: host(g % holdersHosts).Name,
				Groups: []string{worlds.LargeGroup(g)}, Addresses: []string{holdersAddress(g).String()},
			}, edit.Chance{UID: dove.UID(g + 1), Now: start}, nil)
			return txn, err
		})
	}
	net, _ := h.core.World().Network(dove.Network{Tenant: "acme", Name: "net"})
	for n := range holdersHosts {
		its, id := host(n), control.SessionID(n+1)
		h.step(tb, Opened{id, control.Identity{Host: its.Name, VTEP: its.VTEP, Serial: its.Serial}, &control.Hello{Version: control.Version, Host: its.Name, VTEP: its.VTEP}})
		var questions []control.Question
		for g := n; g < holdersGroups; g += holdersHosts {
			for i := -worlds.LargePeers; i <= worlds.LargePeers; i++ {
				if i != 0 {
					peer := worlds.LargePeer(g, i, holdersGroups)
					questions = append(questions, control.Question{VNI: net.VNI, Local: holdersAddress(g), Peer: holdersAddress(peer), Outgoing: i > 0})
				}
			}
		}
		for part := range slices.Chunk(questions, 64) {
			h.step(tb, Received{id, &control.PolicyRequest{ID: 1, Questions: part}})
		}
	}
	return h
}

// edit makes a change, whole, and returns how many rows it sent.
func (h *holders) edit(tb testing.TB, decide func(*world.World) (dove.Txn, error)) (rows int) {
	tb.Helper()
	steps := edit.InSteps(decide)
	for {
		txn, last, err := steps.Next(h.core.World())
		if err != nil {
			tb.Fatal(err)
		}
		revision := h.core.World().Revision() + 1
		rows += h.step(tb, Changed{revision, documents(txn, revision)})
		if last {
			break
		}
	}
	return rows
}

// step counts the rows that an event sends, and acknowledges them.
func (h *holders) step(tb testing.TB, e Event) (rows int) {
	tb.Helper()
	effects, err := h.core.Step(start, e)
	if err != nil {
		tb.Fatal(err)
	}
	for _, effect := range effects {
		switch s := effect.(type) {
		case End:
			tb.Fatalf("%+v", s)
		case Send:
			for _, m := range s.Messages {
				switch m := m.(type) {
				case *control.Update:
					rows += len(m.Pairs) + len(m.Peers)
				case *control.Expect:
					rows += len(m.Pairs) + len(m.Peers)
				case *control.Frontier:
					rows += h.step(tb, Received{s.Session, &control.Ack{Revision: m.Revision}})
				}
			}
		}
	}
	return rows
}

// BenchmarkChange says how long a DPC takes from a blueprint's text to the messages
// for the hosts that hold what it changes: one policy between two groups, from one to
// all, and one that is of no address. "steps" is the owner's part alone.
func BenchmarkChange(b *testing.B) {
	h := newHolders(b)
	rows := 0
	for id := range h.core.sessions {
		peers, _, pairs := h.core.interest.Held(id)
		rows += peers + pairs
	}
	for _, change := range []struct{ name, more string }{
		{"none", "  - {name: more, from: g0, to: g0, allow: [tcp/%d]}\n"},
		{"one", "  - {name: more, from: g0, to: g10, allow: [tcp/%d]}\n"},
		{"all", "  - {name: more, from: g0, to: any, allow: [tcp/%d]}\n"},
	} {
		b.Run(fmt.Sprintf("groups=%d/policies=%d/held=%d/%s", holdersGroups, holdersGroups*worlds.LargePeers, rows, change.name), func(b *testing.B) {
			b.ReportAllocs()
			var took []time.Duration
			sent, steps := 0, time.Duration(0)
			port := rand.IntN(20000) + 1
			for b.Loop() {
				port++
				begun := time.Now()
				text := []byte(worlds.Large(0, holdersGroups, fmt.Sprintf(change.more, port)))
				txn, _, err := edit.PutBlueprint(h.core.World(), "acme", "", text, start, nil)
				if err != nil {
					b.Fatal(err)
				}
				decided := time.Now()
				revision := h.core.World().Revision() + 1
				sent += h.step(b, Changed{revision, documents(txn, revision)})
				steps += time.Since(decided)
				took = append(took, time.Since(begun))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
			b.ReportMetric(float64(steps.Microseconds())/1000/float64(len(took)), "steps-ms")
			b.ReportMetric(float64(sent)/float64(len(took)), "rows/op")
		})
	}
}
