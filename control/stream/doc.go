// Package stream carries the control conversation over gRPC and mutual TLS 1.3.
//
// A Server gives each session's Identity, as the host's certificate states it,
// and a control.MemberConn to Converse. Dial tries the addresses of DPC members
// in turn and returns a control.HostConn. Messages are checked by package
// control as they come in; one that is malformed, larger than MessageMax or
// speaks for another host than the certificate's ends the session with an error
// that both ends can read.
//
// A peer that does not answer a keepalive ping ends the session after about
// KeepaliveTime + KeepaliveTimeout. Handshakes are bounded in number and time, so
// that a fleet starting at once cannot drown a member.
//
// The package knows nothing of what a session is about, nor which certificate of
// a host is the valid one: Admit says so.
package stream
