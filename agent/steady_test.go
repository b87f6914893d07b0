package agent

import (
	"fmt"
	"testing"

	"dove.network/control"
	"dove.network/dove"
)

// TestSaidWhileOthersChange has devices come and endpoints go without a pause, on a disk that is
// slower: what is to be said of an endpoint that waits for its device, and is written, is said.
func TestSaidWhileOthersChange(t *testing.T) {
	r := web1(t)
	r.slowDisk = true
	r.step(Received{assignOf("web-2", 5, "10.0.0.2", 20)})
	said := func() bool {
		for _, m := range r.sent {
			if u, ok := m.(*control.EndpointUpdate); ok && u.Endpoint.ID == "web-2" {
				return true
			}
		}
		return false
	}
	for n := range 8 {
		r.step(Plug{Endpoint: dove.Endpoint{Tenant: "red", ID: dove.EndpointID(fmt.Sprint("other-", n))}, Device: "tap9"}, deviceOf("tap9", 100+n))
		r.step(r.write())
	}
	if !said() {
		t.Error("nothing was said of an endpoint that eight Saves have")
	}
}

// TestStatusDoesNotWaitForTheDisk asks the local socket's way what ports are while a Save is under
// way: that is what is in force, and why what is not is not.
func TestStatusDoesNotWaitForTheDisk(t *testing.T) {
	r := web1(t)
	r.slowDisk = true
	web := dove.Endpoint{Tenant: "red", ID: "web-1"}
	state := func(want, detail string) {
		t.Helper()
		if p := r.core.portStatus(r.core.assignments[web]); p.State != want || p.Detail != detail {
			t.Errorf("%s (%s), want %s (%s)", p.State, p.Detail, want, detail)
		}
	}
	r.step(Plug{Endpoint: web, Device: "eth9"})
	state("waiting", "there is no device eth9")
	r.step(Plug{Endpoint: web})
	state("active", "")
}
