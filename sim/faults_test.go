package sim

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"dove.network/control"
	"dove.network/verdict"
)

// only passes all messages on but those of one kind from the member, which
// change replaces. It counts how often it did.
func only[M control.Down](fired *int, change func(message, M) []message) func(message) []message {
	return func(m message) []message {
		down, ok := m.down.(M)
		if !ok {
			return []message{m}
		}
		out := change(m, down)
		if len(out) != 1 || out[0] != m {
			*fired++
		}
		return out
	}
}

// enforcing says that a switch enforces what is not meant: by what it holds, or
// by what becomes of packets.
var enforcing = []string{"holds", "has a port", "admits frames from", "the oracle says"}

func lost[M control.Down](message, M) []message { return nil }

// faults are what pushes could suffer by a mistake in the member, the agent or
// what carries messages between them. Each must be noticed: by a packet, or by
// what Wait and Settle hold against the world.
var faults = []struct {
	name   string
	inject func(w *walk, fired *int)
	signs  []string // of which one must be in the error
	blind  bool     // packets alone must notice
}{
	{"an Update is lost", func(w *walk, fired *int) {
		w.tamper = only(fired, lost[*control.Update])
	}, enforcing, true},

	{"an Expect is lost", func(w *walk, fired *int) {
		w.tamper = only(fired, lost[*control.Expect])
	}, append([]string{"waits for answers", "before a move"}, enforcing...), true}, // the packets of a move may come first

	{"a whole push to one session is lost", func(w *walk, fired *int) {
		victim := w.anyHost()
		w.tamper = func(m message) []message {
			switch m.down.(type) {
			case nil, *control.PolicyReply, *control.Expect:
				return []message{m}
			}
			if m.host.name != victim || m.host.frontier == 0 {
				return []message{m}
			}
			*fired++
			return nil
		}
	}, []string{"pending", "admits frames from"}, false},

	{"a Frontier is lost", func(w *walk, fired *int) {
		w.tamper = only(fired, lost[*control.Frontier])
	}, []string{"pending"}, false},

	{"an Update comes after its Frontier", func(w *walk, fired *int) {
		late := map[*host][]message{}
		w.tamper = func(m message) []message {
			switch m.down.(type) {
			case *control.Update:
				late[m.host] = append(late[m.host], m)
				return nil
			case *control.Frontier:
				after := late[m.host]
				delete(late, m.host)
				*fired += len(after)
				return append([]message{m}, after...)
			}
			return []message{m}
		}
	}, append([]string{"was told all of revision"}, enforcing...), false},

	{"two pushes change places", func(w *walk, fired *int) {
		held := map[*host]message{}
		w.tamper = func(m message) []message {
			if _, ok := m.down.(*control.Update); !ok {
				return []message{m}
			}
			before, ok := held[m.host]
			if !ok {
				held[m.host] = m
				return nil
			}
			delete(held, m.host)
			*fired++
			return []message{m, before}
		}
	}, append([]string{"has seen revision", "was told all of revision", "pending"}, enforcing...), true},

	{"a stale row is sent again", func(w *walk, fired *int) {
		first := map[*host]message{}
		w.tamper = only(fired, func(m message, _ *control.Update) []message {
			if old, ok := first[m.host]; ok && old.session == m.session {
				return []message{m, old}
			}
			first[m.host] = m
			return []message{m}
		})
	}, append([]string{"has seen revision"}, enforcing...), false},

	{"a stale row is sent again as if it were new", func(w *walk, fired *int) {
		first := map[*host]*control.Update{}
		w.tamper = only(fired, func(m message, u *control.Update) []message {
			old := first[m.host]
			if old == nil {
				first[m.host] = u
				return []message{m}
			}
			stale := *old
			stale.Revision = u.Revision
			return []message{m, {m.host, m.session, nil, &stale}}
		})
	}, enforcing, true},

	{"an answer has the table of an earlier revision", func(w *walk, fired *int) {
		tables := map[control.PairKey]*verdict.Table{}
		w.tamper = func(m message) []message {
			var pairs []control.Pair
			switch down := m.down.(type) {
			case *control.Update:
				pairs = down.Pairs
			case *control.PolicyReply:
				pairs = down.Pairs
			}
			for i, p := range pairs {
				if old := tables[p.Key]; old == nil {
					tables[p.Key] = p.Table
				} else if !old.Equal(p.Table) {
					pairs[i].Table = old
					*fired++
				}
			}
			return []message{m}
		}
	}, enforcing, true},

	{"a withheld location is told", func(w *walk, fired *int) {
		w.tamper = func(m message) []message {
			if down, ok := m.down.(*control.PolicyReply); ok {
				for i, p := range down.Peers {
					if !p.Absent && !p.VTEP.IsValid() {
						down.Peers[i].Host, down.Peers[i].VTEP = "h9", netip.MustParseAddr("192.0.2.9")
						*fired++
					}
				}
			}
			return []message{m}
		}
	}, []string{"holds"}, false},

	{"an Ack is sent before the Frontier arrives", func(w *walk, fired *int) {
		w.tamper = only(fired, func(m message, f *control.Frontier) []message {
			return []message{m, {m.host, m.session, &control.Ack{Revision: f.Revision}, nil}}
		})
	}, append([]string{"acknowledges revision"}, enforcing...), false},

	{"an Ack is sent before the switch is told", func(w *walk, fired *int) {
		w.heard = func(m message) {
			if f, ok := m.down.(*control.Frontier); ok {
				*fired++
				w.send(message{m.host, m.session, &control.Ack{Revision: f.Revision}, nil})
			}
		}
	}, enforcing, true},

	{"an Unassign is lost", func(w *walk, fired *int) {
		w.tamper = only(fired, lost[*control.Unassign])
	}, []string{"not bound to it"}, false},

	{"an Assign is lost", func(w *walk, fired *int) {
		w.tamper = only(fired, lost[*control.Assign])
	}, enforcing, true},

	{"an Assign has the classes of another endpoint", func(w *walk, fired *int) {
		w.tamper = only(fired, func(m message, a *control.Assign) []message {
			wrong := *a
			wrong.Address = slices.Clone(a.Address)
			for i := range wrong.Address {
				wrong.Address[i].Class ^= 1
			}
			m.down = &wrong
			return []message{m}
		})
	}, enforcing, true},

	{"a new host is not told to the others", func(w *walk, fired *int) {
		w.tamper = only(fired, func(m message, t *control.Tunnels) []message {
			if t.Full {
				return []message{m}
			}
			return nil
		})
	}, []string{"admits frames from"}, false},

	{"an answer is for another question", func(w *walk, fired *int) {
		w.tamper = only(fired, func(m message, r *control.PolicyReply) []message {
			wrong := *r
			wrong.ID++
			m.down = &wrong
			return []message{m}
		})
	}, []string{"waits for answers", "lost without a word"}, false},
}

