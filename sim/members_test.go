package sim

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"dove.network/control"
	"dove.network/controller"
	"dove.network/dove"
	"dove.network/edit"
)

// harm does something to some member, and mendMembers undoes all of it.
func (w *walk) harm() error {
	n, other := w.r.IntN(len(w.members)), w.r.IntN(len(w.members))
	m := w.members[n]
	switch w.r.IntN(8) {
	case 0:
		w.note("kill %s and start it again", m.name)
		return errors.Join(w.KillMember(n, true), w.Settle())
	case 1:
		w.note("kill %s", m.name)
		if slices.ContainsFunc(w.members, func(o *member) bool { return o != m && o.well() }) {
			return errors.Join(w.KillMember(n, false), w.Settle())
		}
	case 2:
		w.note("freeze %s", m.name)
		if slices.ContainsFunc(w.members, func(o *member) bool { return o != m && o.well() }) && !m.dead && !m.frozen {
			w.FreezeMember(n)
		}
	case 3:
		w.note("cut %s from the store", m.name)
		if slices.ContainsFunc(w.members, func(o *member) bool { return o != m && o.well() }) {
			w.DeafenMember(n)
		}
	case 4:
		if n != other {
			w.note("cut the way from %s to %s", m.name, w.members[other].name)
			w.CutMembers(n, other)
		}
	case 5:
		h := w.anyHost()
		w.note("cut %s from %s", h, m.name)
		w.Sever(h, n)
	case 6:
		w.note("drain %s", m.name)
		if err := w.DrainMember(n, true); err != nil && dove.KindOf(err) != dove.Conflict { // the last one is not drained
			return err
		}
	case 7:
		for n, m := range w.members {
			if m.frozen {
				w.note("%s goes on", m.name)
				w.ThawMember(n)
			}
		}
	}
	if w.r.IntN(2) == 0 {
		w.Sleep(time.Duration(w.r.IntN(10)) * time.Second)
	}
	return w.Settle()
}

func (w *walk) mendMembers() error {
	for n, m := range w.members {
		w.note("mend %s", m.name)
		switch {
		case m.dead:
			if err := w.StartMember(n); err != nil {
				return err
			}
		case m.frozen:
			w.ThawMember(n)
		}
		w.HealMember(n)
		if its, _ := w.World().Member(m.name); its.Draining {
			if err := w.DrainMember(n, false); err != nil {
				return err
			}
		}
	}
	for a := range w.members {
		for b := range a {
			w.HealMembers(b, a)
		}
		for _, h := range w.hosts {
			w.Mend(h.name, a)
		}
	}
	w.Sleep(10 * time.Second)
	return w.Settle()
}

// TestWalksOfMembers walks as TestRandomWalks does, with several members to which
// things happen meanwhile: what is complete is in force on every host that is not
// named, packets are what the oracle says wherever one end is up to date, and once
// all is mended, so is everything.
func TestWalksOfMembers(t *testing.T) {
	t.Logf("go test ./sim -run '%s' -seed %d", t.Name(), *seed)
	for n := range (*count + 1) / 2 {
		for _, j := range []time.Duration{0, jitter} {
			members := 2 + n%2
			if w, err := walkingFleet(*seed+uint64(n), j, *steps, members, nil); err != nil {
				t.Logf("world %d, jitter %s, %d members", n, j, members)
				w.explain(t, err)
			}
		}
	}
}

func walkingFleet(seed uint64, jitter time.Duration, steps, members int, prepare func(*walk)) (*walk, error) {
	w, err := newFleetWalk(seed, jitter, members)
	if err != nil {
		return w, fmt.Errorf("while the world is built: %w", err)
	}
	if prepare != nil {
		prepare(w)
	}
	for n := range steps {
		switch w.r.IntN(5) {
		case 0:
			err = w.mendMembers()
		case 1, 2:
			err = w.harm()
		default:
			err = w.step()
		}
		if err != nil {
			return w, fmt.Errorf("step %d: %w", n, err)
		}
	}
	if err := errors.Join(w.mendMembers(), w.mend()); err != nil {
		return w, fmt.Errorf("after the last step: %w", err)
	}
	if !w.whole() {
		return w, fmt.Errorf("all is mended, and not all have a session")
	}
	return w, w.sample(100)
}

