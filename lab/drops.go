package lab

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"time"

	"dove.network/agent"
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
	SrcPort  uint16
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
		if h.sw.ended() {
			continue // it drops nothing by itself
		}
		seen, err := h.sock.Drops(ctx, 0, false)
		d.failed(err)
		go func() {
			for after := seen.Last; ctx.Err() == nil; {
				batch, err := h.sock.Drops(ctx, after, true)
				if ctx.Err() != nil {
					return
				}
				if err != nil {
					d.failed(err)
					return
				}
				after = batch.Last
				d.add(h.Name, batch.Drops)
			}
		}()
	}
	return d
}

func (d *dropLog) add(host string, records []agent.DropRecord) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, r := range records {
		protocol, _ := dove.ParseProtocol(r.Protocol)
		drop := Drop{At: r.At, Host: host, Reason: r.Reason, Rule: r.Rule, From: split(r.From),
			Src: r.Src, Dst: r.Dst, Protocol: protocol, Port: r.DstPort, SrcPort: r.SrcPort}
		d.drops[dropKey{drop.From, drop.Dst, drop.Protocol, drop.Port}] = drop
		if r.Protocol == "any" { // ARP and neighbour discovery: nobody has the address
			d.drops[dropKey{From: drop.From, Dst: drop.Dst}] = drop
		}
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

// find returns a drop that is as wanted, or nil when ctx ends.
func (d *dropLog) find(ctx context.Context, wanted func(Drop) bool) *Drop {
	for {
		d.mu.Lock()
		changed := d.changed
		for _, drop := range d.drops {
			if wanted(drop) {
				d.mu.Unlock()
				return &drop
			}
		}
		d.mu.Unlock()
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}

// wait returns the drop of that key that happened after since, or nil when ctx ends.
func (d *dropLog) wait(ctx context.Context, key dropKey, since time.Time) *Drop {
	for {
		d.mu.Lock()
		drop, ok := d.drops[key]
		if arp, asked := d.drops[dropKey{From: key.From, Dst: key.Dst}]; !ok && asked {
			drop, ok = arp, true
		}
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
