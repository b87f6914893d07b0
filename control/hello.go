package control

import "dove.network/dove"

// SendHello sends what Hello says in as many messages as it needs.
func SendHello(conn HostConn, h Hello) error {
	rest := Held{Peers: h.Peers, Pairs: h.Pairs, Attached: h.Attached}
	first := rest.cut()
	h.Peers, h.Pairs, h.Attached, h.More = first.Peers, first.Pairs, first.Attached, first.More
	if err := conn.Send(&h); err != nil {
		return err
	}
	for more := h.More; more; {
		next := rest.cut()
		if err := conn.Send(&next); err != nil {
			return err
		}
		more = next.More
	}
	return nil
}

// cut takes one message's worth off the front.
func (h *Held) cut() Held {
	peers, pairs, attached := min(len(h.Peers), RowsMax), min(len(h.Pairs), RowsMax), min(len(h.Attached), RowsMax)
	first := Held{Peers: h.Peers[:peers], Pairs: h.Pairs[:pairs], Attached: h.Attached[:attached]}
	h.Peers, h.Pairs, h.Attached = h.Peers[peers:], h.Pairs[pairs:], h.Attached[attached:]
	first.More = len(h.Peers)+len(h.Pairs)+len(h.Attached) > 0
	return first
}

// ReceiveHello reads the first messages of a session and joins them. A dSwitch
// that says anything else first, or holds more than HeldMax rows, is refused
// with dove.Invalid or dove.TooLarge.
func ReceiveHello(conn MemberConn) (*Hello, error) {
	up, err := conn.Recv()
	if err != nil {
		return nil, err
	}
	h, ok := up.(*Hello)
	if !ok {
		return nil, dove.Errorf(dove.Invalid, "the session opens with %T: a dSwitch says Hello first", up)
	}
	for more := h.More; more; {
		up, err := conn.Recv()
		if err != nil {
			return nil, err
		}
		next, ok := up.(*Held)
		if !ok {
			return nil, dove.Errorf(dove.Invalid, "%T comes before the Hello is complete", up)
		}
		if next.More && len(next.Peers)+len(next.Pairs)+len(next.Attached) == 0 {
			return nil, dove.Errorf(dove.Invalid, "a Held that says nothing is not the last")
		}
		h.Peers = append(h.Peers, next.Peers...)
		h.Pairs = append(h.Pairs, next.Pairs...)
		h.Attached = append(h.Attached, next.Attached...)
		if n := len(h.Peers) + len(h.Pairs) + len(h.Attached); n > HeldMax {
			return nil, dove.Errorf(dove.TooLarge, "the dSwitch holds more than %d rows: lower its limits", HeldMax)
		}
		more = next.More
	}
	h.More = false
	return h, nil
}
