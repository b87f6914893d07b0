package ebpf

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"dove.network/dataplane"
	"dove.network/dove"
	"dove.network/verdict"
)

// TestUpgrade has a host run the programs of each older layout that can be taken
// over, and then those of this one, and loses nothing of what runs through it:
// neither of flows that live through it, nor of those that begin meanwhile.
func TestUpgrade(t *testing.T) {
	for _, older := range readable {
		for name, kind := range map[string]dataplane.DeviceKind{"veth": dataplane.Veth, "tap": dataplane.Tap} {
			t.Run(older+" "+name, func(t *testing.T) { upgrade(t, older, kind) })
		}
	}
}

func upgrade(t *testing.T, older string, kind dataplane.DeviceKind) {
	hosts := newHosts(t, 2)
	h := hosts[0]
	// Only guest 1 may begin, and guest 2's answers have nothing but its flows.
	d := &dpc{where: map[byte]dataplane.Peer{1: {VTEP: h.vtep}, 2: {VTEP: hosts[1].vtep}, 3: {VTEP: h.vtep}}, pairs: func(src, _ byte) *verdict.Table {
		if src == 1 {
			return allowing(allowed("ask", dove.ProtocolUDP, 53, 53), allowed("web", dove.ProtocolTCP, 80, 80))
		}
		return allowing()
	}}
	for _, o := range hosts {
		o.answers = func(m dataplane.Miss) []dataplane.Op {
			return slices.DeleteFunc(d.answer(m), func(op dataplane.Op) bool {
				set, ok := op.(dataplane.SetPeer)
				return ok && set.Peer.VTEP == o.vtep // it has a port here
			})
		}
	}
	one, others := h.plug(t, 1, kind), []*guest{hosts[1].plug(t, 2, kind), h.plug(t, 3, kind)}
	var streams []*stream
	stop := make(chan struct{})
	halt := sync.OnceFunc(func() { close(stop) })
	for _, g := range others {
		for _, a := range guestAddrs(g.number) {
			g.echo(t, netip.AddrPortFrom(a, 53))
			g.listen(t, netip.AddrPortFrom(a, 80))
			streams = append(streams, one.stream(t, netip.AddrPortFrom(a, 53), stop), one.connection(t, netip.AddrPortFrom(a, 80), stop))
		}
	}
	flowing := func(what string) {
		t.Helper()
		for _, s := range streams {
			s.goesOn(t, what)
		}
	}
	flowing("before")
	h.apply(t, dataplane.SetAbsent{Key: dataplane.PeerKey{VNI: testVNI, Addr: guestAddr4(99)}, TTL: time.Hour})
	held := h.sw.Held()
	places := len(h.sw.places)
	if err := h.sw.Close(); err != nil {
		t.Fatal(err)
	}
	<-h.ended
	downgrade(t, h, older)
	for _, g := range others {
		for _, a := range guestAddrs(g.number) {
			streams = append(streams, one.begins(t, netip.AddrPortFrom(a, 53), stop, halt))
		}
	}
	flowing("with the programs of layout " + older)

	h.open(t)
	flowing("after the upgrade")
	if diff := cmp.Diff(held, h.sw.Held(), cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("what is held after the upgrade differs:\n%s", diff)
	}
	if got := len(h.sw.places); got != places {
		t.Errorf("%d addresses have a place after the upgrade, %d had one before", got, places)
	}
	entries, err := os.ReadDir(h.pins)
	if err != nil || len(entries) != 1 || entries[0].Name() != layout {
		t.Errorf("pins after the upgrade: %v, %v", entries, err)
	}
	if sizes, err := h.sw.Sizes(); err != nil || sizes.Flows == 0 {
		t.Errorf("after the upgrade: %+v, %v", sizes, err)
	}
	// It is a switch like any other: a restart finds it, and it can be changed.
	if err := h.sw.Close(); err != nil {
		t.Fatal(err)
	}
	<-h.ended
	h.open(t)
	flowing("after a restart")
	halt()
	for _, s := range streams {
		s.ended(t)
	}
	h.apply(t, dataplane.DelPort{ID: others[1].port.ID})
	links, err := os.ReadDir(h.sw.linkDir)
	if err != nil || len(links) != 5 {
		t.Errorf("after a port was closed the pinned links are %v, %v", links, err)
	}
	for _, o := range hosts {
		counts, err := o.sw.Counts()
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range counts {
			if c.Reason != dataplane.NotUnicast { // what guests' own IPv6 says to its link
				t.Errorf("%s refused what is allowed: %+v", o.name, c)
			}
		}
	}
}

