package control

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"dove.network/dove"
	"dove.network/verdict"
)

// bigTable takes about n bytes when encoded.
func bigTable(n int) *verdict.Table {
	half := verdict.Half{DefaultName: strings.Repeat("n", 250)}
	for port := range n / 8 {
		half.Rules = append(half.Rules, verdict.Rule{
			Match: verdict.Match{Protocol: dove.ProtocolTCP, First: uint16(2 * port), Last: uint16(2 * port)}, Action: verdict.Allow, Name: "r",
		})
	}
	return verdict.Product(half, verdict.Half{Default: true, DefaultName: "open"})
}

func TestPartsCarryEverythingWithinTheLimits(t *testing.T) {
	small, big := bigTable(80), bigTable(40_000)
	rapid.Check(t, func(t *rapid.T) {
		var answered []Answered
		for range rapid.IntRange(0, 60).Draw(t, "questions") {
			a := Answered{Answer: Answer{Question: anyQuestion.Draw(t, "question"), Status: NoEndpoint}, Peers: some(t, anyPeer, "peers")}
			for _, key := range some(t, anyPairKey, "pairs") {
				a.Pairs = append(a.Pairs, Pair{key, rapid.SampledFrom([]*verdict.Table{nil, small, big}).Draw(t, "table")})
			}
			answered = append(answered, a)
		}
		var want, got Answered
		n := 0
		for _, a := range answered {
			want.Peers, want.Pairs = append(want.Peers, a.Peers...), append(want.Pairs, a.Pairs...)
		}
		for i, part := range Parts(5, 9, answered) {
			if part.ID != 5 || part.Revision != 9 || i > 0 && len(part.Answers) == 0 {
				t.Fatalf("part %d: %+v", i, part)
			}
			// One answer's rows may be more than a part is meant to hold.
			if size := proto.Size(EncodeDown(part)); size > partBytes && len(part.Answers) > 1 {
				t.Fatalf("a part of %d answers has %d bytes", len(part.Answers), size)
			}
			for _, a := range part.Answers {
				if a.Question != answered[n].Answer.Question {
					t.Fatalf("answer %d is in another place", n)
				}
				n++
			}
			got.Peers, got.Pairs = append(got.Peers, part.Peers...), append(got.Pairs, part.Pairs...)
		}
		if diff := cmp.Diff(want, got, sameContent); diff != "" || n != len(answered) {
			t.Fatalf("%d of %d answers\n%s", n, len(answered), diff)
		}

		got = Answered{}
		for i, e := range Expects(9, 4, want.Peers, want.Pairs) {
			if size := proto.Size(EncodeDown(e)); size > 2*partBytes || e.Revision != 9 || e.Number != uint64(5+i) {
				t.Fatalf("%d bytes, revision %d, number %d", size, e.Revision, e.Number)
			}
			if len(got.Peers) > 0 && len(e.Pairs) > 0 {
				t.Fatal("a pair comes after a peer")
			}
			got.Peers, got.Pairs = append(got.Peers, e.Peers...), append(got.Pairs, e.Pairs...)
		}
		if diff := cmp.Diff(want, got, sameContent); diff != "" {
			t.Fatal(diff)
		}

		got = Answered{}
		for _, u := range Split(9, want.Peers, want.Pairs) {
			if size := proto.Size(EncodeDown(u)); size > partBytes || u.Revision != 9 {
				t.Fatalf("an update of %d bytes, revision %d", size, u.Revision)
			}
			got.Peers, got.Pairs = append(got.Peers, u.Peers...), append(got.Pairs, u.Pairs...)
		}
		if diff := cmp.Diff(want, got, sameContent); diff != "" {
			t.Fatal(diff)
		}
	})
}

func TestManyRowsAreSplit(t *testing.T) {
	peers, pairs := make([]Peer, 3*RowsMax), make([]Pair, 3*RowsMax)
	count := 0
	for _, u := range Split(1, peers, pairs) {
		if len(u.Peers) > RowsMax || len(u.Pairs) > RowsMax {
			t.Errorf("an update of %d peers and %d pairs", len(u.Peers), len(u.Pairs))
		}
		count += len(u.Peers) + len(u.Pairs)
	}
	for _, e := range Expects(1, 0, peers, pairs) {
		if len(e.Peers) > RowsMax || len(e.Pairs) > RowsMax {
			t.Errorf("%d peers and %d pairs are expected at once", len(e.Peers), len(e.Pairs))
		}
		count -= len(e.Peers) + len(e.Pairs)
	}
	if count != 0 || len(Expects(1, 0, nil, nil)) != 0 {
		t.Errorf("%d rows fewer are expected", count)
	}
	for _, u := range Split(1, peers, pairs) {
		count += len(u.Peers) + len(u.Pairs)
	}
	if count != len(peers)+len(pairs) || len(Split(1, nil, nil)) != 0 {
		t.Errorf("%d rows", count)
	}
}

// pipe is both ends of a session, one direction.
type pipe struct{ messages []Up }

