package edit_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"dove.network/dove"
	"dove.network/edit"
	"dove.network/policy"
	"dove.network/world"
)

// crowd is a domain of equal endpoints, of one class.
func crowd(t *testing.T, endpoints int) *book {
	b := newBook(t)
	b.tenant("acme")
	b.blueprint("acme", crowded(0))
	for i := range endpoints {
		b.endpoint(edit.EndpointRequest{Tenant: "acme", ID: dove.EndpointID(fmt.Sprintf("e%d", i)), Network: "net", Groups: []string{}, Addresses: []string{crowdAddress(i)}})
	}
	return b
}

var crowdDomain = dove.Domain{Tenant: "acme", Name: "crowd"}

func crowdAddress(i int) string { return fmt.Sprintf("10.0.%d.%d", 1+i/250, 1+i%250) }

// crowded is a blueprint that tells so many of the endpoints apart, each from all others.
func crowded(apart int) string {
	var outside, to []string
	for i := range apart {
		outside, to = append(outside, fmt.Sprintf("o%d: {prefixes: [%s/32]}", i, crowdAddress(i))), append(to, fmt.Sprintf("o%d", i))
	}
	text := "{apiVersion: dove/v1, kind: Blueprint, name: crowd, networks: {net: {subnets: [10.0.0.0/16]}}, groups: {web: {}}"
	if apart > 0 {
		text += fmt.Sprintf(", outside: {%s}, policies: [{name: a, from: web, to: [%s], allow: any}]", strings.Join(outside, ", "), strings.Join(to, ", "))
	}
	return text + "}"
}

// putting decides on a crowded blueprint.
func putting(apart int) func(*world.World) (dove.Txn, error) {
	return func(w *world.World) (dove.Txn, error) {
		return first(edit.PutBlueprint(w, "acme", "", []byte(crowded(apart)), now, nil))
	}
}

// next commits the next step, and reports whether it was the last.
func (b *book) next(s *edit.Steps) (last bool) {
	b.t.Helper()
	txn, last, err := s.Next(b.w)
	b.must(txn, err)
	return last
}

// settled checks that every endpoint has the classes of its addresses, and that
// no id stands for two signatures.
func (b *book) settled(classes int) {
	b.t.Helper()
	checkSound(b.t, b.w)
	if n := b.w.ClassCount(crowdDomain); n != classes || n != len(collect(b.w.Classes(crowdDomain))) {
		b.t.Errorf("%d classes, want %d", n, classes)
	}
	checkRebuiltClasses(b)
}

func checkRebuiltClasses(b *book) {
	b.t.Helper()
	again := b.rebuilt()
	for a := range b.w.Classes(crowdDomain) {
		if c, ok := again.ClassAlloc(crowdDomain, a.Signature); !ok || c.Class != a.Class {
			b.t.Errorf("class %d of %s is %d for who loads the store", a.Class, a.Signature, c.Class)
		}
	}
}

// One edit gives any number of classes: 100 with it, more before it.
func TestManyNewClasses(t *testing.T) {
	for endpoints, transactions := range map[int]int{100: 1, 101: 3, 5000: 51} {
		b := crowd(t, endpoints)
		planned, err := edit.Plan(b.w, "acme", []byte(crowded(endpoints)), now)
		if err != nil || planned.NewClasses != endpoints {
			t.Fatalf("planned: %d new classes, %v", planned.NewClasses, err)
		}
		if _, err := edit.Validate(b.w, "acme", []byte(crowded(endpoints)), now); err != nil {
			t.Errorf("not valid: %v", err)
		}
		steps, n := edit.InSteps(func(w *world.World) (dove.Txn, error) { // no step makes the plan untrue
			return first(edit.PutPlanned(w, "acme", "", []byte(crowded(endpoints)), now, nil, planned.Token))
		}), 1
		intent := b.w.Domain(crowdDomain)
		for ; !b.next(steps); n++ {
			if b.w.Domain(crowdDomain) != intent {
				t.Fatal("a step before the last changed what policies say")
			}
		}
		if n != transactions {
			t.Errorf("%d endpoints took %d transactions, want %d", endpoints, n, transactions)
		}
		b.settled(1 + endpoints)
		if txn, last, err := steps.Next(b.w); !txn.Empty() || !last || err != nil {
			t.Errorf("there is more to do: %v", err)
		}
	}
}

