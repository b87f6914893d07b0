package controller

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"dove.network/control"
	"dove.network/dove"
	"dove.network/store/memory"
)

// TestLineIsFair draws what waits and what is done: all of it comes out once, of a session
// and tenant in order, and whoever waits sees every other tenant, session of its tenant
// and lane at most once before its own turn.
func TestLineIsFair(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	type place struct {
		lane    lane
		tenant  dove.Tenant
		session control.SessionID
	}
	type item struct {
		place
		number int
	}
	var l line
	var waits, done []item
	added := 0
	add := func() {
		it := item{place{lane: lane(random.IntN(int(lanes)))}, added}
		added++
		act := func() { done = append(done, it) }
		if it.lane == laneQuestions {
			it.tenant, it.session = dove.Tenant(fmt.Sprint("t", min(random.IntN(5), random.IntN(5)))), control.SessionID(random.IntN(4))
			l.ask(it.tenant, asking{it.session, 3, act})
		} else {
			l.add(it.lane, work{act: act})
		}
		waits = append(waits, it)
	}
	next := func() {
		w, ok := l.next()
		if !ok {
			if len(waits) > 0 {
				t.Fatalf("%d wait and nothing comes", len(waits))
			}
			return
		}
		w.act()
		it := done[len(done)-1]
		i := slices.Index(waits, it)
		first := slices.IndexFunc(waits, func(o item) bool { return o.place == it.place })
		if i < 0 || i != first {
			t.Fatalf("%v comes before %v", it, waits[max(first, 0)])
		}
		waits = slices.Delete(waits, i, i+1)
		count := map[control.SessionID]int{}
		for _, o := range waits {
			if o.lane == laneQuestions {
				count[o.session] += 3
			}
		}
		for s := range control.SessionID(4) {
			if l.waiting[s] != count[s] {
				t.Fatalf("%d questions of session %d wait, it says %d", count[s], s, l.waiting[s])
			}
		}
	}
	// fair looks at what was done while a place had something that waited.
	fair := func(mine place, from int) {
		lanesSeen, tenants, sessions := map[lane]int{}, map[dove.Tenant]int{}, map[control.SessionID]int{}
		for _, it := range done[from:] {
			if it.lane != mine.lane {
				lanesSeen[it.lane]++
				continue
			}
			clear(lanesSeen)
			if mine.lane != laneQuestions {
				return
			}
			if it.tenant != mine.tenant {
				tenants[it.tenant]++
			} else if it.session != mine.session {
				clear(tenants)
				sessions[it.session]++
			} else {
				return
			}
			for what, n := range tenants {
				if n > 1 {
					t.Fatalf("tenant %s had %d turns while %v waited: %v", what, n, mine, done[from:])
				}
			}
			for what, n := range sessions {
				if n > 1 {
					t.Fatalf("session %d had %d turns while %v waited: %v", what, n, mine, done[from:])
				}
			}
		}
		for what, n := range lanesSeen {
			if n > 1 {
				t.Fatalf("lane %d had %d turns while %v waited", what, n, mine)
			}
		}
	}
	for range 300 {
		for range random.IntN(60) {
			add()
		}
		if len(waits) == 0 {
			continue
		}
		mine, from := waits[random.IntN(len(waits))].place, len(done)
		for range random.IntN(60) {
			if random.IntN(3) == 0 {
				add()
			}
			next()
			fair(mine, from)
		}
	}
	for len(waits) > 0 {
		next()
	}
	if _, ok := l.next(); ok || len(done) != added || len(l.waiting) != 0 || len(l.questions.of) != 0 {
		t.Errorf("%d of %d were done; %d sessions and %d tenants are left", len(done), added, len(l.waiting), len(l.questions.of))
	}
}

// A tenant scans from a hundred hosts, as fast as it can: who asks beside it waits for one
// part of a request, not for the hundred. The time is what questions cost.
func TestScanHoldsNobodyUp(t *testing.T) {
	const cost = 10 * time.Microsecond
	var l line
	var now time.Duration
	scans := func(s control.SessionID) {
		for l.waiting[s] < QuestionsWaiting {
			l.ask("scanner", asking{s, QuestionsAtOnce, func() { now += QuestionsAtOnce * cost }})
		}
	}
	var worst time.Duration
	for turn := range 10_000 {
		for s := range control.SessionID(100) {
			scans(s)
		}
		if turn%10 == 0 {
			asked := now
			// From a host on which the scanner has an endpoint, too.
			l.ask("calm", asking{control.SessionID(turn % 200), 1, func() { now += cost; worst = max(worst, now-asked) }})
		}
		w, _ := l.next()
		w.act()
	}
	if worst > (QuestionsAtOnce+1)*cost {
		t.Errorf("a question waited %v", worst)
	}
}

// A host asks a thousand questions in one request, another floods: each gets all its
// answers, in parts, or is told when to ask again, not all at once.
func TestFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, func(m *memory.Store) Store { return m })
		s := f.open(2, 0, 4096)
		s.up <- &control.Ack{Revision: next[*control.Frontier](t, s).Revision}
		n, _ := f.member.World().Network(dove.Network{Tenant: "acme", Name: "front"})
		ask := func(id uint64, questions int) {
			r := &control.PolicyRequest{ID: id}
			for i := range questions {
				r.Questions = append(r.Questions, control.Question{
					VNI: n.VNI, Local: netip.MustParseAddr("10.0.0.12"), Peer: netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}),
				})
			}
			s.up <- r
		}
		hear := func(questions int) (retries []time.Duration) {
			for heard := 0; heard < questions; {
				reply := next[*control.PolicyReply](t, s)
				if len(reply.Answers) > QuestionsAtOnce {
					t.Errorf("%d answers came at once", len(reply.Answers))
				}
				for _, a := range reply.Answers {
					if a.Status == control.Retry {
						retries = append(retries, a.After)
					}
				}
				heard += len(reply.Answers)
			}
			return retries
		}
		ask(1, 1000)
		if again := hear(1000); len(again) > 0 {
			t.Errorf("%d of a thousand questions are to be asked again", len(again))
		}
		// The Core is busy with something else.
		busy, release := make(chan struct{}), make(chan struct{})
		go f.member.inTurn(laneOwn, func() { close(busy); <-release })
		<-busy
		for i := range QuestionsWaiting / 8 {
			ask(uint64(2+i), 8)
		}
		synctest.Wait()
		ask(500, 64)
		go func() { time.Sleep(time.Second); close(release) }()
		again := hear(QuestionsWaiting + 64)
		if len(again) != 64 || again[0] < hesitateLeast || again[0] > hesitateMost {
			t.Errorf("%d are to be asked again, after %v", len(again), again)
		}
		// Requests that ask nothing: no more of them wait than of others.
		busy, release = make(chan struct{}), make(chan struct{})
		go f.member.inTurn(laneOwn, func() { close(busy); <-release })
		<-busy
		go func() {
			for range 2 * QuestionsWaiting {
				s.up <- &control.PolicyRequest{ID: 1000}
			}
		}()
		synctest.Wait()
		f.member.turn.Lock()
		waits := 0
		for _, all := range f.member.line.questions.of[""].of {
			waits = len(all)
		}
		f.member.turn.Unlock()
		if waits != QuestionsWaiting {
			t.Errorf("%d requests that ask nothing wait", waits)
		}
		close(release)
	})
}
