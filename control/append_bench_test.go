package control

import (
	"net/netip"
	"testing"

	"google.golang.org/protobuf/proto"

	"dove.network/dove"
)

// BenchmarkReadUp reads a request of 64 questions, and what became of a port.
func BenchmarkReadUp(b *testing.B) {
	r, addr := &PolicyRequest{ID: 1}, netip.MustParseAddr("10.0.0.1")
	for range 64 {
		addr = addr.Next()
		r.Questions = append(r.Questions, Question{VNI: 4097, Local: addr, Peer: addr.Next(), Outgoing: true})
	}
	for name, m := range map[string]Up{"request": r, "port": &EndpointUpdate{Endpoint: dove.Endpoint{Tenant: "acme", ID: "e0012345"}, Epoch: 1 << 20, State: EndpointActive, Device: "dv"}} {
		text, err := proto.Marshal(EncodeUp(m))
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := ReadUp(text); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkAppendReply encodes the answers to 64 questions, whose pairs the asker holds.
func BenchmarkAppendReply(b *testing.B) {
	r := &PolicyReply{ID: 1, Revision: 9}
	domain, addr := dove.Domain{Tenant: "acme", Name: "default"}, netip.MustParseAddr("10.0.0.1")
	for range 64 {
		addr = addr.Next()
		q := Question{VNI: 4097, Local: addr, Peer: addr.Next(), Outgoing: true, Class: 7}
		r.Answers = append(r.Answers, Answer{Question: q, Status: Found, Local: 7, Peer: 8, Domain: domain})
		r.Peers = append(r.Peers, Peer{
			Key: PeerKey{4097, q.Peer}, Endpoint: dove.Endpoint{Tenant: "acme", ID: "e0012345"}, UID: 1 << 60, MAC: dove.MAC{2, 1, 2, 3, 4, 5},
			Domain: domain, Class: 8, Host: "h1234", VTEP: netip.MustParseAddr("172.16.1.2"),
		})
	}
	var out []byte
	for b.Loop() {
		var err error
		if out, err = AppendDown(out[:0], r); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*64), "ns/answer")
}
