package fleet

import (
	"fmt"
	"slices"
	"time"

	"dove.network/dove"
	"dove.network/edit"
	"dove.network/scenario"
	"dove.network/sim"
	"dove.network/world"
)

// cure is what is to happen later: the end of something that is broken, mostly.
type cure struct {
	due  time.Time
	what string // that is broken, "" if nothing is
	undo func() error
}

// later has something happen after a time; until then what is ill.
func (f *fleet) later(d time.Duration, what string, undo func() error) {
	if what != "" {
		f.ill[what] = true
	}
	f.cures = append(f.cures, cure{f.Now().Add(d), what, undo})
}

// cure does what is due at a time.
func (f *fleet) cure(by time.Time) error {
	var due []cure
	f.cures = slices.DeleteFunc(f.cures, func(c cure) bool {
		is := !c.due.After(by)
		if is {
			due = append(due, c)
		}
		return is
	})
	for _, c := range due {
		if c.what != "" {
			f.note("mend %s", c.what)
			delete(f.ill, c.what)
			f.mended[c.what], f.trouble = f.Now(), f.Now()
		}
		if err := c.undo(); err != nil {
			return err
		}
	}
	return nil
}

// begins notes that something breaks, false if it is broken already.
func (f *fleet) begins(kind, what string) bool {
	if f.ill[what] {
		return false
	}
	f.result.Faults[kind]++
	f.trouble = f.Now()
	f.note("%s: %s", kind, what)
	return true
}

// a while is how long something stays broken.
func (f *fleet) while() time.Duration {
	d := time.Duration(f.r.IntN(5000)) * time.Millisecond
	if f.r.IntN(4) == 0 {
		d *= 12
	}
	return d
}

// jitters are what messages may take at most.
var jitters = []time.Duration{20 * time.Millisecond, 200 * time.Millisecond, 2 * time.Second}

// harm breaks something.
func (f *fleet) harm() error {
	switch n := f.r.IntN(20); {
	case n < 8:
		f.harmHost()
		return nil
	case n < 16:
		return f.harmMember()
	case n < 18:
		f.cutHosts()
		return nil
	default:
		f.weather()
		return nil
	}
}

func (f *fleet) harmHost() {
	h := pick(f.r, f.hosts)
	name := string(h)
	again := scenario.Start{Program: scenario.Program{Host: h}}
	if f.ill[name] {
		return
	}
	switch f.r.IntN(6) {
	case 0:
		f.begins("a session is reset", name)
		f.Cut(h)
	case 1:
		f.begins("an agent is killed and started", name)
		f.RestartAgent(h)
	case 2:
		f.begins("an agent is stopped", name)
		f.Disturb(scenario.Stop(again))
		f.later(f.while(), name, func() error { return f.Disturb(again) })
	case 3:
		by := time.Duration(f.r.IntN(3600)) * time.Second
		f.begins("the clock of a host leaps", name)
		f.StepClock(h, by)
		f.later(f.while(), name, func() error { f.StepClock(h, -by); return nil })
	default:
		f.begins("a host is not heard by a member", name)
		up := f.r.IntN(3)
		var members []int
		for n := range f.Members {
			if len(members) == 0 || f.r.IntN(2) == 0 {
				members = append(members, n)
			}
		}
		for _, n := range members {
			f.Silence(h, n, up != 0, up != 1)
		}
		f.later(f.while(), name, func() error {
			for _, n := range members {
				f.Mend(h, n)
			}
			return nil
		})
	}
}

func (f *fleet) harmMember() error {
	n := f.r.IntN(f.Members)
	name := fmt.Sprintf("dpc-%d", n+1)
	if f.ill[name] {
		return nil
	}
	switch f.r.IntN(8) {
	case 0:
		f.begins("a member is killed and started", name)
		return f.KillMember(n, true)
	case 1:
		f.begins("a member is killed", name)
		f.later(f.while(), name, func() error { return f.StartMember(n) })
		return f.KillMember(n, false)
	case 2:
		f.begins("a member stands still", name)
		f.FreezeMember(n)
		f.later(f.while(), name, func() error { f.ThawMember(n); return nil })
	case 3:
		f.begins("a member does not hear the store", name)
		f.DeafenMember(n)
		f.later(f.while(), name, func() error { f.HealMember(n); return nil })
	case 4:
		f.begins("a member hears the store late", name)
		f.SlowMember(n, time.Duration(f.r.IntN(2500))*time.Millisecond)
		f.later(f.while(), name, func() error { f.SlowMember(n, 0); return nil })
	case 5:
		f.begins("a member is drained", name)
		if err := f.drain(name, true); dove.KindOf(err) == dove.Conflict {
			return nil // the last one is not
		} else if err != nil {
			return err
		}
		f.later(f.while(), name, func() error { return f.drain(name, false) })
	case 6:
		by := time.Duration(f.r.IntN(3600)) * time.Second
		f.begins("the clock of a member leaps", name)
		f.later(f.while(), name, func() error { return f.StepMemberClock(n, -by) })
		return f.StepMemberClock(n, by)
	case 7:
		other := f.r.IntN(f.Members)
		what := fmt.Sprintf("%d and %d", min(n, other), max(n, other))
		if n == other || !f.begins("members do not hear each other", what) {
			return nil
		}
		f.CutMembers(n, other)
		if f.r.IntN(2) == 0 {
			f.CutMembers(other, n)
		}
		f.later(f.while(), what, func() error { f.HealMembers(n, other); return nil })
	}
	return nil
}

func (f *fleet) drain(member string, draining bool) error {
	_, err := f.Edit(func(w *world.World) (dove.Txn, error) {
		txn, _, err := edit.DrainMember(w, member, draining, nil)
		return txn, err
	})
	return err
}

// cutHosts cuts two hosts from each other.
func (f *fleet) cutHosts() {
	t := pick(f.r, f.tenants)
	a, b := pick(f.r, t.at), pick(f.r, t.at)
	link := scenario.Link{Host: min(a, b), To: max(a, b)}
	what := fmt.Sprintf("%s and %s", link.Host, link.To)
	if a == b || !f.begins("hosts are cut from each other", what) {
		return
	}
	f.Disturb(scenario.Cut{Link: link})
	f.later(f.while(), what, func() error { return f.Disturb(scenario.Heal{Link: link}) })
}

// weather changes how messages and frames travel.
func (f *fleet) weather() {
	f.Jitter = pick(f.r, jitters)
	f.Underlay = sim.Underlay{}
	if f.r.IntN(2) == 0 {
		f.Underlay = sim.Underlay{Lag: time.Duration(f.r.IntN(50)) * time.Millisecond, Lost: f.r.IntN(100), Twice: f.r.IntN(100)}
	}
	f.fine = f.Now().Add(time.Second)
	f.note("messages take up to %s, the underlay is %+v", f.Jitter, f.Underlay)
}
