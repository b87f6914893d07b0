package vif

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"runtime"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"dove.network/dataplane"
)

// Device is a device that can be a port.
type Device struct {
	Name    string
	Ifindex int
	Kind    dataplane.DeviceKind
}

// Change says what an Event tells.
type Change uint8

// Changes.
const (
	Up     Change = iota + 1 // the device appeared, or its other end moved
	Gone                     // the device disappeared, or has another name now
	Listed                   // every device that exists has been told; told once
)

// Event is a change of one device; Listed has none.
type Event struct {
	Change Change
	Device Device
}

const (
	relistEvery  = 30 * time.Second // in case a change was not told
	retryAfter   = 200 * time.Millisecond
	updatesAhead = 256
)

// known is a device as it was told.
type known struct {
	Device
	peerNS int // id of the namespace of a veth's other end, -1 if it is this one
}

// Watch tells the devices of the calling thread's network namespace, first those
// that exist, until ctx is done; then it closes the channel. Trouble with
// netlink is logged and mended by listing again.
func Watch(ctx context.Context, log *slog.Logger) (<-chan Event, error) {
	ns, err := netns.Get()
	if err != nil {
		return nil, fmt.Errorf("watch devices: %w", err)
	}
	handle, err := netlink.NewHandle()
	if err != nil {
		_ = ns.Close() // only a descriptor
		return nil, fmt.Errorf("watch devices: %w", err)
	}
	w := &watcher{ns: ns, handle: handle, events: make(chan Event), devices: map[int]known{}}
	go func() {
		defer close(w.events)
		defer handle.Close()
		defer ns.Close()
		for ctx.Err() == nil {
			if err := w.run(ctx); err != nil && ctx.Err() == nil {
				log.Warn("watching devices failed; listing them again", "err", err)
			}
			select {
			case <-time.After(retryAfter):
			case <-ctx.Done():
			}
		}
	}()
	return w.events, nil
}

type watcher struct {
	ns      netns.NsHandle
	handle  *netlink.Handle
	events  chan Event
	devices map[int]known // by ifindex
	listed  bool
}

// run subscribes, lists, and follows the changes until something fails.
func (w *watcher) run(ctx context.Context) error {
	updates, done := make(chan netlink.LinkUpdate, updatesAhead), make(chan struct{})
	var cause error // written before updates is closed
	if err := w.subscribe(updates, done, func(err error) { cause = err }); err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	defer func() {
		close(done)
		for range updates { // lets the reader see that its socket is closed
		}
	}()
	if err := w.list(ctx); err != nil {
		return err
	}
	relist := time.NewTicker(relistEvery)
	defer relist.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-relist.C:
			if err := w.list(ctx); err != nil {
				return err
			}
		case u, ok := <-updates:
			if !ok {
				return fmt.Errorf("receive: %w", cause)
			}
			if u.Family == unix.AF_BRIDGE {
				continue // it became a bridge's port, or is none any more
			}
			if u.Header.Type == unix.RTM_DELLINK {
				w.gone(ctx, int(u.Index))
				// It may have moved away: then its other end, of which the kernel
				// says nothing, has its peer elsewhere now.
				if err := w.list(ctx); err != nil {
					return err
				}
			} else {
				w.seen(ctx, u.Link)
			}
		}
	}
}

// subscribe opens a socket in the watcher's namespace. To enter it needs a power
// (CAP_SYS_ADMIN) that a program all of whose threads are there does not.
func (w *watcher) subscribe(updates chan<- netlink.LinkUpdate, done <-chan struct{}, failed func(error)) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	here, err := netns.Get()
	if err != nil {
		return err
	}
	defer here.Close()
	options := netlink.LinkSubscribeOptions{ErrorCallback: failed}
	if !here.Equal(w.ns) {
		options.Namespace = &w.ns
	}
	return netlink.LinkSubscribeWithOptions(updates, done, options)
}

// list tells the difference between what was told and what exists.
func (w *watcher) list(ctx context.Context) error {
	links, err := w.handle.LinkList()
	if err != nil {
		return fmt.Errorf("list devices: %w", err)
	}
	slices.SortFunc(links, func(a, b netlink.Link) int { return a.Attrs().Index - b.Attrs().Index })
	exists := map[int]bool{}
	for _, l := range links {
		exists[l.Attrs().Index] = true
	}
	for _, index := range slices.Sorted(maps.Keys(w.devices)) {
		if !exists[index] {
			w.gone(ctx, index)
		}
	}
	for _, l := range links {
		w.seen(ctx, l)
	}
	if !w.listed {
		w.listed = true
		w.tell(ctx, Event{Change: Listed})
	}
	return nil
}

func (w *watcher) seen(ctx context.Context, l netlink.Link) {
	now, ok := deviceOf(l)
	if !ok {
		return
	}
	before, told := w.devices[now.Ifindex]
	if before == now {
		return
	}
	if told && before.Name != now.Name {
		w.tell(ctx, Event{Gone, before.Device})
	}
	w.devices[now.Ifindex] = now
	w.tell(ctx, Event{Up, now.Device})
}

func (w *watcher) gone(ctx context.Context, index int) {
	if d, told := w.devices[index]; told {
		delete(w.devices, index)
		w.tell(ctx, Event{Gone, d.Device})
	}
}

func (w *watcher) tell(ctx context.Context, e Event) {
	select {
	case w.events <- e:
	case <-ctx.Done():
	}
}

// deviceOf says whether a link can be a port.
func deviceOf(l netlink.Link) (known, bool) {
	a := l.Attrs()
	d := known{Device: Device{Name: a.Name, Ifindex: a.Index}, peerNS: -1}
	switch l := l.(type) {
	case *netlink.Veth:
		d.Kind, d.peerNS = dataplane.Veth, a.NetNsID
	case *netlink.Tuntap:
		if l.Mode != netlink.TUNTAP_MODE_TAP {
			return known{}, false
		}
		d.Kind = dataplane.Tap
	default:
		return known{}, false
	}
	return d, true
}
