package control

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"dove.network/control/controlpb"
	"dove.network/dove"
)

func anyHostName(t *rapid.T) dove.HostName { return dove.HostName(anyName.Draw(t, "host")) }

func anyAcross(t *rapid.T) Across {
	id, rev := rapid.Uint64().Draw(t, "id"), anyRevision.Draw(t, "revision")
	switch rapid.IntRange(0, 11).Draw(t, "kind") {
	case 0:
		return &Greeting{rapid.IntRange(1, 9).Draw(t, "version"), anyName.Draw(t, "member"), id, rapid.Uint64().Draw(t, "incarnation")}
	case 1:
		m := &Present{First: rapid.Bool().Draw(t, "first"), More: rapid.Bool().Draw(t, "more")}
		for range rapid.IntRange(0, 4).Draw(t, "hosts") {
			p := Presence{Host: anyHostName(t), Session: rapid.Uint64Max(NumberMax).Draw(t, "session"), Phase: Phase(rapid.IntRange(1, 3).Draw(t, "phase")), Failed: anyFailures(t)}
			if rapid.Bool().Draw(t, "lost") {
				p.First = dove.Revision(rapid.Int64Range(0, 1000).Draw(t, "first"))
				p.Last = p.First + dove.Revision(rapid.Int64Range(0, 1000).Draw(t, "more"))
			}
			m.Hosts = append(m.Hosts, p)
		}
		return m
	case 2:
		return &Progress{rev, dove.Revision(rapid.Int64Range(0, int64(rev)).Draw(t, "settled")), rapid.Bool().Draw(t, "stale")}
	case 3:
		m := &Behind{Revision: rev, More: rapid.Bool().Draw(t, "more")}
		for range rapid.IntRange(0, 4).Draw(t, "hosts") {
			m.Hosts = append(m.Hosts, Lag{anyHostName(t), anyRevision.Draw(t, "first")})
		}
		return m
	case 4:
		return &Ahead{anyHostName(t), anyQuestion.Draw(t, "question")}
	case 5:
		return &PortState{anyHostName(t), id, anyUpdate.Draw(t, "update")}
	case 6:
		return &Handover{anyHostName(t), id, anyCarry.Draw(t, "carry")}
	case 7:
		return &Relay{id, anyHostName(t), anyInspect.Draw(t, "inspect")}
	case 8:
		m := &Relayed{ID: id, Host: anyHostName(t)}
		if rapid.Bool().Draw(t, "there") {
			m.Report = new(anyReport.Draw(t, "report"))
		}
		return m
	case 9:
		m := &StatusRequest{ID: id}
		for range rapid.IntRange(0, 4).Draw(t, "hosts") {
			m.Hosts = append(m.Hosts, anyHostName(t))
		}
		return m
	case 10:
		m := &StatusReply{ID: id, More: rapid.Bool().Draw(t, "more")}
		for range rapid.IntRange(0, 3).Draw(t, "sessions") {
			m.Sessions = append(m.Sessions, SessionStatus{
				Session: SessionID(rapid.Uint64().Draw(t, "session")), Member: anyName.Draw(t, "member"), Host: anyHostName(t), VTEP: anyAddr.Draw(t, "vtep"),
				Serial: "0a", Software: anyText.Draw(t, "software"), Opened: time.Unix(0, rapid.Int64().Draw(t, "opened")), Told: rev, Acked: rev,
				Peers: rapid.IntRange(0, 9).Draw(t, "peers"), Paused: time.Minute, Absent: 1, Pairs: 2, Endpoints: some(t, anyUpdate, "endpoints"), Late: some(t, anyEndpoint, "late"),
			})
		}
		return m
	default:
		return &Heartbeat{}
	}
}

// beside carries a message between members as bytes.
func beside(t interface{ Fatal(...any) }, m Across) (Across, error) {
	b, err := proto.Marshal(EncodeAcross(m))
	if err != nil {
		t.Fatal(err)
	}
	e := new(controlpb.Across)
	if err := proto.Unmarshal(b, e); err != nil {
		t.Fatal(err)
	}
	return DecodeAcross(e)
}

func TestWhatMembersSaySurvivesTheWire(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sent := anyAcross(t)
		got, err := beside(t, sent)
		if err != nil {
			t.Fatalf("%+v: %v", sent, err)
		}
		if diff := cmp.Diff(sent, got, sameContent); diff != "" {
			t.Fatal(diff)
		}
	})
}

func TestDecodeAcrossNamesTheFieldAtFault(t *testing.T) {
	for field, m := range map[string]Across{
		"greeting.member":         &Greeting{Version: 1},
		"greeting.version":        &Greeting{Member: "dpc-1"},
		"present.hosts[1].phase":  &Present{Hosts: []Presence{{Host: "h1", Phase: 1}, {Host: "h2"}}},
		"present.hosts[0].last":   &Present{Hosts: []Presence{{Host: "h1", Phase: 3, First: 2, Last: 1}}},
		"progress.settled":        &Progress{Applied: 3, Settled: 4},
		"behind.hosts[0].first":   &Behind{Hosts: []Lag{{"h1", -1}}},
		"ahead.asker":             &Ahead{},
		"port_state.host":         &PortState{},
		"handover.endpoint.id":    &Handover{Host: "h1", Carry: Carry{Endpoint: dove.Endpoint{Tenant: "t"}}},
		"relay.ask":               &Relay{Host: "h1"},
		"relayed.refused":         &Relayed{Host: "h1", Report: &Report{Refused: strings.Repeat("x", TextMax+1)}},
		"status_request.hosts[0]": &StatusRequest{Hosts: []dove.HostName{"Not a name"}},
	} {
		e := EncodeAcross(m)
		if r, ok := m.(*Relayed); ok {
			e.GetRelayed().Report.Refused = r.Report.Refused // the encoder would cut it
		}
		_, err := DecodeAcross(e)
		refusal, ok := err.(*dove.Error)
		if !ok || len(refusal.Faults) != 1 || !strings.HasPrefix(refusal.Faults[0].Path, field) {
			t.Errorf("%s: %+v", field, err)
		}
	}
	for _, e := range []*controlpb.Across{nil, {}, {Message: &controlpb.Across_Relay{}}, {Message: &controlpb.Across_Handover{}}, {Message: &controlpb.Across_Ahead{}}} {
		if m, err := DecodeAcross(e); err == nil {
			t.Errorf("nothing is decoded as %+v", m)
		}
	}
}

func FuzzDecodeAcross(f *testing.F) {
	for _, m := range []Across{&Greeting{Member: "a", Version: 1}, &Present{Hosts: []Presence{{Host: "h", Phase: 1}}}, &Progress{Applied: 1}, &Relayed{Host: "h", Report: &Report{}}} {
		b, err := proto.Marshal(EncodeAcross(m))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		e := new(controlpb.Across)
		if proto.Unmarshal(b, e) != nil {
			return
		}
		if m, err := DecodeAcross(e); err == nil {
			again, err := beside(t, m)
			if diff := cmp.Diff(m, again, sameContent); err != nil || diff != "" {
				t.Fatalf("%v\n%s", err, diff)
			}
		}
	})
}