// TestOneSeedIsOneRunOfMembers makes the same walk twice.
func TestOneSeedIsOneRunOfMembers(t *testing.T) {
	t.Logf("go test ./sim -run '%s' -seed %d", t.Name(), *seed)
	var traces []uint64
	for range 2 {
		w, err := walkingFleet(*seed, jitter, *steps, 3, nil)
		if err != nil {
			w.explain(t, err)
		}
		traces = append(traces, w.trace())
	}
	if traces[0] != traces[1] {
		t.Errorf("two runs of one seed differ")
	}
}

// fleetOf is three members and some hosts, each with an endpoint of a shop in which
// all web may talk to each other.
func fleetOf(t *testing.T, hosts int) shop {
	t.Helper()
	var names []dove.HostName
	for n := range hosts {
		names = append(names, dove.HostName(fmt.Sprintf("h%d", n+1)))
	}
	x := newShop(t, NewFleet(1, 3), talkative, names...)
	for _, h := range names {
		x.endpoint(edit.EndpointRequest{ID: dove.EndpointID("e" + h), Groups: []string{"shop/web"}, Host: h})
	}
	for range 5 { // all came by one address, and spread
		x.Sleep(8 * time.Second)
	}
	x.must(x.Settle())
	return x
}

// talkative has all web talk to each other.
const talkative = `{apiVersion: dove/v1, kind: Blueprint, name: shop,
networks: {front: {subnets: [10.0.0.0/16]}}, groups: {web: {network: front}}, policies: [{name: all, from: web, to: web, allow: [tcp/80]}]}`

// homes counts the sessions of each member.
func (s *Sim) homes() map[string]int {
	homes := map[string]int{}
	for _, h := range s.hosts {
		if m := h.at(); m != nil {
			homes[m.name]++
		}
	}
	return homes
}

func TestSessionsSpreadAndMove(t *testing.T) {
	s := fleetOf(t, 30)
	spread := s.homes()
	for _, m := range s.members {
		if n := spread[m.name]; n < 5 || n > 15 {
			t.Errorf("sessions are with %v", spread)
		}
	}
	// A drained member has none within a second, and no other loses one.
	s.must(s.DrainMember(1, true))
	s.Sleep(8 * time.Second)
	if n := s.homes(); n["dpc-2"] != 0 || n["dpc-1"]+n["dpc-3"] != 30 {
		t.Errorf("after a drain sessions are with %v", n)
	}
	s.must(s.DrainMember(1, false))
	// A killed one's are with the others, who say so.
	s.must(s.KillMember(0, false))
	if r := s.members[2].core.Receipt(s.World().Revision()); r.Complete && len(r.Unknown) > 0 {
		t.Errorf("a receipt that is complete names unknown hosts: %+v", r)
	}
	s.Sleep(time.Second) // all are asked
	s.must(s.Settle())
	n := s.homes()
	if n["dpc-1"] != 0 || n["dpc-2"]+n["dpc-3"] != 30 {
		t.Errorf("after a kill sessions are with %v", n)
	}
	r := s.members[2].core.Receipt(s.World().Revision())
	if !r.Complete || len(r.Unknown)+len(r.Unconfirmed)+len(r.Members) > 0 {
		t.Errorf("all are with others, and the receipt is %+v", r)
	}
}

// TestReceiptsNameWhoIsUnknown cuts a member off with its sessions: no receipt of
// the others is complete without them.
func TestReceiptsNameWhoIsUnknown(t *testing.T) {
	s := fleetOf(t, 9)
	theirs := map[dove.HostName]bool{}
	for _, h := range s.hosts {
		if h.at() == s.members[2] {
			theirs[h.name] = true
		}
	}
	if len(theirs) == 0 {
		t.Fatal("no host is with the third member")
	}
	for _, other := range []int{0, 1} {
		s.CutMembers(2, other)
		s.CutMembers(other, 2)
	}
	s.Sleep(2 * controller.PeerSilence)
	revision := s.edit(s.means(strings.Replace(talkative, "{name: all, from: web, to: web, allow: [tcp/80]}", "", 1)))
	for s.step() {
	}
	r := s.members[0].core.Receipt(revision)
	if r.Complete || len(r.Unknown) != len(theirs) || len(r.Unconfirmed) > 0 {
		t.Fatalf("%+v", r)
	}
	for _, u := range r.Unknown {
		if u.Member != "dpc-3" || !theirs[u.Host] {
			t.Errorf("%+v is unknown", u)
		}
	}
	s.HealMembers(0, 2)
	s.HealMembers(1, 2)
	if err := s.Wait(revision); err != nil {
		t.Error(err)
	}
	if r := s.members[0].core.Receipt(revision); !r.Complete || len(r.Unknown) > 0 {
		t.Errorf("after healing %+v", r)
	}
}