// TestFaultsAreNoticed injects each fault into random walks until one of them
// is noticed. Without a fault, the same walks hold (TestRandomWalks).
func TestFaultsAreNoticed(t *testing.T) {
	t.Logf("go test ./sim -run '%s' -seed %d", t.Name(), *seed)
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			text := noticed(t, f.inject, 20, "")
			if !slices.ContainsFunc(f.signs, func(sign string) bool { return strings.Contains(text, sign) }) {
				t.Errorf("noticed as something else: %s", text)
			}
		})
	}
}

// TestPacketsAloneNotice injects the faults by which a switch enforces what is
// not meant, and looks at nothing but what becomes of packets.
func TestPacketsAloneNotice(t *testing.T) {
	t.Logf("go test ./sim -run '%s' -seed %d", t.Name(), *seed)
	for _, f := range faults {
		if !f.blind {
			continue
		}
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			noticed(t, func(w *walk, fired *int) { w.blind = true; f.inject(w, fired) }, 100, "the oracle says")
		})
	}
}

// noticed returns the error of the first walk that fails with a fault, of those
// whose error has the sign: a move, say, may fail for want of a message before any
// packet does.
func noticed(t *testing.T, inject func(w *walk, fired *int), walks uint64, sign string) string {
	t.Helper()
	fired := 0
	for n := range walks {
		_, err := walking(*seed+n, jitter, *steps, func(w *walk) { inject(w, &fired) })
		if err != nil {
			first, _, _ := strings.Cut(err.Error(), "\n")
			t.Logf("noticed in walk %d after it was injected %d times: %s", n, fired, first)
			if strings.Contains(err.Error(), sign) {
				return err.Error()
			}
		}
	}
	t.Fatalf("injected %d times in %d walks, and nobody noticed", fired, walks)
	return ""
}
