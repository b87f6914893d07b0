package main

import (
	"strings"
	"testing"
)

func TestTakeName(t *testing.T) {
	for _, c := range []struct{ line, name, rest, fault string }{
		{"", "lab", "", ""},
		{"--tenant acme why a b icmp", "lab", "--tenant acme why a b icmp", ""},
		{"--name two status", "two", "status", ""},
		{"--name=two -t acme plan --name x", "two", "-t acme plan --name x", ""},
		{"--name", "", "", "--name needs"},
	} {
		name, rest, err := takeName(strings.Fields(c.line))
		if name != c.name || strings.Join(rest, " ") != c.rest || (err != nil) != (c.fault != "") || err != nil && !strings.Contains(err.Error(), c.fault) {
			t.Errorf("%q: %q, %q, %v", c.line, name, rest, err)
		}
	}
}
