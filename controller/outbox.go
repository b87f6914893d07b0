package controller

import (
	"slices"
	"sync"

	"dove.network/control"
	"dove.network/dove"
)

// outbox is what waits to be sent to a session, in order. Who put something there pushes
// it, which waits for nobody; what would have to wait is sent by a goroutine that lives
// until all is sent.
type outbox struct {
	host    dove.HostName
	conn    control.MemberConn
	denied  int  // claims; of who owns the Core
	touched bool // something was put there in this turn; likewise

	mu      sync.Mutex
	batches [][]control.Down // at most QueueMax
	sending bool             // somebody sends; for ever, once that failed
	closed  bool             // nothing more is put there
	over    bool
	reason  error // why it is over, nil if in order
}

// put has a batch wait, if there is room.
func (o *outbox) put(batch []control.Down) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.batches) == QueueMax || o.closed {
		return false
	}
	o.batches = append(o.batches, batch)
	return true
}

// last has one more message wait, after which the session ends for a reason, nil if in
// order.
func (o *outbox) last(message control.Down, reason error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.batches = append(o.batches, []control.Down{message})
	o.closed, o.reason = true, reason
}

// push sends what waits, as far as that waits for nobody.
func (o *outbox) push() {
	batch := o.begin()
	if len(batch) == 0 {
		return
	}
	sent, err := o.conn.TrySend(batch...)
	if sent || err != nil {
		batch = o.next(err)
	}
	if len(batch) > 0 {
		go o.send(batch)
	}
}

// send sends a batch and then what waits.
func (o *outbox) send(batch []control.Down) {
	for len(batch) > 0 {
		batch = o.next(o.conn.Send(batch...))
	}
}

// begin returns what is to be sent, nothing if somebody does so already.
func (o *outbox) begin() []control.Down {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.sending {
		return nil
	}
	return o.take()
}

// next returns what is to be sent after a batch, of which err became.
func (o *outbox) next(err error) []control.Down {
	if err != nil {
		o.end(err)
		return nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.batches) == 0 && o.closed {
		o.over = true
		o.conn.Stop()
	}
	return o.take()
}

// take empties the outbox for who sends from now on; o.mu is held.
func (o *outbox) take() []control.Down {
	waiting := o.batches
	o.batches = nil
	if o.sending = len(waiting) > 0; !o.sending {
		return nil
	}
	if len(waiting) == 1 {
		return waiting[0]
	}
	return slices.Concat(waiting...)
}

// end ends the session, for the first reason that anybody gives.
func (o *outbox) end(reason error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.over {
		o.over, o.reason = true, reason
	}
	o.conn.Stop()
}

// ended returns why the session ended, if not for err.
func (o *outbox) ended(err error) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.over {
		return o.reason
	}
	return err
}
