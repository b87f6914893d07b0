// Package sim runs a whole DOVE in one goroutine and in virtual time: the cores
// of one or several DPC members, and for each host the core of its agent and a switch in
// memory, with guests that answer whoever reaches them. The cores are those of
// the real programs; only what carries messages, frames and time is made here.
//
// A Sim is an ordered queue of what happens next. Edit commits documents to a
// store in memory and hands them to the member's core; what the cores send to
// each other and the frames that switches let out go through the queue. Without
// Jitter all of it happens at once and in order. One seed is one run.
//
// Wait goes on until a revision's receipt is complete, and Settle until nothing
// is under way. Both report what must never be: an answer older than one that
// its host has seen, an acknowledgement of what is not in force, a switch that
// holds other rows than the DPC's world says. Ask sends a first packet and tells
// what became of it, end to end.
//
// Several members (NewFleet) have one store, of whose changes each hears with a delay
// of its own, and streams among them; hosts go from one to the next by their agents'
// routes. Members may be killed, stopped, drained, and cut from the store, from hosts and
// from each other, one way too. Whenever a member says that the receipt of the latest
// revision is complete, all hosts that it does not name must enforce that.
//
// Every packet that a switch lets out to another host or delivers is held against the
// oracle in that moment: it must be allowed by the latest revision, or by one from which on
// the host is not known to enforce all. That is so of each of the two hosts by itself, so nothing
// forbidden arrives while one of them is current. Begin and Pass have flows and time go on
// without waiting for anything (package sim/fleet); Underlay, Silence and StepClock make that hard.
// Record keeps a digest of all that happens.
//
// Disturb ends programs, starts them again and cuts links. What a packet met on
// its way, and who was told of a change, is said in sentences for a reader.
//
// NewStage carries out scenarios at three levels: "oracle" asks package oracle,
// "table" asks compiled tables, "soft" sends packets through a Sim. All three
// make their changes through package edit. What a level has no means for is
// scenario.ErrCannot, with the reason.
//
// The package opens no socket, reads no clock and starts no goroutine, and it
// knows nothing of real hosts: that is package lab's.
package sim
