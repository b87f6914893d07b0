// Package lobby knows who waits at a port: connections that have not shown yet whose
// they are, by where they come from.
//
// A Lobby holds so many of them. When it is full, a newcomer takes the place of who has
// waited longest of the source with the most, if that has more than the newcomer's
// own; else it is turned away. So who opens connections and says nothing takes its own
// places, and others find theirs. Turns lets so many of them compute at a time, one
// source after the other, however many of one wait.
//
// A source is an IPv4 address or the 64 bits that an IPv6 network has. The package reads
// and writes nothing, and knows no protocol.
package lobby
