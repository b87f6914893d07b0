package edit_test

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"dove.network/dove"
	"dove.network/edit"
	"dove.network/world"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// now is when the tests take place.
var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// byValue compares addresses as values.
var byValue = cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})

// book is a store and the world that follows it.
type book struct {
	t    testing.TB
	w    *world.World
	docs map[string]dove.Doc
}

func newBook(t *testing.T) *book {
	return &book{t: t, w: world.New(), docs: map[string]dove.Doc{}}
}

// commit carries out a transaction that was decided on the book's world or on
// an earlier one, and reports whether its reads still held.
func (b *book) commit(txn dove.Txn) bool {
	b.t.Helper()
	for _, r := range txn.Reads {
		if b.docs[r.Key].Revision != r.Revision {
			return false
		}
	}
	if txn.Empty() {
		return true
	}
	rev := b.w.Revision() + 1
	var docs []dove.Doc
	for _, p := range txn.Puts {
		docs = append(docs, dove.Doc{Key: p.Key, Value: p.Value, Revision: rev})
	}
	for _, k := range txn.Deletes {
		docs = append(docs, dove.Doc{Key: k, Revision: rev})
	}
	seen := map[string]bool{}
	for _, d := range docs {
		if seen[d.Key] {
			b.t.Fatalf("transaction writes %s twice", d.Key)
		}
		seen[d.Key] = true
		if d.Value == nil {
			delete(b.docs, d.Key)
		} else {
			b.docs[d.Key] = d
		}
	}
	w, _, err := b.w.Apply(rev, docs)
	if err != nil {
		b.t.Fatal(err)
	}
	b.w = w
	return true
}

// must commits what was decided without a fault.
func (b *book) must(txn dove.Txn, err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
	if !b.commit(txn) {
		b.t.Fatal("a transaction on the newest world lost its compare")
	}
}

func first[T any](txn dove.Txn, _ T, err error) (dove.Txn, error) { return txn, err }

func (b *book) tenant(t dove.Tenant) {
	b.t.Helper()
	b.must(first(edit.PutTenant(b.w, t, nil)))
}

func (b *book) blueprint(t dove.Tenant, text string) {
	b.t.Helper()
	b.must(first(edit.PutBlueprint(b.w, t, "", []byte(text), now, nil)))
}

func (b *book) host(name dove.HostName, vtep string) {
	b.t.Helper()
	b.must(first(edit.PutHost(b.w, name, netip.MustParseAddr(vtep), nil)))
}

func (b *book) endpoint(r edit.EndpointRequest) world.Endpoint {
	b.t.Helper()
	txn, doc, err := edit.PutEndpoint(b.w, r, edit.Chance{UID: dove.UID(b.w.Revision()) * 1000, Now: now}, nil)
	b.must(txn, err)
	return doc
}

// rebuilt is the world that all documents at once give.
func (b *book) rebuilt() *world.World {
	b.t.Helper()
	w, _, err := world.New().Apply(b.w.Revision(), slices.Collect(maps.Values(b.docs)))
	if err != nil {
		b.t.Fatal(err)
	}
	return w
}

// refused checks the kind of an error and that its faults say what is wanted.
func refused(t *testing.T, err error, kind dove.Kind, want ...string) {
	t.Helper()
	e, ok := errors.AsType[*dove.Error](err)
	if !ok {
		t.Fatalf("error %v (%T), want a *dove.Error of kind %v", err, err, kind)
	}
	if e.Kind != kind {
		t.Errorf("kind %v, want %v: %v", e.Kind, kind, e)
	}
	for _, s := range want {
		if !strings.Contains(e.Error(), s) {
			t.Errorf("error does not say %q: %v", s, e)
		}
	}
	if len(e.Faults) > 0 && len(want) > len(e.Faults) {
		t.Errorf("%d faults, want at least %d: %v", len(e.Faults), len(want), e)
	}
}

const shop = `apiVersion: dove/v1
kind: Blueprint
name: shop
networks:
  front: {subnets: [10.0.1.0/24, "fd00:0:0:1::/64"]}
  back: {subnets: [10.0.2.0/29]}
groups:
  web: {network: front}
  app: {network: front}
  db: {network: back, isolated: true}
policies:
  - {name: web-app, from: web, to: app, allow: [tcp/8080]}
`

// without returns the blueprint less the lines that contain one of the words.
func without(text string, words ...string) string {
	var kept []string
	for line := range strings.Lines(text) {
		if !slices.ContainsFunc(words, func(w string) bool { return strings.Contains(line, w) }) {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "")
}

// stocked is a book with one tenant, its blueprint, two hosts and an endpoint.
func stocked(t *testing.T) *book {
	b := newBook(t)
	b.tenant("acme")
	b.blueprint("acme", shop)
	b.host("h1", "192.0.2.1")
	b.host("h2", "192.0.2.2")
	b.endpoint(edit.EndpointRequest{Tenant: "acme", ID: "web-1", Groups: []string{"shop/web"}, Host: "h1"})
	return b
}

func addrs(e world.Endpoint) string { return fmt.Sprint(e.Addresses) }
