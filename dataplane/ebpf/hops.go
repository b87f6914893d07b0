package ebpf

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// hops finds the underlay's next hop to each VTEP, so that the kernel need not
// look for a route for each packet: given one, it goes on with its neighbour
// table, which it keeps by itself.
type hops struct {
	underlay int // ifindex
	routes   *netlink.Handle
	changes  *nl.NetlinkSocket
	known    map[netip.Addr][4]uint32 // as dest.hop
}

// openHops begins to follow the routes of the calling thread's network namespace.
func openHops(underlay int) (*hops, error) {
	routes, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("ask for routes: %w", err)
	}
	changes, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK,
		unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV4_RULE,
		unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_IPV6_ROUTE, unix.RTNLGRP_IPV6_RULE)
	if err != nil {
		routes.Close()
		return nil, fmt.Errorf("follow routes: %w", err)
	}
	return &hops{underlay: underlay, routes: routes, changes: changes, known: map[netip.Addr][4]uint32{}}, nil
}

// to returns the next hop to a VTEP, zero where the kernel must choose for each
// packet: over several paths, or where there is none now.
func (h *hops) to(vtep netip.Addr) [4]uint32 {
	hop, known := h.known[vtep]
	if !known {
		hop = h.find(vtep)
		h.known[vtep] = hop
	}
	return hop
}

func (h *hops) find(vtep netip.Addr) (none [4]uint32) {
	options := &netlink.RouteGetOptions{OifIndex: h.underlay, FIBMatch: true}
	found, err := h.routes.RouteGetWithOptions(net.IP(vtep.AsSlice()), options)
	if err != nil || len(found) != 1 {
		return none
	}
	r := found[0]
	switch {
	case r.Type != unix.RTN_UNICAST || r.LinkIndex != h.underlay || len(r.MultiPath) > 0 || r.Via != nil || r.Encap != nil:
		return none
	case r.Gw == nil:
		return addrWords(vtep)
	}
	gateway, _ := netip.AddrFromSlice(r.Gw)
	if gateway = gateway.Unmap(); gateway.Is4() != vtep.Is4() {
		return none
	}
	return addrWords(gateway)
}

func (s *Switch) hopTo(vtep netip.Addr) (none [4]uint32) {
	if s.hops == nil {
		return none // without devices
	}
	return s.hops.to(vtep)
}

// followRoutes looks for all next hops again when anything changed that they
// may depend on, until the socket is closed.
func (s *Switch) followRoutes() {
	for {
		// What was lost because too much came at once is a change too.
		if _, _, err := s.hops.changes.Receive(); err != nil && !errors.Is(err, unix.ENOBUFS) {
			return
		}
		s.renewHops()
	}
}

func (s *Switch) renewHops() {
	s.mu.Lock()
	defer s.mu.Unlock()
	moved := false
	for vtep, hop := range s.hops.known {
		s.hops.known[vtep] = s.hops.find(vtep)
		moved = moved || s.hops.known[vtep] != hop
	}
	if !moved {
		return
	}
	for k, p := range s.places {
		if slices.ContainsFunc(p.all(), func(p *place) bool { return p.dest.Vtep != [4]uint32{} }) {
			_ = s.put(k) // a slot that is there can be written
		}
	}
	for _, p := range s.ports {
		if p.Other.IsValid() {
			_ = s.putAllowed(p, false)
		}
	}
}
