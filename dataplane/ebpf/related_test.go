package ebpf

import (
	"bytes"
	"errors"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"dove.network/dataplane"
	"dove.network/dove"
	"dove.network/packet"
	"dove.network/verdict"
)

// errorsAboutFlow lets ten ICMP errors about one flow pass at once.
func errorsAboutFlow(t testing.TB, o Options) {
	s := newLone(t, o)
	if err := s.configure(1, 1, 1); err != nil {
		t.Fatal(err)
	}
	sent := packet.UDP(out, 1, 53, nil)
	if o := sends(t, s, sent); o.Action != dataplane.Tunneled {
		t.Fatalf("a datagram: %+v", o)
	}
	var passed int
	began := time.Now()
	for range 30 {
		switch o := sends(t, s, packet.ICMP(back, 3, 3, 0, sent[14:])); o.Reason {
		case dataplane.NotDropped:
			passed++
		case dataplane.ErrorLimit:
		default:
			t.Fatalf("an error: %+v", o)
		}
	}
	if most := 11 + int(time.Since(began)/(100*time.Millisecond)); passed < 10 || passed > most {
		t.Errorf("%d errors about one flow passed, want 10 to %d", passed, most)
	}
}

// pieces judges later fragments by what became of their first one's flow, and
// has what is too big answered.
func pieces(t testing.TB, o Options) {
	s := newLone(t, o)
	passes := func(what string, frame []byte, want dataplane.Outcome) {
		t.Helper()
		if got := sends(t, s, frame); got.Action != want.Action || got.Reason != want.Reason || got.Want != want.Want {
			t.Errorf("%s: %+v, want %+v", what, got, want)
		}
	}
	sent, delivered := dataplane.Outcome{Action: dataplane.Tunneled}, dataplane.Outcome{Action: dataplane.Delivered}
	refused := func(r dataplane.Reason) dataplane.Outcome {
		return dataplane.Outcome{Action: dataplane.Dropped, Reason: r}
	}
	ask := packet.Fragments(packet.UDP(out, 1, 53, make([]byte, 100)), 48, 7)
	answer := packet.Fragments(packet.UDP(back, 53, 1, make([]byte, 100)), 48, 8)
	early := dataplane.Outcome{Action: dataplane.Missed, Want: dataplane.WantFirst}
	passes("a later piece alone", ask[1], early)
	passes("a first piece", ask[0], sent)
	passes("the second", ask[1], sent)
	passes("the second of an answer", answer[1], dataplane.Outcome{Action: dataplane.Missed, Want: dataplane.WantPair})
	passes("the first of an answer", answer[0], delivered)
	passes("the second of an answer, again", answer[1], delivered)
	other := packet.Fragments(packet.UDP(out, 1, 53, make([]byte, 100)), 48, 9)
	passes("the second of another packet, alone", other[1], early)
	forbidden := dataplane.SetPair{
		Key:   dataplane.PairKey{Domain: testDomain, Src: guestClass(1), Dst: guestClass(2)},
		Table: allowing(allowed("tcp", dove.ProtocolTCP, 80, 80)),
	}
	if err := s.Apply([]dataplane.Op{forbidden}); err != nil {
		t.Fatal(err)
	}
	passes("the third, forbidden meanwhile", ask[2], refused(dataplane.Policy))
	third := packet.Outer{Src: twinVTEPs[1], Dst: twinVTEPs[0], VNI: testVNI, Class: guestClass(2)}.Encap(answer[2])
	asked, frame, err := s.FromWire(third)
	if err != nil || asked.Want != dataplane.WantDenial {
		t.Fatalf("the third of an answer, forbidden meanwhile: %+v, %v", asked, err)
	}
	m, _ := s.MissOf(frame)
	if o, _, err := s.ReInject(m); err != nil || o.Reason != dataplane.Policy {
		t.Errorf("the third of an answer, forbidden as before: %+v, %v", o, err)
	}
	passes("the third of an answer, once more", answer[2], refused(dataplane.Policy))

	large := packet.UDP(out, 1, 53, make([]byte, 1450))
	o1, told, err := s.FromGuest(1, bytes.Clone(large))
	if want := packet.TooBig(large, 1450); err != nil || o1 != refused(dataplane.TooBig) || !bytes.Equal(told, want) {
		t.Errorf("what is too big: %+v, %v, answered with\n%x, want\n%x", o1, err, told, want)
	}

	// An end without state asks of each piece of an answer what its first one asked for.
	s = newLone(t, o)
	alone := func(first, last uint16) *verdict.Table {
		rule := allowed("udp", dove.ProtocolUDP, first, last)
		rule.Action = verdict.Allow
		h := verdict.Half{Rules: []verdict.Rule{rule}, DefaultName: verdict.DefaultDeny}
		return verdict.Product(h, h)
	}
	if err := s.Apply([]dataplane.Op{
		dataplane.SetPair{Key: dataplane.PairKey{Domain: testDomain, Src: guestClass(1), Dst: guestClass(2)}, Table: alone(0, 65535)},
		dataplane.SetPair{Key: dataplane.PairKey{Domain: testDomain, Src: guestClass(2), Dst: guestClass(1)}, Table: alone(1, 1)},
	}); err != nil {
		t.Fatal(err)
	}
	passes("what is answered without state", packet.UDP(out, 1, 53, nil), sent)
	passes("the first of that answer", answer[0], delivered)
	passes("the second of that answer", answer[1], delivered)
}

