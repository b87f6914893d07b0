package main

import (
	"bytes"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"dove.network/api"
	"dove.network/daemon/daemontest"
	"dove.network/dove"
)

// TestWatchAndRepeat watches a running member, and repeats a write of before a
// restart after it.
func TestWatchAndRepeat(t *testing.T) {
	state := filepath.Join(t.TempDir(), "dpc")
	s := settings{State: state, Listen: addresses{API: daemontest.FreeAddress(t), Control: daemontest.FreeAddress(t)}}
	if err := (&initial{State: state, Name: "dpc-1", Advertise: []string{s.Listen.API}}).init(&bytes.Buffer{}); err != nil {
		t.Fatal(err)
	}
	c, stop := start(t, s)
	before := must[api.Status](t)(c.Status(t.Context()))
	var made api.Tenant
	var ended error
	for line, err := range c.Watch(t.Context(), "", before.Revision) {
		if err != nil {
			ended = err
			break
		}
		switch {
		case made.Name == "": // the watch is on
			made = must[api.Tenant](t)(c.WithRequestID("deploy 1").PutTenant(t.Context(), "acme", nil))
		case len(line.Changes) != 1 || line.Changes[0].Name != "acme" || line.Revision != made.Revision:
			t.Errorf("after %+v comes %+v", made, line)
		default:
			stop() // ends the watch too
		}
	}
	if dove.KindOf(ended) != dove.Unavailable {
		t.Errorf("the member stopped, and the watch ends with %v", ended)
	}

	c, stop = start(t, s)
	defer stop()
	must[dove.Revision](t)(c.DeleteTenant(t.Context(), "acme", nil))
	if again := must[api.Tenant](t)(c.WithRequestID("deploy 1").PutTenant(t.Context(), "acme", nil)); again != made {
		t.Errorf("the write was %+v, and repeated %+v", made, again)
	}
	if tenants := must[[]api.Tenant](t)(c.Tenants(t.Context(), api.TenantFilter{})); len(tenants) != 0 {
		t.Errorf("a write that was repeated happened again: %+v", tenants)
	}
	for _, err := range c.Watch(t.Context(), "", before.Revision) {
		if dove.KindOf(err) != dove.NotFound || !strings.Contains(err.Error(), "list again") {
			t.Errorf("a watch from before the restart: %v", err)
		}
		break
	}

	// Several at once: one deletes, and the others are told what it did.
	must[api.Tenant](t)(c.PutTenant(t.Context(), "bolt", nil))
	gone := make([]dove.Revision, 8)
	var all sync.WaitGroup
	for i := range gone {
		all.Go(func() {
			var err error
			if gone[i], err = c.WithRequestID("deploy 2").DeleteTenant(t.Context(), "bolt", nil); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if slices.Min(gone) != slices.Max(gone) {
		t.Errorf("one deletion has revisions %v", gone)
	}
}
