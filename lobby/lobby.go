package lobby

import (
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
)

// Source is where connections come from; the zero value is all that cannot be told.
type Source = netip.Prefix

// SourceOf returns the source of an address.
func SourceOf(a net.Addr) Source {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return Source{}
	}
	addr := tcp.AddrPort().Addr().Unmap()
	p, _ := addr.WithZone("").Prefix(min(addr.BitLen(), 64)) // fails for no address: the zero value
	return p
}

// Lobby is what waits. It may be used by many at once.
type Lobby struct {
	most int

	mu     sync.Mutex
	guests map[Source][]*Guest // in the order in which they came
	count  int
	came   uint64
}

// Guest is one that waits.
type Guest struct {
	lobby  *Lobby
	source Source
	door   io.Closer
	number uint64
	pushed bool
}

// New returns a Lobby with so many places.
func New(most int) *Lobby { return &Lobby{most: most, guests: map[Source][]*Guest{}} }

// Enter has a connection wait, and may close another one for it. It returns nil if
// there is no place: who calls closes the connection.
func (l *Lobby) Enter(from Source, c io.Closer) *Guest {
	l.mu.Lock()
	g := &Guest{lobby: l, source: from, door: c}
	var out *Guest
	if l.count >= l.most {
		if out = l.first(len(l.guests[from]) + 1); out == nil {
			l.mu.Unlock()
			return nil
		}
		out.pushed = true
		l.drop(out)
	}
	l.came++
	g.number = l.came
	l.guests[from] = append(l.guests[from], g)
	l.count++
	l.mu.Unlock()
	if out != nil {
		_ = out.door.Close() // whoever reads from it hears of it
	}
	return g
}

// first returns who came first of the source with the most, nil if no source has more
// than so many.
func (l *Lobby) first(more int) *Guest {
	var first *Guest
	for _, of := range l.guests {
		if len(of) > more || len(of) == more && first != nil && of[0].number < first.number {
			first, more = of[0], len(of)
		}
	}
	return first
}

func (l *Lobby) drop(g *Guest) {
	of := l.guests[g.source]
	if i := slices.Index(of, g); i >= 0 {
		l.count--
		if len(of) == 1 {
			delete(l.guests, g.source)
		} else {
			l.guests[g.source] = slices.Delete(of, i, i+1)
		}
	}
}

// Leave gives the place back, and reports whether it was still there: not, if the
// connection was closed for another one. It may be called twice.
func (g *Guest) Leave() bool {
	g.lobby.mu.Lock()
	defer g.lobby.mu.Unlock()
	g.lobby.drop(g)
	return !g.pushed
}

// Count returns how many wait.
func (l *Lobby) Count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.count
}