func TestPieces(t *testing.T) { pieces(t, Options{}) }

func TestErrorsAboutFlow(t *testing.T) { errorsAboutFlow(t, Options{}) }

// TestLargePackets sends what only passes in fragments, and to a port on which
// nobody listens: the sender hears of it, though no rule allows ICMP.
func TestLargePackets(t *testing.T) { overEach(t, largePackets) }

func largePackets(t *testing.T, hosts []*host) {
	table := allowing(allowed("udp", dove.ProtocolUDP, 0, 65535), allowed("ping", dove.ProtocolICMP, 0x800, 0x800),
		allowed("ping6", dove.ProtocolICMPv6, 0x8000, 0x8000))
	guests := fourGuests(t, hosts, table)
	for from, g := range guests {
		for to := range guests {
			if from == to {
				continue
			}
			for _, a := range guestAddrs(to) {
				for range 2 { // the first of all is in pieces too
					if err := g.ping(a, 9000); err != nil {
						t.Errorf("guest %d pings %v: %v", from, a, err)
					}
				}
				if err := g.refused(a); err != unix.ECONNREFUSED {
					t.Errorf("guest %d hears %v of a closed port of %v", from, err, a)
				}
			}
		}
	}
	for _, h := range hosts {
		for _, r := range []dataplane.Reason{dataplane.Fragment, dataplane.ExtensionHeader, dataplane.Malformed} {
			if n := h.count(t, r, ""); n != 0 {
				t.Errorf("%s dropped %d packets as %v", h.name, n, r)
			}
		}
	}
}

// refused sends a datagram to a port on which nobody listens and returns the
// error that comes back for it.
func (g *guest) refused(to netip.Addr) error {
	var fd int
	err := g.do(func() (err error) {
		domain := unix.AF_INET
		var at unix.Sockaddr = &unix.SockaddrInet4{Port: 9, Addr: as4(to)}
		if to.Is6() {
			domain, at = unix.AF_INET6, &unix.SockaddrInet6{Port: 9, Addr: to.As16()}
		}
		if fd, err = unix.Socket(domain, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		return errors.Join(unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 5}), unix.Connect(fd, at))
	})
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if _, err := unix.Write(fd, []byte("hello")); err != nil {
		return err
	}
	_, err = unix.Read(fd, make([]byte, 1))
	return err
}
