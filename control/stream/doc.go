// Package stream carries the control conversation over mutual TLS 1.3.
//
// A Server gives each session's Identity, as the host's certificate states it,
// and a control.MemberConn to Converse. Dial tries the addresses of DPC members
// in turn and returns a control.HostConn, once the one that answers admits it. Messages are checked by package
// control as they come in; one that is malformed, larger than control.MessageMax or
// speaks for another host than the certificate's ends the session with an error
// that both ends can read.
//
// A PeerServer and DialPeer carry what members say to each other in the same way,
// between two certificates of members.
//
// Messages travel as frames (wire): four bytes that say what it is and how long, then
// its protobuf. Who reads and who writes do so on the connection itself, and nothing of the
// package stands in between: a wake-up is what a first packet's time goes into. Writes that
// the kernel does not take at once (socket) are finished by a goroutine of their
// own, so that TrySend never waits for a peer.
//
// A peer that says nothing for SilenceMax ends the session: both ends send a Heartbeat when
// there is nothing else to say. Handshakes are bounded in number and time, so that a fleet
// starting at once cannot drown a member.
//
// The package knows nothing of what a session is about, nor which certificate of
// a host is the valid one: Admit says so.
package stream
