// Package resolver knows the answer to one question of a dSwitch, and who must
// hear of a change.
//
// A View answers at one revision of the world: Resolve gives an answer with the
// rows that it needs, Peer and Pair give one row as a given host may see it. A
// row is a function of the world, the host and the key alone, so a row that was
// sent can be computed again and compared. Interest remembers by digest which
// session was sent which row; its Advance moves a View to the next world and
// returns, for each session, those of its rows that are different now: nobody else
// hears of a change.
//
// What a host may see: it asks only from networks on which an endpoint is
// bound to it (on standby too) and about pairs of which one class is of such an endpoint, and it is
// given a location only if one of its endpoints on that network may talk
// with the peer, in one direction at least.
//
// The package knows no messages' order, no sockets and no clock.
package resolver