// begins sends a datagram of a new flow again and again, and counts the answers.
func (g *guest) begins(t *testing.T, at netip.AddrPort, stop chan struct{}, halt func()) *stream {
	s := &stream{name: fmt.Sprintf("new flows from %d to %v", g.number, at), err: make(chan error, 1)}
	ended := make(chan struct{})
	t.Cleanup(func() { halt(); <-ended })
	go func() {
		defer close(ended)
		var waiting atomic.Int32
		var wrong atomic.Pointer[error]
		for {
			select {
			case <-stop:
				for end := time.Now().Add(5 * time.Second); waiting.Load() > 0 && time.Now().Before(end); {
					time.Sleep(time.Millisecond)
				}
				if e := wrong.Load(); e != nil {
					s.err <- *e
					return
				}
				s.err <- nil
				return
			case <-time.After(5 * time.Millisecond):
			}
			var c net.Conn
			if err := g.do(func() (err error) { c, err = net.Dial("udp", at.String()); return err }); err != nil {
				s.err <- err
				return
			}
			s.sent.Add(1)
			waiting.Add(1)
			go func() {
				defer c.Close()
				defer waiting.Add(-1)
				c.SetDeadline(time.Now().Add(4 * time.Second))
				_, err := c.Write([]byte("?"))
				if err == nil {
					_, err = c.Read(make([]byte, 1))
				}
				if err != nil {
					wrong.Store(&err)
					return
				}
				s.received.Add(1)
			}()
		}
	}()
	return s
}

// downgrade puts the programs of an older layout in the place of those that a
// closed switch has left, with maps that have the same content.
func downgrade(t *testing.T, h *host, older string) {
	t.Helper()
	spec, err := ebpf.LoadCollectionSpec(filepath.Join("testdata", "dswitch_"+older+".o"))
	if err != nil {
		t.Fatal(err)
	}
	from, to := filepath.Join(h.pins, layout), filepath.Join(h.pins, older)
	if err := os.MkdirAll(to, 0o700); err != nil {
		t.Fatal(err)
	}
	c, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{Maps: ebpf.MapOptions{PinPath: to}})
	if err != nil {
		t.Fatalf("%+v", err)
	}
	defer c.Close()
	for name, m := range spec.Maps {
		if m.Pinning != ebpf.PinByName || slices.Contains([]string{"events", "sampled", "counters", "reasons"}, name) {
			continue
		}
		if err := revert(filepath.Join(from, name), c.Maps[name], m); err != nil {
			t.Fatalf("map %s: %v", name, err)
		}
	}
	links, err := os.ReadDir(linksIn(from))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range links {
		l, err := link.LoadPinnedLink(filepath.Join(linksIn(from), e.Name()), nil)
		if err != nil {
			t.Fatal(err)
		}
		name, _, _ := strings.Cut(e.Name(), "-")
		if err := errors.Join(l.Update(c.Programs[name]), l.Close()); err != nil {
			t.Fatalf("%s: %v", e.Name(), err)
		}
	}
	if err := errors.Join(os.Rename(linksIn(from), linksIn(to)), os.RemoveAll(from)); err != nil {
		t.Fatal(err)
	}
}

// revert fills a map of an older layout. It is what the switch does the other way
// round, but for addresses, which become IPv4's again.
func revert(from string, to *ebpf.Map, spec *ebpf.MapSpec) error {
	old, err := ebpf.LoadPinnedMap(from, nil)
	if err != nil {
		return err
	}
	defer old.Close()
	types, err := typesOf(old)
	if err != nil {
		return err
	}
	shrink := func(is btf.Type, size, was int) ([]part, error) {
		var all []part
		s, ok := btf.UnderlyingType(is).(*btf.Struct)
		switch {
		case !ok && was == size:
			return []part{{size: size}}, nil
		case !ok && was == 16 && size == 4:
			return []part{{from: 12, size: 4}}, nil
		case !ok:
			return []part{{size: size}}, nil // the first field
		}
		for _, field := range s.Members {
			for _, before := range types[s.Name].Members {
				if before.Name != field.Name {
					continue
				}
				a, err := btf.Sizeof(field.Type)
				if err != nil {
					return nil, err
				}
				b, err := btf.Sizeof(before.Type)
				if err != nil {
					return nil, err
				}
				p := part{from: int(before.Offset.Bytes()), to: int(field.Offset.Bytes()), size: a}
				if b == 16 && a == 4 {
					p.from += 12
				}
				all = append(all, p)
			}
		}
		return all, nil
	}
	c := &converter{keySize: int(spec.KeySize), valueSize: int(spec.ValueSize)}
	if c.key, err = shrink(spec.Key, c.keySize, int(old.KeySize())); err != nil {
		return err
	}
	if c.value, err = shrink(spec.Value, c.valueSize, int(old.ValueSize())); err != nil {
		return err
	}
	return c.each(old, func(key, value []byte) error { return to.Update(key, value, ebpf.UpdateAny) })
}
