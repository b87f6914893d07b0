package control

import (
	"net/netip"

	"dove.network/dove"
)

// Identity is what a dSwitch's certificate says, checked by the transport.
type Identity struct {
	Host   dove.HostName
	VTEP   netip.Addr
	Serial string // hexadecimal
}

// MemberConn is the DPC member's end of one session. One may call Recv, and any
// number the others, at a time. Recv returns io.EOF when the dSwitch ended the
// session in order.
type MemberConn interface {
	Send(...Down) error            // in order; waits while the dSwitch reads nothing
	TrySend(...Down) (bool, error) // sends all, or nothing if that would wait
	Recv() (Up, error)
	Waiting() bool // a message is there that Recv would return at once
	Stop()         // has Recv fail, now and later
}

// HostConn is the dSwitch's end of one session. One may call Recv, and any number
// Send and TrySend, at a time; Waiting by who calls Recv, Close while that runs.
type HostConn interface {
	Send(...Up) error            // in order; waits while the member reads nothing
	TrySend(...Up) (bool, error) // sends all, or nothing if that would wait
	Recv() (Down, error)
	Waiting() bool // a message is there that Recv would return at once
	Close() error
}

// PeerIdentity is what the certificate of another member says, checked by the
// transport.
type PeerIdentity struct {
	Member string
	Serial string // hexadecimal
}

// PeerConn is either end of a stream between two members. Send and Recv may be
// called from two goroutines, one each; Close at any time, and twice.
type PeerConn interface {
	Send(...Across) error
	Recv() (Across, error)
	Close() error
}
