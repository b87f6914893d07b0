package lab

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"dove.network/packet"
)

// Few kernels have SCTP, and policy needs no more of it than how an association
// begins: an INIT to a port, and the INIT ACK that answers it. Guests make both
// themselves, through raw sockets; each tells its name in a parameter that SCTP
// has others skip.
const (
	sctpHeader  = 12 // bytes before the chunks
	sctpChunk   = 20 // bytes of an INIT or INIT ACK before its parameters
	sctpInit    = 1
	sctpInitAck = 2
	sctpName    = 0xbf00 // a parameter of ours
)

// listenSCTP opens a socket that gets every SCTP packet to an address.
func listenSCTP(a netip.Addr) (net.PacketConn, error) {
	if a.Is6() {
		return net.ListenPacket("ip6:132", a.String())
	}
	return net.ListenPacket("ip4:132", a.String())
}

// answerSCTP answers INITs to the ports.
func (g *Guest) answerSCTP(c net.PacketConn, own netip.Addr, ports []uint16) {
	buf := make([]byte, datagramMax)
	for {
		n, from, err := c.ReadFrom(buf)
		if err != nil {
			return
		}
		p, ok := readSCTP(buf[:n])
		if !ok || p.kind != sctpInit || !slices.Contains(ports, p.dst) {
			continue
		}
		g.asked(p.name)
		to, _ := netip.AddrFromSlice(from.(*net.IPAddr).IP)
		_, _ = c.WriteTo(sctp{p.dst, p.src, sctpInitAck, g.Name()}.bytes(own, to.Unmap()), from)
	}
}

// sctp is a packet with one INIT or INIT ACK.
type sctp struct {
	src, dst uint16
	kind     byte
	name     string // of who sends it
}

// bytes is the packet from its common header on.
func (p sctp) bytes(from, to netip.Addr) []byte {
	chunk := make([]byte, sctpChunk+4)
	chunk[0] = p.kind
	binary.BigEndian.PutUint32(chunk[4:], 1)     // initiate tag
	binary.BigEndian.PutUint32(chunk[8:], 1<<16) // receiver window
	binary.BigEndian.PutUint16(chunk[12:], 1)    // streams out
	binary.BigEndian.PutUint16(chunk[14:], 1)    // streams in
	binary.BigEndian.PutUint32(chunk[16:], 1)    // first TSN
	binary.BigEndian.PutUint16(chunk[20:], sctpName)
	binary.BigEndian.PutUint16(chunk[22:], uint16(4+len(p.name)))
	chunk = append(chunk, p.name...)
	binary.BigEndian.PutUint16(chunk[2:], uint16(len(chunk)))
	for len(chunk)%4 != 0 {
		chunk = append(chunk, 0)
	}
	frame := packet.SCTP(packet.Ends{Src: from, Dst: to}, p.src, p.dst, chunk)
	return frame[len(frame)-len(chunk)-sctpHeader:]
}

func readSCTP(b []byte) (sctp, bool) {
	const name = sctpHeader + sctpChunk + 4
	if len(b) < name || binary.BigEndian.Uint16(b[name-4:]) != sctpName {
		return sctp{}, false
	}
	end := sctpHeader + int(binary.BigEndian.Uint16(b[sctpHeader+2:]))
	if end < name || end > len(b) {
		return sctp{}, false
	}
	return sctp{binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:]), b[sctpHeader], string(b[name:end])}, true
}

// AskSCTP sends an INIT and waits for the INIT ACK.
func (g *Guest) AskSCTP(ctx context.Context, to netip.AddrPort) Reply {
	start := time.Now()
	own := g.Addr(to.Addr().Is6())
	var c net.PacketConn
	err := g.ns.Do(func() (err error) {
		c, err = listenSCTP(own)
		return err
	})
	if err != nil {
		return Reply{Err: err}
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	src := uint16(1<<15 + rand.IntN(1<<15))
	out := sctp{src, to.Port(), sctpInit, g.Name()}.bytes(own, to.Addr())
	if _, err := c.WriteTo(out, &net.IPAddr{IP: to.Addr().AsSlice()}); err != nil {
		return Reply{Err: err}
	}
	for buf := make([]byte, datagramMax); ; {
		n, from, err := c.ReadFrom(buf)
		if err != nil {
			return Reply{Err: err, Took: time.Since(start)}
		}
		source, _ := netip.AddrFromSlice(from.(*net.IPAddr).IP)
		p, ok := readSCTP(buf[:n])
		if !ok || source.Unmap() != to.Addr() || p.kind != sctpInitAck || p.src != to.Port() || p.dst != src {
			continue
		}
		if strings.TrimSpace(p.name) == "" {
			err = fmt.Errorf("%s answers sctp/%d without its name", to.Addr(), to.Port())
		}
		return Reply{From: p.name, Err: err, Took: time.Since(start)}
	}
}