func (p *pipe) Send(messages ...Up) error {
	var errs []error
	for _, m := range messages {
		_, err := DecodeUp(EncodeUp(m))
		errs = append(errs, err)
	}
	p.messages = append(p.messages, messages...)
	return errors.Join(errs...)
}

func (p *pipe) Recv() (Up, error) {
	if len(p.messages) == 0 {
		return nil, io.EOF
	}
	m := p.messages[0]
	p.messages = p.messages[1:]
	return m, nil
}

type (
	hostEnd struct {
		HostConn // hears nothing
		pipe     *pipe
	}
	memberEnd struct {
		MemberConn // sends nothing
		pipe       *pipe
	}
)

func (e hostEnd) Send(m ...Up) error  { return e.pipe.Send(m...) }
func (e memberEnd) Recv() (Up, error) { return e.pipe.Recv() }

func TestHelloOfAnyLength(t *testing.T) {
	for _, n := range []int{0, 1, RowsMax, RowsMax + 1, 3*RowsMax + 5} {
		sent := Hello{Version: 1, Host: "h", VTEP: netip.MustParseAddr("192.0.2.1"), Seen: 3}
		for i := range n {
			sent.Peers = append(sent.Peers, HeldPeer{Key: PeerKey{dove.VNI(i + 1), sent.VTEP}})
		}
		for i := range n / 2 {
			sent.Pairs = append(sent.Pairs, HeldPair{Key: PairKey{Domain: dove.Domain{Tenant: "t", Name: "d"}, Src: dove.Class(i)}})
		}
		p := &pipe{}
		if err := SendHello(hostEnd{pipe: p}, sent); err != nil {
			t.Fatal(err)
		}
		got, err := ReceiveHello(memberEnd{pipe: p})
		if err != nil || len(p.messages) != 0 {
			t.Fatalf("%d rows: %v, %d messages are left", n, err, len(p.messages))
		}
		if !slices.Equal(sent.Peers, got.Peers) || !slices.Equal(sent.Pairs, got.Pairs) || got.Seen != sent.Seen || got.More {
			t.Errorf("%d rows became %d and %d", n, len(got.Peers), len(got.Pairs))
		}
	}
}

func TestReceiveHelloRefuses(t *testing.T) {
	many := make([]HeldPeer, RowsMax)
	endless := []Up{&Hello{More: true}}
	for range HeldMax/RowsMax + 1 {
		endless = append(endless, &Held{Peers: many, More: true})
	}
	for _, test := range []struct {
		messages []Up
		kind     dove.Kind
	}{
		{[]Up{&Ack{}}, dove.Invalid},
		{[]Up{&Hello{More: true}, &Ack{}}, dove.Invalid},
		{endless, dove.TooLarge},
		{[]Up{&Hello{More: true}, &Held{More: true}, &Held{More: true}}, dove.Invalid}, // for ever
	} {
		if _, err := ReceiveHello(memberEnd{pipe: &pipe{test.messages}}); dove.KindOf(err) != test.kind || err == nil {
			t.Errorf("%T...: %v", test.messages[0], err)
		}
	}
	if _, err := ReceiveHello(memberEnd{pipe: &pipe{[]Up{&Hello{More: true}}}}); !errors.Is(err, io.EOF) {
		t.Errorf("a session that ends early: %v", err)
	}
}

func TestStatusesInParts(t *testing.T) {
	var all []SessionStatus
	detail := strings.Repeat("x", TextMax)
	for n, endpoints := range []int{0, 1, RowsMax + 100, 200, 0} {
		s := SessionStatus{Session: SessionID(n + 1), Member: "dpc-2", Host: "h", VTEP: netip.MustParseAddr("192.0.2.1"), Opened: time.Unix(1, 0)}
		for i := range endpoints {
			name := dove.Endpoint{Tenant: "acme", ID: dove.EndpointID(fmt.Sprintf("e%d", i))}
			s.Endpoints = append(s.Endpoints, EndpointUpdate{Endpoint: name, Epoch: 1, State: EndpointActive, Detail: detail})
			s.Late = append(s.Late, name)
		}
		all = append(all, s)
	}
	other := SessionStatus{Session: 1, Member: "dpc-3"}
	var joined []SessionStatus
	for i, part := range StatusReplies(7, all) {
		wire := EncodeAcross(part)
		if n := proto.Size(wire); n > 1<<20 {
			t.Errorf("a part has %d bytes", n)
		}
		m, err := DecodeAcross(wire)
		if err != nil {
			t.Fatal(err)
		}
		joined = JoinStatuses(joined, m.(*StatusReply).Sessions)
		if i == 3 {
			joined = JoinStatuses(joined, []SessionStatus{other})
		}
	}
	joined = slices.DeleteFunc(joined, func(s SessionStatus) bool { return s.Member == other.Member })
	if diff := cmp.Diff(all, joined, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("%d sessions come as %d: %.500s", len(all), len(joined), diff)
	}
}
