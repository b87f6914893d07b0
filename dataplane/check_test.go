package dataplane

import (
	"net/netip"
	"strings"
	"testing"

	"dove.network/dove"
)

// TestCheck gives ports and peers each fault that needs no table to be seen.
func TestCheck(t *testing.T) {
	here, there, six := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("2001:db8::2")
	mac := dove.MAC{2, 0, 0, 0, 0, 1}
	c := Config{VTEP: here}
	allowed := []Allowed{{Prefix: netip.MustParsePrefix("10.9.0.0/24")}}
	for name, f := range map[string]struct {
		change func(*Port)
		want   string
	}{
		"nothing":         {func(*Port) {}, ""},
		"moves":           {func(p *Port) { p.Other, p.Standby = there, true }, ""},
		"allowed":         {func(p *Port) { p.Allowed, p.Open = allowed, true }, ""},
		"no id":           {func(p *Port) { p.ID = 0 }, "an id from 1"},
		"no MAC":          {func(p *Port) { p.MAC = dove.MAC{1} }, "unicast MAC"},
		"multicast":       {func(p *Port) { p.Addresses[0].Addr = netip.MustParseAddr("224.0.0.1") }, "plain unicast"},
		"standby of none": {func(p *Port) { p.Standby = true }, "on standby"},
		"moves here":      {func(p *Port) { p.Other = here }, "another host's"},
		"other family":    {func(p *Port) { p.Other = six }, "do not reach it"},
		"VLAN":            {func(p *Port) { p.VLAN = 4094 }, ""},
		"no VLAN":         {func(p *Port) { p.VLAN = 4095 }, "has VLAN 4095: 1 to 4094"},
		"allowed nothing": {func(p *Port) { p.Allowed = make([]Allowed, 1) }, "plain prefix"},
	} {
		p := Port{ID: 1, VNI: 1, MAC: mac, Addresses: []Address{{Addr: netip.MustParseAddr("10.0.0.1")}}}
		f.change(&p)
		says(t, "port: "+name, c.CheckPort(p), f.want)
	}
	for name, f := range map[string]struct {
		change func(*Peer)
		want   string
	}{
		"nothing": {func(*Peer) {}, ""},
		"hidden":  {func(p *Peer) { p.VTEP = netip.Addr{} }, ""},
		"ways": {func(p *Peer) {
			*p = routed(p, Way{UID: 2, MAC: mac, Far: mac, VTEP: there}, Way{UID: 3, MAC: mac, Far: mac})
		}, ""},
		"no router":    {func(p *Peer) { p.Ways = make([]Way, 1) }, "without the gateway"},
		"a way twice":  {func(p *Peer) { *p = routed(p, Way{UID: 2, MAC: mac, Far: mac}, Way{UID: 2, MAC: mac, Far: mac}) }, "two ways to life"},
		"a far way":    {func(p *Peer) { *p = routed(p, Way{UID: 2, MAC: mac, Far: mac, VTEP: six}) }, "do not reach it"},
		"many ways":    {func(p *Peer) { *p = routed(p, make([]Way, WaysMost+1)...) }, "at most 7"},
		"no MAC":       {func(p *Peer) { p.MAC = dove.MAC{} }, "unicast MAC"},
		"half hidden":  {func(p *Peer) { p.VTEP, p.Other = netip.Addr{}, there }, "both VTEPs or none"},
		"other family": {func(p *Peer) { p.VTEP = six }, "do not reach it"},
		"other's":      {func(p *Peer) { p.Other = six }, "do not reach it"},
	} {
		p := Peer{MAC: mac, VTEP: there}
		f.change(&p)
		says(t, "peer: "+name, c.CheckPeer(PeerKey{VNI: 1, Addr: netip.MustParseAddr("10.0.0.2")}, p), f.want)
	}
}

// routed is a peer behind a router, with further ways.
func routed(p *Peer, ways ...Way) Peer {
	return Peer{UID: 1, MAC: p.MAC, VTEP: p.VTEP, Gateway: p.MAC, Far: p.MAC, Ways: ways}
}

func says(t *testing.T, what string, err error, want string) {
	t.Helper()
	if want == "" && err == nil {
		return
	}
	if want == "" || err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%s: %v, want %q", what, err, want)
	}
}
