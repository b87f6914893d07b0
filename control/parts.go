package control

import (
	"iter"
	"slices"

	"dove.network/dove"
	"dove.network/verdict"
)

// partBytes is where a message is full: it keeps one host's tables from
// holding up what another waits for. One row may exceed it, never MessageMax.
const partBytes = 256 << 10

// Answered is an answer with the rows that go with it.
type Answered struct {
	Answer Answer
	Peers  []Peer
	Pairs  []Pair
}

// Parts makes the reply to one request: at least one message, each within the limits.
func Parts(id uint64, revision dove.Revision, answered []Answered) []*PolicyReply {
	most := min(len(answered), RowsMax)
	part := &PolicyReply{ID: id, Revision: revision, Answers: make([]Answer, 0, most), Peers: make([]Peer, 0, most)}
	parts := []*PolicyReply{part}
	size := 0
	for i := range answered {
		a := &answered[i]
		s := answerBytes + peerBytes*len(a.Peers)
		for _, p := range a.Pairs {
			s += p.bytes()
		}
		if len(part.Answers) > 0 && (size+s > partBytes || len(part.Answers) == RowsMax ||
			len(part.Peers)+len(a.Peers) > RowsMax || len(part.Pairs)+len(a.Pairs) > RowsMax) {
			part = &PolicyReply{ID: id, Revision: revision}
			parts = append(parts, part)
			size = 0
		}
		size += s
		part.Answers = append(part.Answers, a.Answer)
		part.Peers = append(part.Peers, a.Peers...)
		part.Pairs = append(part.Pairs, a.Pairs...)
	}
	return parts
}

// Split makes the updates that carry the rows, each within the limits: none if
// there are no rows. Peers go before pairs.
func Split(revision dove.Revision, peers []Peer, pairs []Pair) []*Update {
	var parts []*Update
	for peers := range slices.Chunk(peers, partBytes/peerBytes) {
		parts = append(parts, &Update{Revision: revision, Peers: peers})
	}
	for pairs := range chunks(pairs) {
		parts = append(parts, &Update{Revision: revision, Pairs: pairs})
	}
	return parts
}

// Expects makes the Expect messages that carry the rows, each within the limits
// and numbered on from last: none if there are no rows. Pairs go before peers:
// what a row needs is there before it.
func Expects(revision dove.Revision, last uint64, peers []Peer, pairs []Pair) []*Expect {
	var parts []*Expect
	for pairs := range chunks(pairs) {
		parts = append(parts, &Expect{Pairs: pairs})
	}
	for peers := range slices.Chunk(peers, partBytes/peerBytes) {
		parts = append(parts, &Expect{Peers: peers})
	}
	if len(pairs)+len(peers) <= togetherMax && len(parts) == 2 {
		parts = []*Expect{{Peers: peers, Pairs: pairs}}
	}
	for i, e := range parts {
		e.Revision, e.Number = revision, last+1+uint64(i)
	}
	return parts
}

// togetherMax is how many rows of both kinds one Expect carries at most.
const togetherMax = 16

// chunks cuts a list of pairs where a message is full.
func chunks(pairs []Pair) iter.Seq[[]Pair] {
	return func(yield func([]Pair) bool) {
		for first, size, i := 0, 0, 0; i < len(pairs); i++ {
			size += pairs[i].bytes()
			if next := i + 1; next == len(pairs) || next-first == RowsMax || size+pairs[next].bytes() > partBytes {
				if !yield(pairs[first:next]) {
					return
				}
				first, size = next, 0
			}
		}
	}
}

// Presents makes the messages that tell other members of sessions, each within the
// limits: with first they begin the list of all, and there is at least one.
func Presents(first bool, hosts []Presence) []*Present {
	var parts []*Present
	if first {
		parts = append(parts, &Present{First: true})
	}
	size := 0
	for _, p := range hosts {
		s := presenceBytes
		for _, f := range p.Failed {
			s += failureBytes + len(f.Text)
		}
		if size += s; len(parts) == 0 || len(parts[len(parts)-1].Hosts) == RowsMax || size > partBytes && size > s {
			if first && len(parts) > 0 {
				parts[len(parts)-1].More = true
			}
			parts, size = append(parts, &Present{}), s
		}
		last := parts[len(parts)-1]
		last.Hosts = append(last.Hosts, p)
	}
	return parts
}

// StatusReplies makes the reply to one StatusRequest: at least one message, each within the
// limits. A session with much to say comes in several parts, one after the other, which
// JoinStatuses puts together.
func StatusReplies(id uint64, sessions []SessionStatus) []*StatusReply {
	parts := []*StatusReply{{ID: id}}
	size := 0
	add := func(s SessionStatus, n int) {
		if size += n; size > partBytes && size > n {
			parts[len(parts)-1].More = true
			parts, size = append(parts, &StatusReply{ID: id}), n
		}
		last := parts[len(parts)-1]
		last.Sessions = append(last.Sessions, s)
	}
	for _, s := range sessions {
		endpoints, late := s.Endpoints, s.Late
		for begun := false; !begun || len(endpoints)+len(late) > 0; begun = true {
			n, m := min(len(endpoints), statusEndpoints), min(len(late), statusEndpoints)
			s.Endpoints, endpoints = endpoints[:n:n], endpoints[n:]
			s.Late, late = late[:m:m], late[m:]
			bytes := statusBytes + m*endpointBytes
			for _, u := range s.Endpoints {
				bytes += endpointBytes + len(u.Detail)
			}
			add(s, bytes)
		}
	}
	return parts
}

// JoinStatuses adds what a StatusReply brings to what came before.
func JoinStatuses(all, more []SessionStatus) []SessionStatus {
	if len(more) == 0 {
		return all
	}
	at := len(all) - 1
	for at >= 0 && (all[at].Member != more[0].Member || all[at].Session != more[0].Session) {
		at-- // other members reply meanwhile
	}
	for _, s := range more {
		if at < 0 || all[at].Member != s.Member || all[at].Session != s.Session {
			all, at = append(all, s), len(all)
			continue
		}
		all[at].Endpoints = append(all[at].Endpoints, s.Endpoints...)
		all[at].Late = append(all[at].Late, s.Late...)
	}
	return all
}

// statusEndpoints is how many endpoints a part of a session's status has at most.
const statusEndpoints = 64

// The most that these take when encoded, without their texts.
const (
	presenceBytes = 256
	failureBytes  = 32
	endpointBytes = 256
	statusBytes   = 512 + 2*TextMax
)

// The most that rows take when encoded: names of dove.NameMax bytes and all.
const (
	answerBytes = 256 + TextMax
	peerBytes   = 512
	pairBytes   = 192
)

// bytes is the most that the row takes when encoded.
func (p Pair) bytes() int {
	n := pairBytes
	if p.Table == nil {
		return n
	}
	n += 16
	for _, name := range p.Table.Names {
		n += 3 + len(name)
	}
	for _, s := range p.Table.Sections {
		n += 1 + 6*len(s.Intervals)
	}
	return min(n, pairBytes+verdict.EncodedMax)
}
