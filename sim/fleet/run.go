package fleet

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"time"

	"dove.network/dove"
	"dove.network/oracle/worlds"
	"dove.network/sim"
)

// Bounds of a Run.
const (
	HostsMax   = 20_000
	MembersMax = 7
)

// Run is what to simulate.
type Run struct {
	Seed           uint64
	Hosts, Members int
	Steps          int
	Trace          io.Writer // of every event, a line each; nil for none
	// Progress hears of each step, at which virtual time it ended, and says whether to
	// go on; nil goes on.
	Progress func(step int, at time.Duration) bool
}

// Result is what a Run came to.
type Result struct {
	Digest    uint64 // of all that happened
	Events    uint64
	Steps     int
	Took      time.Duration // of virtual time
	Revisions dove.Revision
	Packets   int // first packets and later ones that were sent
	Passed    int // of first packets
	Known     int // packets of known flows that had to pass, and did
	Faults    map[string]int
	Mended    int // times when all was
	Moved     int // live moves that came to their end
	GivenUp   int // live moves that were not carried in time, while something was broken
	Last      []string
}

// fleet is a Run that goes on.
type fleet struct {
	*sim.Sim
	Run
	r       *rand.Rand
	hosts   []dove.HostName
	tenants []*tenant
	ids     int
	cures   []cure
	ill     map[string]bool      // what is broken
	mended  map[string]time.Time // when it was not any more
	flows   []*flow
	moving  []*move
	fine    time.Time // the underlay has lost nothing since
	trouble time.Time // when something was broken or mended last
	result  Result
}

// tenant is one with its own intent.
type tenant struct {
	name   dove.Tenant
	intent *worlds.World
	at     []dove.HostName // its endpoints are on these
}

// Do carries out the run. The error says what must not be, and at which step.
func (r Run) Do() (Result, error) {
	f := &fleet{
		Sim: sim.NewFleet(r.Seed, r.Members), Run: r, r: rand.New(rand.NewPCG(r.Seed, 7)),
		ill: map[string]bool{}, mended: map[string]time.Time{}, result: Result{Faults: map[string]int{}},
	}
	f.Record(r.Trace)
	err := f.build()
	if err == nil {
		err = f.walk()
	} else {
		err = fmt.Errorf("while the fleet is built: %w", err)
	}
	f.result.Digest, f.result.Events = f.Trail()
	f.result.Took, f.result.Revisions = f.Now().Sub(sim.Start), f.World().Revision()
	return f.result, err
}

// mendEvery is after how many steps all is mended.
const mendEvery = 100

func (f *fleet) walk() error {
	for n := range f.Steps {
		f.result.Steps = n + 1
		err := f.step()
		if err == nil && (n%mendEvery == mendEvery-1 || n == f.Steps-1) {
			err = f.mend()
		}
		if err != nil {
			return fmt.Errorf("step %d, after %s: %w", n+1, f.Now().Sub(sim.Start), err)
		}
		if f.Progress != nil && !f.Progress(n+1, f.Now().Sub(sim.Start)) {
			return nil
		}
	}
	return nil
}

// step makes one random step.
func (f *fleet) step() error {
	err := f.cure(f.Now())
	switch n := f.r.IntN(10); {
	case err != nil:
		return err
	case n < 4:
		err = f.edit()
	case n < 7:
		err = f.harm()
	}
	if err = errors.Join(err, f.carryOn()); err != nil {
		return err
	}
	f.send()
	if err := f.look(); err != nil {
		return err
	}
	d := time.Duration(f.r.IntN(500)) * time.Millisecond
	if f.r.IntN(20) == 0 {
		d = time.Duration(f.r.IntN(20)) * time.Second
	}
	f.Pass(d)
	return f.Faults()
}

// mend undoes all that is broken, and holds everything against the world.
func (f *fleet) mend() error {
	f.note("all is mended")
	if err := f.cure(f.Now().Add(time.Hour)); err != nil {
		return err
	}
	f.Underlay, f.Jitter, f.fine = sim.Underlay{}, jitters[0], f.Now()
	for range 60 { // sessions that nobody ended are noticed after half a minute
		f.Pass(time.Second)
		if err := f.Faults(); err != nil {
			return err
		}
		if f.whole() == "" {
			break
		}
	}
	if err := f.Settle(); err != nil {
		return fmt.Errorf("after all was mended: %w", err)
	}
	if why := f.whole(); why != "" {
		return fmt.Errorf("a minute after all was mended: %s", why)
	}
	f.result.Mended++
	for _, m := range f.moving { // what it begins where it was active would follow later
		if e, ok := m.goesOn(f.World()); ok && e.Activated {
			f.GoOn(e)
		}
	}
	return f.agree()
}

// whole says what is missing though nothing is broken, "" if nothing is.
func (f *fleet) whole() string {
	homes := f.Homes()
	if i := slices.IndexFunc(f.hosts, func(h dove.HostName) bool { return homes[h] == "" }); i >= 0 {
		return fmt.Sprintf("%s has no session", f.hosts[i])
	}
	for _, m := range f.moving {
		if e, ok := m.goesOn(f.World()); ok && !f.Carried(e) {
			return fmt.Sprintf("the live move of %s from %s to %s is not carried", m.name, e.Source(), e.Other(e.Source()))
		}
	}
	return f.Unsettled()
}

// well reports whether nothing was broken, mended or slow since a time.
func (f *fleet) well(since time.Time) bool {
	return len(f.ill) == 0 && f.trouble.Before(since) && f.Jitter == jitters[0] && f.fine.Before(since)
}

// lastMax is how many of the last things that were done are remembered.
const lastMax = 40

// note remembers what is done.
func (f *fleet) note(format string, args ...any) {
	line := fmt.Sprintf("%s %s", f.Now().Sub(sim.Start), fmt.Sprintf(format, args...))
	f.Jot("%s", line)
	if f.result.Last = append(f.result.Last, line); len(f.result.Last) > lastMax {
		f.result.Last = slices.Delete(f.result.Last, 0, 1)
	}
}

// pick draws one of a list that is not empty.
func pick[T any](r *rand.Rand, list []T) T { return list[r.IntN(len(list))] }
