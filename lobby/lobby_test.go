package lobby

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// door remembers that it was closed.
type door struct{ closed bool }

func (d *door) Close() error { d.closed = true; return nil }

func from(addr string) Source {
	return SourceOf(net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(addr), 7)))
}

func TestSources(t *testing.T) {
	for addr, want := range map[string]string{
		"192.0.2.1": "192.0.2.1/32", "::ffff:192.0.2.1": "192.0.2.1/32", "2001:db8::1:2:3:4": "2001:db8::/64", "fe80::1%eth0": "fe80::/64",
	} {
		if got := from(addr).String(); got != want {
			t.Errorf("%s is of %s, want %s", addr, got, want)
		}
	}
	if got := SourceOf(&net.UnixAddr{}); got.IsValid() {
		t.Errorf("what has no address is of %s", got)
	}
}

// One source fills all places: it gets no more, others get theirs, from it.
func TestOneSourceTakesAll(t *testing.T) {
	l := New(8)
	crowd := make([]*door, 8)
	for i := range crowd {
		crowd[i] = &door{}
		if l.Enter(from("192.0.2.1"), crowd[i]) == nil {
			t.Fatalf("no place for connection %d", i)
		}
	}
	if l.Enter(from("192.0.2.1"), &door{}) != nil {
		t.Error("a source that has all places gets another")
	}
	var others []*Guest
	for i := range 7 {
		g := l.Enter(from(fmt.Sprintf("192.0.2.%d", 2+i)), &door{})
		if g == nil {
			t.Fatalf("no place for source %d", i)
		}
		others = append(others, g)
	}
	for i, d := range crowd {
		if d.closed != (i < 7) {
			t.Errorf("connection %d of the crowd is closed: %t", i, d.closed)
		}
	}
	if l.Enter(from("192.0.2.77"), &door{}) != nil {
		t.Error("where each has one place somebody loses it")
	}
	if !others[3].Leave() || l.Enter(from("192.0.2.77"), &door{}) == nil {
		t.Error("a place that was given back is not there")
	}
}

// TestPlaces draws who comes and goes: never more than there are places, nobody is pushed
// out by a source that has as many, and all that is left is given back.
func TestPlaces(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	const most = 16
	l := New(most)
	var in []*Guest
	has := func(s Source) (n int) {
		for _, g := range in {
			if g.source == s {
				n++
			}
		}
		return n
	}
	for range 20_000 {
		if len(in) > 0 && random.IntN(3) == 0 {
			i := random.IntN(len(in))
			if !in[i].Leave() {
				t.Fatal("one that is in was pushed out")
			}
			in[i].Leave()
			in = slices.Delete(in, i, i+1)
			continue
		}
		s := from(fmt.Sprintf("192.0.2.%d", min(random.IntN(40), random.IntN(40), random.IntN(40))))
		mine, full := has(s), len(in) == most
		g := l.Enter(s, &door{})
		for i, o := range in {
			if o.pushed {
				if !full || g == nil || has(o.source) < mine+2 || o.Leave() || !o.door.(*door).closed {
					t.Fatalf("source %s with %d pushed out one of %d", s, mine, has(o.source))
				}
				in = slices.Delete(in, i, i+1)
				break
			}
		}
		if g != nil {
			in = append(in, g)
		} else if !full {
			t.Fatal("turned away though there is a place")
		}
		if l.Count() != len(in) || len(in) > most {
			t.Fatalf("%d wait, %d are known", l.Count(), len(in))
		}
	}
	for _, g := range in {
		g.Leave()
	}
	if l.Count() != 0 || len(l.guests) != 0 {
		t.Errorf("%d are left of %d sources", l.Count(), len(l.guests))
	}
}

// A source of which a hundred wait holds up another one by one turn.
func TestTurnsGoRound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := NewTurns(1)
		give := turns.Take(from("192.0.2.1"))
		var order []string
		wait := func(addr string) {
			go func() {
				give := turns.Take(from(addr))
				order = append(order, addr)
				give()
			}()
			synctest.Wait()
		}
		for range 100 {
			wait("192.0.2.1")
		}
		wait("192.0.2.2")
		wait("192.0.2.3")
		give()
		synctest.Wait()
		if len(order) != 102 || slices.Index(order, "192.0.2.2") > 1 || slices.Index(order, "192.0.2.3") > 2 {
			t.Errorf("%d had turns, the others at %d and %d", len(order), slices.Index(order, "192.0.2.2"), slices.Index(order, "192.0.2.3"))
		}
		if turns.free != 1 || len(turns.lines) != 0 || len(turns.order) != 0 {
			t.Errorf("%d are free, %d wait", turns.free, len(turns.order))
		}
	})
}

// Between two turns as much time goes by as the former took, if somebody inside has asked in it.
func TestTurnsLeaveTimeForOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns, begun, want := NewTurns(1), time.Now(), time.Duration(0)
		for n, asked := range []bool{true, true, false, true, false, false} {
			give := turns.Take(from("192.0.2.1"))
			if is := time.Since(begun); is != want {
				t.Errorf("turn %d begins after %s, want %s", n, is, want)
			}
			time.Sleep(10 * time.Millisecond)
			want += 10 * time.Millisecond
			if asked {
				turns.Asked()
				want += 10 * time.Millisecond
			}
			give()
		}
	})
}
