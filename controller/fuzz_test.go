package controller

import (
	"bytes"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protodelim"

	"dove.network/control"
	"dove.network/control/controlpb"
	"dove.network/dove"
	"dove.network/edit"
	"dove.network/world"
)

// FuzzFellow has another member say what it likes on a stream that is up: the Core goes on,
// remembers no more than so much, and tells its own hosts nothing but what holds.
func FuzzFellow(f *testing.F) {
	local, peer := netip.MustParseAddr("10.0.0.11"), netip.MustParseAddr("10.0.0.12")
	web := dove.Endpoint{Tenant: "acme", ID: "web-1"}
	question := control.Question{VNI: 1, Local: local, Peer: peer, Outgoing: true}
	update := control.EndpointUpdate{Endpoint: web, Epoch: 2, State: control.EndpointActive, Device: "dv", Standby: true}
	tuple := control.Tuple{VNI: 1, Src: local, Dst: peer, Protocol: dove.ProtocolTCP, SrcPort: 1, DstPort: 8080}
	carry := control.Carry{Endpoint: web, Epoch: 2, Flows: []control.FlowState{{Tuple: tuple, State: 3, Idle: time.Second, UIDs: [2]dove.UID{1, 2}}}}
	for _, says := range [][]control.Across{
		{
			&control.Present{First: true, Hosts: []control.Presence{{Host: "h4", Session: 1, Phase: control.PhaseOpening}, {Host: "h5", Session: 1, Phase: control.PhaseEnded, First: 3, Last: 4}}},
			&control.Progress{Applied: 9, Settled: 8}, &control.Behind{Revision: 9, Hosts: []control.Lag{{Host: "h4", First: 3}}},
			&control.Present{Hosts: []control.Presence{{Host: "h4", Session: 1, Phase: control.PhaseLive}}},
			&control.Ahead{Asker: "h4", Question: question}, &control.PortState{Host: "h4", Session: 1, Update: update}, &control.Handover{Host: "h1", Session: 1, Carry: carry},
		},
		{&control.Present{Hosts: []control.Presence{{Host: "h1", Session: 9, Phase: control.PhaseLive}}}, &control.Ahead{Asker: "h1", Question: question}},
		{&control.Progress{Applied: 9, Stale: true}, &control.Progress{Applied: 2}, &control.Heartbeat{}, &control.Greeting{Version: 1, Member: "dpc-2"}},
		{&control.Relay{ID: 1, Host: "h1", Inspect: control.Inspect{Probe: &tuple}}, &control.Relay{ID: 2, Host: "h2", Inspect: control.Inspect{Observe: "acme"}}, &control.Relayed{ID: 1, Host: "h4", Report: &control.Report{ID: 1, Refused: "no"}}},
		{&control.StatusRequest{ID: 1}, &control.StatusRequest{ID: 2, Hosts: []dove.HostName{"h1", "h9"}}, &control.StatusReply{ID: 1, More: true}},
	} {
		var b bytes.Buffer
		for _, m := range says {
			if _, err := protodelim.MarshalTo(&b, control.EncodeAcross(m)); err != nil {
				f.Fatal(err)
			}
		}
		f.Add(b.Bytes())
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		r, h1, h2, h3 := newShop(t)
		r.host(4)
		r.edit(dove.Txn{Puts: []dove.Put{world.Put(world.Member{Name: "dpc-1", UID: 1, Serial: "a1"}), world.Put(world.Member{Name: "dpc-2", UID: 2, Serial: "a2"})}}, nil)
		txn, _, err := edit.PrepareEndpoint(r.core.World(), web, "h4", nil)
		r.edit(txn, err)
		r.step(PeerOpened{"dpc-2", 1})
		revision := r.core.World().Revision()
		said := 0
		for from := bytes.NewReader(text); ; said++ {
			e := new(controlpb.Across)
			if (protodelim.UnmarshalOptions{MaxSize: control.MessageMax}).UnmarshalFrom(from, e) != nil {
				break
			}
			m, err := control.DecodeAcross(e)
			if err != nil {
				break // the stream ends
			}
			r.step(PeerReceived{"dpc-2", m})
			r.now = r.now.Add(time.Second)
			r.step(Tick{})
		}
		for name, p := range r.core.far {
			if len(p.states) > farMax {
				t.Errorf("of %s it remembers %d endpoints", name, len(p.states))
			}
		}
		if is := r.core.World().Revision(); is != revision {
			t.Errorf("revision %d became %d", revision, is)
		}
		r.check()
		for _, d := range []*dswitch{h1, h2, h3} {
			if r.switches[d.id] != d {
				continue // the host has a later session, it was said
			}
			own := fmt.Sprintf("10.0.0.1%s", d.identity.Host[1:])
			if a := r.ask(d, r.vni("acme"), own, "10.0.0.99"); a.Status != control.NoEndpoint {
				t.Errorf("%s is answered %+v after %d messages", d.identity.Host, a, said)
			}
		}
		r.step(PeerClosed{"dpc-2"})
		r.check()
	})
}
