package scenario

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"dove.network/dove"
)

// follower knows which hosts, endpoints and flows there are after each step, so
// that a step that names another is found when the file is read.
type follower struct {
	hosts     map[dove.HostName]bool // whether it is foreign
	endpoints map[dove.Endpoint]*endpoint
	flows     map[string]flow
	outage    Outage
}

type flow uint8

const (
	unopened flow = iota
	open
	cut
)

type endpoint struct {
	addresses []netip.Addr
	parent    dove.EndpointID // "": it is no sub-port
	*place
}

// place is where an endpoint is; its sub-ports share it.
type place struct {
	host    dove.HostName // "": bound to none
	standby dove.HostName
	plugged bool
}

func newFollower() follower {
	return follower{map[dove.HostName]bool{}, map[dove.Endpoint]*endpoint{}, map[string]flow{}, Outage{}}
}

// addHost returns false if the host is there already.
func (f *follower) addHost(h dove.HostName, foreign bool) bool {
	_, known := f.hosts[h]
	f.hosts[h] = foreign
	return !known
}

// follow makes one step; it says what is wrong with it, or "".
func (f *follower) follow(a Action) string {
	if changes(a) && f.outage.Stopped(Program{}) {
		return "the dpc is stopped, and nobody else takes changes: start dpc"
	}
	if m := f.outage.Follow(a); m != "" {
		return m
	}
	switch a := a.(type) {
	case CreateEndpoint:
		if f.endpoints[a.Endpoint] != nil {
			return fmt.Sprintf("endpoint %s exists already", a.Endpoint)
		}
		e := &endpoint{a.Addresses, a.Parent, &place{host: a.Host, plugged: a.Host != ""}}
		if a.Parent != "" {
			parent := dove.Endpoint{Tenant: a.Endpoint.Tenant, ID: a.Parent}
			if m := f.there(parent); m != "" {
				return m
			}
			e.place = f.endpoints[parent].place
		}
		f.endpoints[a.Endpoint] = e
		if a.Host != "" {
			return f.host(a.Host)
		}
	case SetGroups:
		return f.there(a.Endpoint)
	case Move:
		if m := f.device(a.Endpoint); m != "" {
			return m
		}
		e := f.endpoints[a.Endpoint]
		if e.standby != "" {
			return fmt.Sprintf("endpoint %s moves already: finish that first", a.Endpoint)
		}
		e.host, e.plugged = a.Host, true
		return f.host(a.Host)
	case Prepare:
		if m := cmp.Or(f.device(a.Endpoint), f.plugged(a.Endpoint), f.dswitch(a.Host)); m != "" {
			return m
		}
		e := f.endpoints[a.Endpoint]
		if m := f.dswitch(e.host); m != "" {
			return m
		}
		if e.standby != "" || e.host == a.Host {
			return fmt.Sprintf("endpoint %s has a binding to host %s and moves to %q: finish that, or name another host", a.Endpoint, e.host, e.standby)
		}
		e.standby = a.Host
	case Activate:
		if m := f.moves(a.Endpoint); m != "" {
			return m
		}
		e := f.endpoints[a.Endpoint]
		e.host, e.standby = e.standby, e.host
	case Finish:
		if m := f.moves(a.Endpoint); m != "" {
			return m
		}
		f.endpoints[a.Endpoint].standby = ""
	case Unplug:
		if m := cmp.Or(f.device(a.Endpoint), f.plugged(a.Endpoint)); m != "" {
			return m
		}
		if f.endpoints[a.Endpoint].standby != "" {
			return fmt.Sprintf("endpoint %s moves: finish that first", a.Endpoint)
		}
		f.endpoints[a.Endpoint].plugged = false
	case Plug:
		if m := f.device(a.Endpoint); m != "" {
			return m
		}
		switch e := f.endpoints[a.Endpoint]; {
		case e.plugged:
			return fmt.Sprintf("endpoint %s is plugged in already", a.Endpoint)
		case e.host == "":
			return fmt.Sprintf("endpoint %s is bound to no host: move it to one", a.Endpoint)
		default:
			e.plugged = true
		}
	case Announce:
		return cmp.Or(f.plugged(a.Endpoint), f.behindSwitch(a.Endpoint))
	case DeleteEndpoint:
		if m := f.there(a.Endpoint); m != "" {
			return m
		}
		for name, e := range f.endpoints {
			if name.Tenant == a.Endpoint.Tenant && e.parent == a.Endpoint.ID {
				return fmt.Sprintf("endpoint %s has sub-ports: delete these first", a.Endpoint)
			}
		}
		delete(f.endpoints, a.Endpoint)
	case Expect:
		if a.Outcome == NoAnswer && f.outage.Any() == "" {
			return "nothing is stopped or cut, so somebody answers or says why not: expect deny or no-endpoint"
		}
		if a.Address.IsValid() {
			if a.To != (dove.Endpoint{}) {
				if m := f.plugged(a.To); m != "" {
					return m
				}
			}
			for _, hop := range a.By {
				if m := f.plugged(hop); m != "" {
					return m
				}
			}
			return f.reaches(a.From, []netip.Addr{a.Address}, a.Probe, a.Over)
		}
		return f.joins(a.From, a.To, a.Probe, a.Over)
	case OpenFlow:
		if f.flows[a.Name] != unopened {
			return fmt.Sprintf("flow %s is open already", a.Name)
		}
		f.flows[a.Name] = open
		return f.joins(a.From, a.To, a.Probe, a.Over)
	case ExpectFlow:
		switch state := f.flows[a.Name]; {
		case state == unopened:
			return fmt.Sprintf("there is no flow %s", a.Name)
		case state == cut && a.Passes:
			return fmt.Sprintf("flow %s was blocked before: open another", a.Name)
		case !a.Passes:
			f.flows[a.Name] = cut
		}
	case Forge:
		if m := cmp.Or(f.there(a.From), f.there(a.To), f.behindSwitch(a.From), f.behindSwitch(a.To)); m != "" {
			return m
		}
		return f.joins(a.From, a.To, a.Probe, AnyFamily)
	case ExpectMatrix:
		if o := f.outage.Any(); o != "" {
			return fmt.Sprintf("%s, and the oracle knows nothing of that: start or heal it before the matrix", o)
		}
		foreign := 0
		for _, e := range f.endpoints {
			if e.plugged && f.hosts[e.host] {
				foreign++
			}
		}
		if foreign > 1 {
			return fmt.Sprintf("%d endpoints are on foreign hosts, and nobody enforces the policy between them: expect what is meant of others", foreign)
		}
	case Kill:
		return f.dswitch(a.Program.Host)
	case Stop:
		return f.dswitch(a.Program.Host)
	case Start:
		return f.dswitch(a.Program.Host)
	case Cut:
		return cmp.Or(f.dswitch(a.Link.Host), f.dswitch(a.Link.To))
	case Heal:
		return cmp.Or(f.dswitch(a.Link.Host), f.dswitch(a.Link.To))
	case ApplyBlueprint, DeleteBlueprint, CreateNetwork, Refuse, Pass:
	default:
		panic(fmt.Sprintf("scenario: unknown action %T", a))
	}
	return ""
}