// TestAStaleMemberAnswersNobody cuts a member from the store: its sessions go, and a
// host that has seen more than it knows is not taken.
func TestAStaleMemberAnswersNobody(t *testing.T) {
	s := fleetOf(t, 9)
	s.Sleep(time.Second)
	s.DeafenMember(2)
	s.Sleep(10 * time.Second)
	if n := s.homes(); n["dpc-3"] != 0 || n["dpc-1"]+n["dpc-2"] != 9 {
		t.Errorf("sessions are with %v", n)
	}
	s.edit(tenant("globex"))
	s.must(s.Settle())
	s.HealMember(2)
	s.Sleep(time.Minute)
	s.must(s.Settle())
}

// memberFaults are mistakes in what members say to each other. Each must be noticed.
var memberFaults = []struct {
	name   string
	inject func(w *walk, fired *int)
	signs  []string
}{
	{"a member says that its sessions have acknowledged all", func(w *walk, fired *int) {
		w.garble = func(m control.Across) control.Across {
			if p, ok := m.(*control.Progress); ok && p.Settled < p.Applied {
				*fired++
				return &control.Progress{Applied: p.Applied, Settled: p.Applied}
			}
			return m
		}
	}, []string{"and yet member"}},
	{"a member forgets to say who left it", func(w *walk, fired *int) {
		w.garble = func(m control.Across) control.Across {
			p, ok := m.(*control.Present)
			if !ok || p.First {
				return m
			}
			kept := *p
			kept.Hosts = slices.DeleteFunc(slices.Clone(p.Hosts), func(p control.Presence) bool { return p.Phase == control.PhaseEnded })
			*fired += len(p.Hosts) - len(kept.Hosts)
			return &kept
		}
	}, []string{"not all have a session", "is not complete", "and yet member", "it is pending"}},
	{"progress is lost", func(w *walk, fired *int) {
		w.garble = func(m control.Across) control.Across {
			if _, ok := m.(*control.Progress); ok {
				*fired++
				return nil
			}
			return m
		}
	}, []string{"is not complete"}},
	{"flows are not handed over", func(w *walk, fired *int) {
		w.garble = func(m control.Across) control.Across {
			if _, ok := m.(*control.Handover); ok {
				*fired++
				return nil
			}
			return m
		}
	}, []string{"has not taken over the flows", "the flow ended"}},
}

func TestFaultsOfMembersAreNoticed(t *testing.T) {
	t.Logf("go test ./sim -run '%s' -seed %d", t.Name(), *seed)
	for _, f := range memberFaults {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			fired := 0
			for n := range uint64(100) {
				_, err := walkingFleet(*seed+n, jitter, *steps, 3, func(w *walk) { f.inject(w, &fired) })
				if err == nil {
					continue
				}
				if !slices.ContainsFunc(f.signs, func(sign string) bool { return strings.Contains(err.Error(), sign) }) {
					t.Errorf("noticed as something else: %v", err)
				}
				t.Logf("noticed in walk %d after it was injected %d times", n, fired)
				return
			}
			t.Fatalf("injected %d times, and nobody noticed", fired)
		})
	}
}

// TestTimePassesInSmallSteps cuts a member from the store, and tells programs of the time in
// steps of any length; to heal it once it is dead changes nothing.
func TestTimePassesInSmallSteps(t *testing.T) {
	s := fleetOf(t, 9)
	s.Sleep(time.Second)
	s.DeafenMember(2)
	for range 50 {
		s.Pass(200 * time.Millisecond)
	}
	if n := s.homes(); n["dpc-3"] != 0 || n["dpc-1"]+n["dpc-2"] != 9 {
		t.Errorf("sessions are with %v", n)
	}
	s.edit(tenant("globex"))
	s.must(s.KillMember(2, false))
	s.HealMember(2)
	if err := s.Faults(); err != nil {
		t.Error(err)
	}
}
