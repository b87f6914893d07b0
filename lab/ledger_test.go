package lab

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestLedger finds what is lost, what comes twice and what comes late.
func TestLedger(t *testing.T) {
	for _, c := range []struct {
		name    string
		arrive  []int64
		sent    int64
		want    ledger
		missing []gap
	}{
		{name: "nothing is sent"},
		{name: "all in order", arrive: []int64{0, 1, 2}, sent: 3, want: ledger{next: 3, received: 3, silence: 1}},
		{name: "out of order is not lost", arrive: []int64{1, 0, 2}, sent: 3, want: ledger{next: 3, received: 3, late: 1, silence: 2}},
		{name: "the first is lost", arrive: []int64{1}, sent: 2, want: ledger{next: 2, received: 1}, missing: []gap{{0, 0, 1}}},
		{name: "some in the middle are lost", arrive: []int64{0, 3, 5}, sent: 6, want: ledger{next: 6, received: 3, silence: 3}, missing: []gap{{1, 2, 3}, {4, 4, 5}}},
		{name: "the last are lost", arrive: []int64{0}, sent: 3, want: ledger{next: 3, received: 1}, missing: []gap{{1, 2, 3}}},
		{name: "one comes twice", arrive: []int64{0, 1, 1}, sent: 2, want: ledger{next: 2, received: 2, twice: 1, silence: 1}},
		{name: "a late one comes twice", arrive: []int64{1, 0, 0}, sent: 2, want: ledger{next: 2, received: 2, twice: 1, late: 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var l ledger
			for _, n := range c.arrive {
				l.take(n, time.Duration(n), time.Duration(n))
			}
			l.skip(c.sent, time.Duration(c.sent))
			if diff := cmp.Diff(c.missing, l.gaps(), cmp.AllowUnexported(gap{})); diff != "" {
				t.Error(diff)
			}
			l.missing, l.last = nil, 0
			if diff := cmp.Diff(c.want, l, cmp.AllowUnexported(ledger{})); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestLedgerRandom holds a ledger against a plain count of each number.
func TestLedgerRandom(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	for range 200 {
		var l ledger
		sent := r.Int64N(50)
		came := map[int64]int64{}
		var packets int64
		for range r.IntN(80) {
			if sent == 0 {
				break
			}
			n := r.Int64N(sent)
			l.take(n, 0, time.Duration(n))
			came[n]++
			packets++
		}
		l.skip(sent, 0)
		var lost int64
		for _, g := range l.gaps() {
			for n := g.first; n <= g.last; n++ {
				lost++
				if came[n] > 0 {
					t.Fatalf("seed %d: %d came and is called lost", seed, n)
				}
			}
		}
		if lost+int64(len(came)) != sent || l.received != int64(len(came)) || l.twice != packets-l.received {
			t.Fatalf("seed %d: of %d, %d lost, %d received, %d twice; %d came in %d packets", seed, sent, lost, l.received, l.twice, len(came), packets)
		}
	}
}

// TestPausesWithin tells how long this process, not the network, was waited for.
func TestPausesWithin(t *testing.T) {
	p := &pauses{pauses: []stall{{10, 5}, {20, 10}}}
	for _, c := range []struct {
		s    stall
		want time.Duration
	}{{stall{0, 10}, 0}, {stall{15, 5}, 0}, {stall{12, 1}, 1}, {stall{0, 100}, 15}, {stall{14, 8}, 3}, {stall{30, 5}, 0}} {
		if got := p.within(c.s); got != c.want {
			t.Errorf("%v: %d, want %d", c.s, got, c.want)
		}
	}
}