// changes reports whether a step asks the DPC for a change.
func changes(a Action) bool {
	switch a.(type) {
	case ApplyBlueprint, DeleteBlueprint, CreateNetwork, CreateEndpoint, SetGroups, Move, Prepare, Activate, Finish, DeleteEndpoint, Refuse:
		return true
	}
	return false
}

// host checks that there is a host of that name; "" is none.
func (f *follower) host(h dove.HostName) string {
	if _, known := f.hosts[h]; h != "" && !known {
		return fmt.Sprintf("there is no host %s", h)
	}
	return ""
}

// dswitch checks that there is a host of that name with a dSwitch; "" is none.
func (f *follower) dswitch(h dove.HostName) string {
	if f.hosts[h] {
		return fmt.Sprintf("host %s is foreign: no dSwitch runs there", h)
	}
	return f.host(h)
}

// behindSwitch checks that an endpoint is on a host with a dSwitch.
func (f *follower) behindSwitch(e dove.Endpoint) string {
	if at := f.endpoints[e]; at != nil {
		return f.dswitch(at.host)
	}
	return ""
}

func (f *follower) there(e dove.Endpoint) string {
	if f.endpoints[e] == nil {
		return fmt.Sprintf("there is no endpoint %s", e)
	}
	return ""
}

// device checks that there is an endpoint, and that it has a device of its own: a sub-port
// goes nowhere but with its parent.
func (f *follower) device(e dove.Endpoint) string {
	if m := f.there(e); m != "" {
		return m
	}
	if parent := f.endpoints[e].parent; parent != "" {
		return fmt.Sprintf("endpoint %s is a sub-port, and is where %s is: name that", e, parent)
	}
	return ""
}

// moves checks that an endpoint has two bindings.
func (f *follower) moves(e dove.Endpoint) string {
	if m := cmp.Or(f.device(e), f.plugged(e)); m != "" {
		return m
	}
	if f.endpoints[e].standby == "" {
		return fmt.Sprintf("endpoint %s does not move: prepare it on another host", e)
	}
	return ""
}

func (f *follower) plugged(e dove.Endpoint) string {
	if m := f.there(e); m != "" {
		return m
	}
	if !f.endpoints[e].plugged {
		return fmt.Sprintf("endpoint %s is not plugged in", e)
	}
	return ""
}

func (f *follower) joins(from, to dove.Endpoint, p Probe, over Family) string {
	if m := cmp.Or(f.plugged(to), f.plugged(from)); m != "" {
		return m
	}
	if f.hosts[f.endpoints[from].host] && f.hosts[f.endpoints[to].host] {
		return fmt.Sprintf("%s and %s are both on foreign hosts: nobody enforces the policy between them", from, to)
	}
	return f.reaches(from, f.endpoints[to].addresses, p, over)
}

// reaches checks that from has an address of a family that some target has and
// the probe exists in.
func (f *follower) reaches(from dove.Endpoint, targets []netip.Addr, p Probe, over Family) string {
	if m := f.plugged(from); m != "" {
		return m
	}
	for _, a := range f.endpoints[from].addresses {
		if _, _, exists := p.Over(a); exists && over.Has(a) &&
			slices.ContainsFunc(targets, func(b netip.Addr) bool { return a.Is4() == b.Is4() }) {
			return ""
		}
	}
	return fmt.Sprintf("%s cannot be sent: the ends share no address family for it", p)
}

// Has reports whether an address is of the family.
func (f Family) Has(a netip.Addr) bool {
	return f == AnyFamily || (f == IPv4) == a.Unmap().Is4()
}
