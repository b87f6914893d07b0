package api

import (
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"
)

// TestBadPolicies sends what policy must not be to every operation that takes it:
// each fault is named, with its line, and nothing changes.
func TestBadPolicies(t *testing.T) {
	const head = "apiVersion: dove/v1\nkind: Blueprint\nname: shop\nnetworks:\n  front: {subnets: [10.0.1.0/24]}\ngroups:\n  web: {network: front}\n"
	const netpol = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p, namespace: n}\nspec:\n"
	for name, c := range map[string]struct {
		to   string // "": operations that take blueprints; else a language
		text string
		kind string
		says []string // each of another fault
	}{
		"missing groups": {text: head + "policies:\n  - {name: a, from: gone, to: web, allow: any}\n  - {name: b, from: web, to: [web, lost], allow: any}\n", kind: "invalid",
			says: []string{`9:21: policies[0].from: unknown group "gone"`, `10:36: policies[1].to[1]: unknown group "lost"`}},
		"missing groups of others": {text: head + "policies:\n  - {name: a, from: gone/x, to: web, allow: any}\n  - {name: b, from: web, to: [web, lost/y], allow: any}\n", kind: "invalid",
			says: []string{`9:21: policies[0].from: group "gone/x": unknown blueprint "gone"`, `10:36: policies[1].to[1]: group "lost/y": unknown blueprint "lost"`}},
		"inverted ranges": {text: head + "policies:\n  - {name: a, from: web, to: web, allow: [tcp/90-80, udp/2-1]}\n", kind: "invalid",
			says: []string{`"tcp/90-80": the range ends before it starts`, `"udp/2-1": the range ends before it starts`}},
		"host bits": {text: strings.Replace(head, "10.0.1.0/24", "10.0.1.7/24", 1) + "outside:\n  o: {prefixes: [10.9.9.9/8], except: [10.1.1.1/16]}\n", kind: "invalid",
			says: []string{"10.0.1.7/24", "10.9.9.9/8", "10.1.1.1/16"}},
		"unknown fields": {text: head + "extra: 1\npolicies:\n  - {name: a, from: web, to: web, alow: any, allow: any}\n", kind: "invalid",
			says: []string{`8:1: `, `"extra"`, `"alow"`}},
		"selectors that select by nothing": {text: head + "  s: {selector: {matchExpressions: [{key: a, operator: In, values: []}, {key: b, operator: Exists, values: [x]}, {key: c, operator: Is}]}}\n", kind: "invalid",
			says: []string{"values", "Exists", `"Is"`}},
		"a text that refers to itself": {text: head + "policies: &p\n  - {name: a, from: web, to: web, allow: any}\n  - *p\n", kind: "invalid", says: []string{"alias"}},
		"documents in a circle": {text: strings.Replace(head, "name: shop", "name: one", 1) + "policies:\n  - {name: a, from: web, to: two/web, allow: any}\n---\n" +
			strings.Replace(strings.Replace(strings.Replace(head, "name: shop", "name: two\ndomain: one", 1), "front", "back", 2), "10.0.1", "10.0.2", 1) + "policies:\n  - {name: a, from: web, to: one/web, allow: any}\n", kind: "invalid",
			says: []string{`9:30: documents[0].policies[0].to: group "two/web"`, `20:30: documents[1].policies[0].to: group "one/web"`}},
		"kubernetes: unknown fields": {to: "kubernetes", text: netpol + "  podSelectr: {}\n  podSelector: {}\n  ingress: [{form: []}]\n", kind: "invalid",
			says: []string{`5:1: : unknown field "podSelectr"`, `"form"`}},
		"kubernetes: inverted ranges, host bits": {to: "kubernetes", text: netpol + "  podSelector: {}\n  ingress:\n  - ports: [{port: 90, endPort: 80}]\n    from: [{ipBlock: {cidr: 10.0.0.7/8}}, {ipBlock: {cidr: 10.0.0.0/8, except: [11.0.0.0/16]}}]\n", kind: "invalid",
			says: []string{"80", "10.0.0.7/8", "11.0.0.0/16"}},
		"openstack: unknown fields": {to: "openstack", text: `{"security_groups": [{"id": "a", "name": "a", "surprise": 1, "security_group_rules": [{"id": "r", "wonder": 1}]}]}`, kind: "invalid",
			says: []string{"surprise", "wonder"}},
		"openstack: missing groups, inverted ranges": {to: "openstack", text: `{"security_groups": [{"id": "a", "name": "a", "security_group_rules": [{"id": "r", "direction": "ingress", "ethertype": "IPv4", "remote_group_id": "gone", "port_range_min": 90, "port_range_max": 80, "protocol": "tcp"}]}]}`, kind: "invalid",
			says: []string{"gone", "80"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.ok(nil, "PUT /v1/tenants/acme", "")
			before := r.backend.World()
			asked := []string{"POST /v1/tenants/acme/imports/" + c.to + "?name=x"}
			if c.to == "" {
				asked = []string{"POST /v1/tenants/acme/validate", "POST /v1/tenants/acme/plan", "POST /v1/tenants/acme/blueprints"}
				if !strings.Contains(c.text, "\n---\n") {
					asked = append(asked, "PUT /v1/tenants/acme/blueprints/shop")
				}
			}
			for _, what := range asked {
				p := r.refused(http.StatusUnprocessableEntity, what, c.text, "Content-Type: application/yaml")
				var all []string
				for _, f := range p.Errors {
					all = append(all, fmt.Sprintf("%d:%d: %s: %s", f.Line, f.Column, f.Path, f.Message))
				}
				text := strings.Join(all, "\n")
				for _, says := range c.says {
					if !strings.Contains(text, says) {
						t.Errorf("%s: no %q in\n%s", what, says, text)
					}
				}
				if p.Kind != c.kind || len(p.Errors) < min(2, len(c.says)) || r.backend.World() != before {
					t.Errorf("%s: kind %s, %d faults", what, p.Kind, len(p.Errors))
				}
			}
		})
	}
}

