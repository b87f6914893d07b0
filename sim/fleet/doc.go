// Package fleet lets a whole fleet run in virtual time while everything goes wrong
// that may: a Run is a sim.Sim of some members and many hosts, tenants with random
// intent, and steps that are drawn from one seed.
//
// A step edits what tenants want, binds, moves and replaces endpoints, breaks sessions,
// programs, links and clocks or mends them, sends packets, and lets some time pass. Nobody
// waits for anything: several of these are under way at any moment. Now and then all is
// mended, and everything must be as the world says.
//
// Package sim notices what must never be, at the event at which it happens: a
// packet that nothing allows, an answer older than one that was seen, a receipt before all
// enforce it. This package adds what must be: flows of tenants of whom nothing changed go on
// whatever happens to controllers and agents, live moves are carried in time unless something
// is broken, and after all is mended every host has a session, each move is carried, the receipt
// is complete, and packets are what the oracle says.
//
// Equal seeds are equal runs: Result.Digest is of all that happened.
//
// The package opens no socket, reads no clock and starts no goroutine.
package fleet