// What an edit decided before it was interrupted is there for the next attempt,
// also if it came to rest, until it rested long enough.
func TestStepsInterrupted(t *testing.T) {
	b := crowd(t, 450)
	steps := edit.InSteps(putting(450))
	for range 3 {
		if b.next(steps) {
			t.Fatal("it was the last step")
		}
	}
	for range 5 {
		b.must(edit.SweepClasses(b.w, crowdDomain, now))
	}
	again, n := edit.InSteps(putting(450)), 1
	for ; !b.next(again); n++ {
	}
	if n != 3 {
		t.Errorf("%d transactions after three were done, want 3", n)
	}
	b.settled(451)
	for range 5 {
		b.must(edit.SweepClasses(b.w, crowdDomain, now.Add(edit.Rest)))
	}
	b.settled(451) // all are in use

	b.must(first(edit.PutBlueprint(b.w, "acme", "", []byte(crowded(0)), now, nil)))
	sweep := func(at time.Time) {
		for range 6 {
			b.must(edit.SweepClasses(b.w, crowdDomain, at))
		}
	}
	sweep(now.Add(edit.Rest))
	b.settled(451)
	sweep(now.Add(2 * edit.Rest))
	b.settled(1)
}

// Others write between the steps: what a step read is checked, and no class
// that an edit relies on is deleted before it is in use.
func TestStepsAmongOthers(t *testing.T) {
	b := crowd(t, 450)
	steps := edit.InSteps(putting(450))
	for done, i := false, 0; !done; i++ {
		before := b.w
		txn, last, err := steps.Next(before)
		if err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 {
			b.endpoint(edit.EndpointRequest{Tenant: "acme", ID: dove.EndpointID(fmt.Sprintf("late%d", i)), Network: "net", Groups: []string{}, Addresses: []string{fmt.Sprintf("10.0.200.%d", i+1)}})
			if b.commit(txn) {
				t.Fatalf("step %d did not notice an endpoint", i)
			}
			continue
		}
		b.must(txn, nil)
		done = last
	}
	b.settled(451)

	// The classes rest, and are about to be deleted while an edit relies on them.
	b.must(first(edit.PutBlueprint(b.w, "acme", "", []byte(crowded(0)), now, nil)))
	for range 6 {
		b.must(edit.SweepClasses(b.w, crowdDomain, now))
	}
	for _, sweepFirst := range []bool{true, false} {
		put, err := putting(450)(b.w)
		if err != nil {
			t.Fatal(err)
		}
		sweep, err := edit.SweepClasses(b.w, crowdDomain, now.Add(edit.Rest))
		if err != nil || len(sweep.Deletes) == 0 {
			t.Fatal(sweep, err)
		}
		if sweepFirst {
			put, sweep = sweep, put
		}
		b.must(put, nil)
		if b.commit(sweep) {
			t.Errorf("both happened, sweep first: %v", sweepFirst)
		}
		b.settled(map[bool]int{true: 351, false: 451}[sweepFirst])
		for steps := edit.InSteps(putting(450)); !b.next(steps); {
		}
		b.settled(451)
		if sweepFirst {
			b.must(first(edit.PutBlueprint(b.w, "acme", "", []byte(crowded(0)), now, nil)))
			for range 6 {
				b.must(edit.SweepClasses(b.w, crowdDomain, now))
			}
		}
	}
}

// No domain has more than 65,000 classes: who would make more is told so before.
func TestClassesOfADomainEnd(t *testing.T) {
	b := crowd(t, 10)
	var docs []dove.Doc
	rev := b.w.Revision() + 1
	for i := b.w.ClassCount(crowdDomain); i < policy.ClassesMax-9; i++ {
		a := world.ClassAlloc{Tenant: "acme", Domain: "crowd", Class: dove.Class(i + 2), FreedAt: new(now),
			Signature: policy.Signature{Groups: []dove.Group{{Tenant: "acme", Blueprint: "crowd", Name: fmt.Sprintf("g%d", i)}}}.Key()}
		put := world.Put(a)
		docs = append(docs, dove.Doc{Key: put.Key, Value: put.Value, Revision: rev})
		b.docs[put.Key] = docs[len(docs)-1]
	}
	w, _, err := b.w.Apply(rev, docs)
	if err != nil {
		t.Fatal(err)
	}
	b.w = w
	const want = `domain acme/crowd would need 10 new classes beside 64991, of which 64990 rest for 24h0m0s, and may have 65000`
	_, err = putting(10)(b.w)
	refused(t, err, dove.TooLarge, want)
	_, err = edit.Plan(b.w, "acme", []byte(crowded(10)), now)
	refused(t, err, dove.TooLarge, want)
	b.must(putting(9)(b.w))
	checkSound(t, b.w)
}
