package lab

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"dove.network/scenario"
)

// cold is a pair that nobody has asked about.
const cold = "endpoint acme/app-2 groups=shop/app host=h2 addrs=10.0.1.22\n"

// TestMembers has three members, kills the only one that hosts were told of, and
// goes on: hosts find the others, new flows work, and changes are enforced. The
// lost one is replaced, and two more join.
func TestMembers(t *testing.T) {
	l := newLabWith(t, Options{Name: "three", DPCs: 3})
	st, _ := playedIn(t, l, small+cold)
	if status, err := l.api.Status(t.Context()); err != nil || len(status.Members) != 3 {
		t.Fatalf("status %+v, %v", status, err)
	}

	if err := l.KillMember("dpc-1"); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	for _, h := range l.Hosts() {
		if err := l.waitSession(t.Context(), h); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("both hosts are in session again %s after their member was killed", time.Since(began).Round(time.Millisecond))
	ask := func(rule string) {
		t.Helper()
		story := small + cold + "expect acme/web-1 -> acme/app-2 tcp/8080 allow rule=" + rule + "\n"
		s, err := scenario.Parse([]byte(strings.Replace(story, "web-app, from", strings.TrimPrefix(rule, "shop/")+", from", 1)))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := st.Do(t.Context(), s.Steps[len(s.Steps)-1].Action); err != nil {
			t.Error(err)
		}
	}
	ask("shop/web-app")
	bp, err := l.api.Blueprint(t.Context(), "acme", "shop")
	if err != nil {
		t.Fatal(err)
	}
	if bp, err = l.api.PutBlueprint(t.Context(), "acme", "shop", []byte(strings.Replace(bp.Text, "web-app", "again", 1)), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := l.api.RemoveMember(t.Context(), "dpc-1", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := l.WaitReceipt(t.Context(), bp.Revision); err != nil {
		t.Fatal(err)
	}
	ask("shop/again")

	for range 2 {
		if _, err := l.AddMember(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	// A drained member has no sessions soon, and nothing is lost.
	if _, err := l.api.DrainMember(t.Context(), "dpc-2", true, nil); err != nil {
		t.Fatal(err)
	}
	for _, h := range l.Hosts() {
		within, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		err := h.sw.until(within, func() error {
			s, err := h.sock.Status(within)
			return errors.Join(err, unless(s.Session == "open" && s.Member != "dpc-2", "the session of %s is %s with %q", h.Name, s.Session, s.Member))
		})
		if cancel(); err != nil {
			t.Fatal(err)
		}
	}
	e, err := l.api.PutTenant(t.Context(), "last", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.WaitReceipt(t.Context(), e.Revision); err != nil {
		t.Fatal(err)
	}
	ask("shop/again")
}
