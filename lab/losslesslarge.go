package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// large is the kind of edit that changes each of Rules, and what it allows: the odd
// or the even ones of so many TCP ports.
const (
	large          = "large"
	largePort      = 20000 // the first
	forbiddenPort  = 9003  // that no version of the policy allows
	forbiddenEvery = time.Millisecond
)

// RulesMax bounds Lossless.Rules: a table holds 16,384 ranges of ports.
const RulesMax = 16000

// manyPorts is what a policy of so many ranges allows: every second of as many ports, so
// that what is between them is a range, too, and another after each edit.
func (x *Lossless) manyPorts() string {
	var all strings.Builder
	for port := x.more[large] % 2; x.LargeEdits > 0 && port < x.Rules; port += 2 {
		fmt.Fprintf(&all, ", tcp/%d", largePort+port)
	}
	return all.String()
}

// intruder sends all the time what no version of the policy allows, and counts
// what arrives.
type intruder struct {
	conns         [2]*net.UDPConn
	sent, arrived atomic.Int64
	stop          chan struct{}
	done          sync.WaitGroup
}

func (x *Lossless) intrude(from, to *Guest) (*intruder, error) {
	a, b := netip.AddrPortFrom(from.Addr(false), forbiddenPort), netip.AddrPortFrom(to.Addr(false), forbiddenPort)
	left, err := from.peer(a, b)
	if err != nil {
		return nil, err
	}
	right, err := to.peer(b, a)
	if err != nil {
		return nil, errors.Join(err, left.Close())
	}
	i := &intruder{conns: [2]*net.UDPConn{left, right}, stop: make(chan struct{})}
	i.done.Go(func() {
		for began, n := time.Now(), time.Duration(0); ; n++ {
			select {
			case <-i.stop:
				return
			case <-time.After(time.Until(began.Add(n * forbiddenEvery))): // who was kept from it catches up
			}
			if _, err := left.Write(make([]byte, datagramSize)); err == nil {
				i.sent.Add(1)
			}
		}
	})
	i.done.Go(func() {
		for got := make([]byte, datagramSize); ; {
			if _, err := right.Read(got); err != nil {
				return
			}
			i.arrived.Add(1)
		}
	})
	return i, nil
}

// close ends it; it may be nil, or closed.
func (i *intruder) close() {
	if i == nil || i.conns[0] == nil {
		return
	}
	close(i.stop)
	_ = i.conns[0].Close()
	time.AfterFunc(grace, func() { _ = i.conns[1].Close() }) // what is under way may still come
	i.done.Wait()
	i.conns[0] = nil
}

// replaceTables is an edit that writes every rule anew, and what it took.
func (x *Lossless) replaceTables(ctx context.Context, st *Stage) (string, error) {
	rev, _, err := x.edit(ctx, st, []string{large})
	return fmt.Sprintf("edit %d, of all %d ranges of a rule", x.edited, x.Rules), errors.Join(err, x.enforced(ctx, rev))
}
