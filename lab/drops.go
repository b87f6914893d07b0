package lab

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"time"

	"dove.network/dove"
)

// Drop is a refused packet as a dSwitch tells it, with names.
type Drop struct {
	At       time.Time
	Host     string
	Reason   string
	Rule     string
	From     dove.Endpoint // whose packet it was, where the switch knows
	Src, Dst netip.Addr
	Protocol dove.Protocol
	Port     uint16 // destination
}

// dropKey is what a denied check waits for.
type dropKey struct {
	From     dove.Endpoint
	Dst      netip.Addr
	Protocol dove.Protocol
	Port     uint16
}

// dropLog collects the drops of all hosts as they are told.
type dropLog struct {
	mu      sync.Mutex
	drops   map[dropKey]Drop
	changed chan struct{} // closed and replaced with each batch
	fault   error
}

// watchDrops follows the drops of every host until ctx ends.
func (l *Lab) watchDrops(ctx context.Context) *dropLog {
	d := &dropLog{drops: map[dropKey]Drop{}, changed: make(chan struct{})}
	for _, h := range l.hosts {
		after, err := h.sock.lastDrop(ctx)
		d.failed(err)
		go func() {
			for ctx.Err() == nil {
				drops, last, err := h.sock.drops(ctx, after)
				if err != nil {
					if ctx.Err() == nil {
						d.failed(err)
					}
					return
				}
				after = last
				d.add(drops)
			}
		}()
	}
	return d
}

func (d *dropLog) add(drops []Drop) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, drop := range drops {
		d.drops[dropKey{drop.From, drop.Dst, drop.Protocol, drop.Port}] = drop
	}
	close(d.changed)
	d.changed = make(chan struct{})
}

func (d *dropLog) failed(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fault = errors.Join(d.fault, err)
}

func (d *dropLog) err() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.fault
}

// wait returns the drop of that key that happened after since, or nil when ctx ends.
func (d *dropLog) wait(ctx context.Context, key dropKey, since time.Time) *Drop {
	for {
		d.mu.Lock()
		drop, ok := d.drops[key]
		changed := d.changed
		d.mu.Unlock()
		if ok && drop.At.After(since) {
			return &drop
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}
