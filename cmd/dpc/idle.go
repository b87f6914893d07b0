package main

import (
	"crypto/tls"
	"net"
	"net/http"
	"sync"

	"dove.network/control/stream"
	"dove.network/lobby"
)

// idleMax is how many connections to the API may ask nothing at the moment: those on
// which nothing was asked yet, and those kept for the next request.
const idleMax = 1024

// idle bounds them: who opens more of them than others loses some.
type idle struct {
	lobby   *lobby.Lobby
	refused func(stream.Reason)

	mu     sync.Mutex
	guests map[net.Conn]*lobby.Guest
}

func newIdle(refused func(stream.Reason)) *idle {
	return &idle{lobby: lobby.New(idleMax), refused: refused, guests: map[net.Conn]*lobby.Guest{}}
}

// note is http.Server.ConnState.
func (i *idle) note(c net.Conn, state http.ConnState) {
	i.mu.Lock()
	was := i.guests[c]
	delete(i.guests, c)
	i.mu.Unlock()
	if was != nil && !was.Leave() {
		i.refused(stream.Crowded)
		return // it is closed
	}
	if state != http.StateNew && state != http.StateIdle {
		return
	}
	below := c
	if t, ok := c.(*tls.Conn); ok {
		below = t.NetConn() // to close that waits for nobody
	}
	guest := i.lobby.Enter(lobby.SourceOf(c.RemoteAddr()), below)
	if guest == nil {
		i.refused(stream.Crowded)
		_ = below.Close() // who serves it hears of it
		return
	}
	i.mu.Lock()
	i.guests[c] = guest
	i.mu.Unlock()
}