// TestTooMuchPolicy sends ten megabytes, and as much as is taken with a fault in every
// line: refused in bounded time and memory.
func TestTooMuchPolicy(t *testing.T) {
	r := newRig(t)
	r.ok(nil, "PUT /v1/tenants/acme", "")
	before := r.backend.World()
	const head = "apiVersion: dove/v1\nkind: Blueprint\nname: shop\npolicies:\n"
	rules := func(size int) string {
		var b strings.Builder
		b.WriteString(head)
		for i := 0; b.Len() < size-100; i++ {
			fmt.Fprintf(&b, "  - {name: p%d, from: gone%d, to: lost%d, allow: [tcp/9-8]}\n", i, i, i)
		}
		return b.String()
	}
	netpol := func(size int) string {
		var b strings.Builder
		for i := 0; b.Len() < size-200; i++ {
			fmt.Fprintf(&b, "---\n{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: p%d, namespace: n}, spec: {podSelector: {}, surprise: 1}}\n", i)
		}
		return b.String()
	}
	asked := map[string]func(int) string{
		"POST /v1/tenants/acme/validate":                  rules,
		"POST /v1/tenants/acme/plan":                      rules,
		"POST /v1/tenants/acme/blueprints":                rules,
		"PUT /v1/tenants/acme/blueprints/shop":            rules,
		"POST /v1/tenants/acme/imports/kubernetes?name=x": netpol,
		"POST /v1/tenants/acme/imports/openstack?name=x":  netpol,
	}
	// Sixteen documents, each of which needs the next, the last a group that is not there.
	asked["POST /v1/tenants/acme/blueprints?plan=1-chain"] = func(size int) string {
		var parts []string
		for i := range 16 {
			var b strings.Builder
			fmt.Fprintf(&b, "apiVersion: dove/v1\nkind: Blueprint\nname: b%d\ndomain: d\nnetworks:\n  n%d: {subnets: [10.%d.0.0/16]}\ngroups:\n  g: {network: n%d}\npolicies:\n  - {name: next, from: g, to: b%d/g, allow: any}\n", i, i, i, i, i+1)
			for j := 0; b.Len() < size/16-100; j++ {
				fmt.Fprintf(&b, "  - {name: p%d, from: g, to: g, allow: [tcp/80, udp/53]}\n", j)
			}
			parts = append(parts, b.String())
		}
		return strings.Join(parts, "---\n")
	}
	for _, size := range []int{10 << 20, 1 << 20} {
		for what, text := range asked {
			body := text(size)
			var start, end runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&start)
			begun := time.Now()
			a := r.do(what, body, "Content-Type: application/yaml")
			took := time.Since(begun)
			runtime.ReadMemStats(&end)
			allocated := (end.TotalAlloc - start.TotalAlloc) >> 20
			t.Logf("%s with %d MiB: %d after %v, %d MiB allocated in all", what, size>>20, a.status, took, allocated)
			want := http.StatusUnprocessableEntity
			if size > TextMax && (size > 4<<20 || !strings.Contains(what, "imports")) {
				want = http.StatusRequestEntityTooLarge
			}
			if a.status != want || r.backend.World() != before || len(a.text) > 64<<10 {
				t.Errorf("%s with %d MiB: %d, %d bytes of answer: %.300s", what, size>>20, a.status, len(a.text), a.text)
			}
			// Each byte of what is taken costs some bytes, ten times as many under the race
			// detector, which empties pools; what is too long is not read to its end.
			if allocated > 1024 {
				t.Errorf("%s with %d MiB allocated %d MiB", what, size>>20, allocated)
			}
		}
	}
}
