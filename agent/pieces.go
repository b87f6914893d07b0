package agent

import (
	"slices"
	"time"

	"dove.network/dataplane"
)

// latePiece is a fragment that came before the first one of its packet, for
// which no question is open: that one was just given back, or is late itself.
type latePiece struct {
	miss dataplane.Miss
	port *assignment
	due  time.Time
}

// holdPiece holds a fragment until its first one must have passed.
func (c *Core) holdPiece(a *assignment, m dataplane.Miss) {
	if a.pieces >= PiecesPerPort {
		c.emit(Discard{m, dataplane.HoldLimit})
		return
	}
	a.pieces++
	c.pieces = append(c.pieces, latePiece{m, a, c.now.Add(PieceFor)})
}

// returnPieces gives back those whose time has come.
func (c *Core) returnPieces() {
	n := 0
	for ; n < len(c.pieces) && !c.now.Before(c.pieces[n].due); n++ {
		c.pieces[n].port.pieces--
		c.giveBack(c.pieces[n].miss)
	}
	c.pieces = slices.Delete(c.pieces, 0, n)
}

// dropPieces discards those of a port that closes.
func (c *Core) dropPieces(a *assignment) {
	c.pieces = slices.DeleteFunc(c.pieces, func(p latePiece) bool {
		if p.port != a {
			return false
		}
		p.port.pieces--
		c.emit(Discard{p.miss, dataplane.NoPort})
		return true
	})
}

// piecesLast puts packets in the order in which they go back: fragments that
// wait for a first one after all else, which it may be among.
func piecesLast(held []*heldPacket) []*heldPacket {
	first, last := make([]*heldPacket, 0, len(held)), []*heldPacket(nil)
	for _, p := range held {
		if p.miss.Want == dataplane.WantFirst {
			last = append(last, p)
		} else {
			first = append(first, p)
		}
	}
	return append(first, last...)
}
