package main

import (
	"strings"
	"testing"

	"dove.network/api"
)

// TestRoomIsTold: a plan warns by name of hosts that might hold too little.
func TestRoomIsTold(t *testing.T) {
	var b strings.Builder
	printRoom(&b, false, api.Room{Tight: []api.TightHost{{Host: "h1", Domain: "shop", Entries: 226108, Max: 209715}}, TightN: 3, Unknown: 1})
	for _, want := range []string{"host h1 may have no room for all rules of domain shop: 226108 entries if all talk that may, and 209715 fit", "so may 2 more hosts\n", "was not worked out for 1 host:"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("it does not say %q:\n%s", want, b.String())
		}
	}
}
