package edit_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"dove.network/dove"
	"dove.network/edit"
	"dove.network/world"
)

func TestRequest(t *testing.T) {
	now := time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)
	w := world.New()
	apply := func(txn dove.Txn) {
		t.Helper()
		var docs []dove.Doc
		for _, p := range txn.Puts {
			docs = append(docs, dove.Doc{Key: p.Key, Value: p.Value, Revision: w.Revision() + 1})
		}
		for _, k := range txn.Deletes {
			docs = append(docs, dove.Doc{Key: k, Revision: w.Revision() + 1})
		}
		next, _, err := w.Apply(w.Revision()+1, docs)
		if err != nil {
			t.Fatal(err)
		}
		w = next
	}
	r := edit.Request{Token: "t1", ID: "1", Fingerprint: []byte{1}, Now: now}
	txn, tenant, err := edit.PutTenant(w, "acme", nil)
	if err != nil {
		t.Fatal(err)
	}
	first, err := r.Keep(w, txn, tenant, 0)
	if err != nil {
		t.Fatal(err)
	}
	apply(first)
	// Whoever decided on the same world loses: the key was not there.
	relied := false
	for _, read := range first.Reads {
		relied = relied || strings.HasPrefix(read.Key, world.Prefix+"requests/") && read.Revision == 0
	}
	if !relied {
		t.Errorf("%+v does not rely on the request being new", first)
	}
	var kept world.Tenant
	result, since, found, err := r.Replay(w)
	if err != nil || !found || since != 1 || json.Unmarshal(result, &kept) != nil || kept != tenant {
		t.Errorf("replay: %s since %d, %v, %v", result, since, found, err)
	}
	other := r
	other.Fingerprint = []byte{2}
	if _, _, _, err := other.Replay(w); dove.KindOf(err) != dove.Invalid {
		t.Errorf("another request: %v", err)
	}
	other.Now = now.Add(edit.RequestKept)
	if _, _, found, err := other.Replay(w); found || err != nil {
		t.Errorf("after its time: %v, %v", found, err)
	}
}

// TestSweepRequests sweeps more than one transaction holds, and leaves what is still good.
func TestSweepRequests(t *testing.T) {
	now := time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)
	var docs []dove.Doc
	const expired, good = 250, 30
	for i := range expired + good {
		r := world.Request{Token: "t1", ID: fmt.Sprint(i), Result: json.RawMessage("{}"), Expires: now}
		if i >= expired {
			r.Expires = now.Add(time.Second)
		}
		docs = append(docs, dove.Doc{Key: r.Key(), Value: world.Put(r).Value, Revision: 1})
	}
	w, _, err := world.New().Apply(1, docs)
	if err != nil {
		t.Fatal(err)
	}
	rounds := 0
	for ; ; rounds++ {
		txn, err := edit.Sweep(w, now)
		if err != nil {
			t.Fatal(err)
		}
		if txn.Empty() {
			break
		}
		docs = docs[:0]
		for _, k := range txn.Deletes {
			docs = append(docs, dove.Doc{Key: k, Revision: w.Revision() + 1})
		}
		if w, _, err = w.Apply(w.Revision()+1, docs); err != nil {
			t.Fatal(err)
		}
	}
	if n := w.RequestsOf("t1"); rounds != 3 || n != good || w.RequestsOf("t") != 0 || w.RequestsOf("t2") != 0 {
		t.Errorf("%d rounds left %d", rounds, n)
	}
}

func TestRequestsMax(t *testing.T) {
	if testing.Short() {
		t.Skip("fills a world")
	}
	now := time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)
	var docs []dove.Doc
	for i := range edit.RequestsMax {
		r := world.Request{Token: "t1", ID: fmt.Sprint(i), Result: json.RawMessage("{}"), Expires: now}
		docs = append(docs, dove.Doc{Key: r.Key(), Value: world.Put(r).Value, Revision: 1})
	}
	w, _, err := world.New().Apply(1, docs)
	if err != nil {
		t.Fatal(err)
	}
	r := edit.Request{Token: "t1", ID: "x", Now: now}
	if _, err := r.Keep(w, dove.Txn{}, nil, 1); dove.KindOf(err) != dove.TooLarge {
		t.Errorf("one too many: %v", err)
	}
	r.Token = "t2"
	if _, err := r.Keep(w, dove.Txn{}, nil, 1); err != nil {
		t.Errorf("another token: %v", err)
	}
}
