package agent

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"dove.network/control"
	"dove.network/dove"
)

// half draws the middle of what could be drawn.
func half(d time.Duration) time.Duration { return d / 2 }

func TestHostsSpreadOverMembers(t *testing.T) {
	members := []string{"192.0.2.1:9091", "192.0.2.2:9091", "192.0.2.3:9091"}
	const hosts = 3000
	first, second := map[string]int{}, map[string]int{}
	for n := range hosts {
		r := NewRoute(dove.HostName(fmt.Sprintf("node-%d", n)), members[:1], members, half)
		address := r.Next()
		first[address]++
		if address == members[1] { // it dies
			r.Ended()
			second[r.Next()]++
		}
	}
	for _, m := range members {
		if n := first[m]; n < hosts/3-200 || n > hosts/3+200 {
			t.Errorf("%d of %d hosts begin with %s", n, hosts, m)
		}
	}
	if len(second) != 2 || second[members[0]] < 400 || second[members[2]] < 400 {
		t.Errorf("hosts of a lost member begin with %v", second)
	}
}

func TestRouteGoesRound(t *testing.T) {
	members := []string{"a:1", "b:1", "c:1"}
	r := NewRoute("h1", members, nil, half)
	for n := range 40 {
		var tried []string
		for range members {
			tried = append(tried, r.Next())
			if wait := r.Failed(dove.Unavailable); len(tried) < len(members) && wait > aside {
				t.Fatalf("the next member waits %s", wait)
			} else if len(tried) == len(members) && (wait < backoffFirst/2 || wait > backoffMax*3/2) {
				t.Fatalf("after %d rounds in vain it waits %s", n+1, wait)
			}
		}
		slices.Sort(tried)
		if !slices.Equal(tried, members) {
			t.Fatalf("a round tries %v", tried)
		}
	}
	for range 2 {
		r.Failed(dove.Unauthorized)
	}
	if d := r.Failed(dove.Unauthorized); d < backoffRefused/2 {
		t.Errorf("who is refused waits %s", d)
	}
}

func TestRouteObeysElsewhere(t *testing.T) {
	r := NewRoute("h1", []string{"a:1", "b:1", "c:1"}, nil, half)
	from := r.Next()
	r.Sent(&control.Elsewhere{Addresses: []string{"d:1", from}})
	var tried []string
	for range 4 {
		tried = append(tried, r.Next())
		r.Failed(dove.Unavailable)
	}
	if tried[0] != "d:1" || tried[3] != from {
		t.Errorf("sent from %s to d:1 it tries %v", from, tried)
	}
	if NewRoute("h1", nil, nil, half).Next() != "" {
		t.Error("there is an address where none is known")
	}
}

// TestSentElsewhere has a member send its session away: it goes on until it is
// time, and then tries the other address first, which it also remembers.
func TestSentElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, "")
		p := newPipe()
		f.dials <- p
		next[*control.Hello](f, p)
		<-f.dialled
		p.down <- &control.Welcome{Version: control.Version, Member: "m1", Incarnation: 1, Revision: 1}
		p.down <- &control.Members{Addresses: []string{"m1:1", "m2:1"}}
		p.down <- &control.Elsewhere{Addresses: []string{"m2:1"}, Reason: "m1 drains", After: 3 * time.Second}
		synctest.Wait()
		time.Sleep(2900 * time.Millisecond)
		select {
		case <-f.dialled:
			t.Fatal("it left before it was time")
		default:
		}
		time.Sleep(time.Second)
		if address := <-f.dialled; address != "m2:1" {
			t.Errorf("it dials %q", address)
		}
		q := newPipe()
		f.dials <- q
		if h := next[*control.Hello](f, q); h.Number == 0 {
			t.Error("its Hello has no number")
		}
		if got := f.agent.core.saved().Members; !slices.Equal(got, []string{"m1:1", "m2:1"}) {
			t.Errorf("it remembers the members %v", got)
		}
		f.stop()
	})
}
