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

// MemberConn is the DPC member's end of one session. Send and Recv may be
// called from two goroutines, one each. Recv returns io.EOF when the dSwitch ended the
// session in order.
type MemberConn interface {
	Send(Down) error
	Recv() (Up, error)
}

// HostConn is the dSwitch's end of one session. Send and Recv may be called from
// two goroutines, one each; Close while Recv runs, but not while Send does.
type HostConn interface {
	Send(Up) error
	Recv() (Down, error)
	Close() error
}
