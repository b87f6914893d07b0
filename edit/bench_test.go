package edit_test

import (
	"fmt"
	"testing"

	"dove.network/dove"
	"dove.network/edit"
	"dove.network/world"
)

// BenchmarkPutEndpoints makes endpoints in a domain that has many, a batch at a time.
func BenchmarkPutEndpoints(b *testing.B) {
	book := &book{t: b, w: world.New(), docs: map[string]dove.Doc{}}
	must := func(txn dove.Txn, err error) {
		if err != nil || !book.commit(txn) {
			b.Fatal(err)
		}
	}
	must(first(edit.PutTenant(book.w, "acme", nil)))
	must(first(edit.PutBlueprint(book.w, "acme", "", []byte("{apiVersion: dove/v1, kind: Blueprint, name: shop, networks: {net: {subnets: [10.0.0.0/8]}}, groups: {web: {network: net}, app: {network: net}}}"), now, nil)))
	made := 0
	requests := make([]edit.EndpointRequest, dove.TxnOperationsMax)
	chances := make([]edit.Chance, len(requests))
	more := func() {
		for i := range requests {
			requests[i] = edit.EndpointRequest{Tenant: "acme", ID: dove.EndpointID(fmt.Sprintf("endpoint-%07d", made+i)), Groups: []string{"shop/web"}}
			chances[i] = edit.Chance{UID: dove.UID(1000 + made + i), Now: now}
		}
		txn, docs, err := edit.PutEndpoints(book.w, requests, chances, 0)
		must(txn, err)
		made += len(docs)
	}
	for made < 50_000 {
		more()
	}
	begun := made
	for b.Loop() {
		more()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(made-begun), "ns/endpoint")
}
