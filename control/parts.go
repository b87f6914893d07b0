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
	part := &PolicyReply{ID: id, Revision: revision}
	parts := []*PolicyReply{part}
	size := 0
	for _, a := range answered {
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
