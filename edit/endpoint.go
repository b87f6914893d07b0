package edit

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"dove.network/blueprint"
	"dove.network/dove"
	"dove.network/world"
)

// Limits of one endpoint.
const (
	AddressesMax = 16
	AllowedMax   = 16
	GroupsMax    = 16
	PortsMax     = 16 // names of ports
	deviceMax    = 15 // IFNAMSIZ less the end
)

// EndpointRequest asks for an endpoint as it should be. Of an existing one the
// fields that are "" or nil stay, except Groups, which are always given whole.
type EndpointRequest struct {
	Tenant    dove.Tenant
	ID        dove.EndpointID
	Network   string   // "": the default of its groups
	Groups    []string // "blueprint/group"
	Addresses []string // nil: the lowest free one of each family
	MAC       string   // "": made from the UID
	Host      dove.HostName
	Device    string // "": either default name

	// Parent is the endpoint by whose device its frames come, under the tag VLAN: it
	// is a sub-port of it, for life. "" and 0: as it is, or none.
	Parent dove.EndpointID
	VLAN   uint16

	Allowed      []AllowedRequest // nil: as they are, or none
	PortSecurity *bool            // nil: as it is, or on

	Labels map[string]string // nil: as they are, or none
	Ports  map[string]string // names and ports, "tcp/80"; nil: as they are, or none
}

// AllowedRequest asks for what an endpoint may send from beside its addresses.
type AllowedRequest struct {
	Prefix string // or an address
	MAC    string // "": its own
}

// Chance is what a decision needs and cannot make up.
type Chance struct {
	UID dove.UID  // of a new endpoint, drawn at random
	Now time.Time // nothing is decided by it but how long freed ids rested
}

// PutEndpoint makes an endpoint or changes its groups, addresses, MAC, device
// or host. The network stays for life.
func PutEndpoint(w *world.World, r EndpointRequest, chance Chance, ifMatch *dove.Revision) (dove.Txn, world.Endpoint, error) {
	name := dove.Endpoint{Tenant: r.Tenant, ID: r.ID}
	none := func(err error) (dove.Txn, world.Endpoint, error) { return dove.Txn{}, world.Endpoint{}, err }
	if _, exists := w.Tenant(r.Tenant); !exists {
		return none(missingTenant(r.Tenant))
	}
	if err := match(w, fmt.Sprintf("endpoint %q", name), world.EndpointKey(name), ifMatch); err != nil {
		return none(err)
	}
	s := seat{w: w, request: r, c: begin(w)}
	s.old, s.exists = w.Endpoint(name)
	s.doc = world.Endpoint{Tenant: r.Tenant, ID: r.ID, UID: s.old.UID, MAC: s.old.MAC, Host: s.old.Host, Standby: s.old.Standby, Activated: s.old.Activated, Epoch: s.old.Epoch, Device: s.old.Device, Open: s.old.Open}
	if !s.exists {
		checkName(&s.problems, "id", string(r.ID))
		s.doc.UID = chance.UID
	}
	s.groups()
	if s.network() {
		s.domains()
		s.addresses()
		s.mac()
		s.allowed()
	}
	if r.PortSecurity != nil {
		s.doc.Open = !*r.PortSecurity
	}
	s.labels()
	s.ports()
	s.trunk()
	if s.doc.Parent == "" {
		s.device()
		s.bind(r.Host)
	}
	s.bound()
	s.settled()
	s.along()
	if err := s.problems.err(fmt.Sprintf("endpoint %q", name)); err != nil {
		return none(err)
	}
	if s.exists && same(s.old, s.doc) {
		return dove.Txn{}, s.old, nil
	}
	s.c.read(world.TenantKey(r.Tenant))
	s.c.put(s.doc)
	if err := s.classes(); err != nil {
		return none(err)
	}
	txn, err := s.c.done()
	return txn, s.doc, err
}

// seat is an endpoint in the making.
type seat struct {
	w        *world.World
	request  EndpointRequest
	old, doc world.Endpoint
	with     []world.Endpoint // that have got the same bindings before it, of one trunk
	exists   bool
	on       world.Network
	problems problems
	c        *change
}

// groups resolves the names of the groups.
func (s *seat) groups() {
	if n := len(s.request.Groups); n > GroupsMax {
		s.problems.add(dove.Invalid, "groups", "", "%d groups are more than an endpoint may be in, %d", n, GroupsMax)
		return
	}
	for i, text := range s.request.Groups {
		path := fmt.Sprintf("groups[%d]", i)
		name, group, ok := strings.Cut(text, "/")
		if !ok {
			s.problems.add(dove.Invalid, path, "write blueprint/group", "group %q does not say of which blueprint", text)
			continue
		}
		b := s.w.Parsed(s.request.Tenant, name)
		if b == nil {
			s.problems.add(dove.Invalid, path, "", "group %q: unknown blueprint %q", text, name)
			continue
		}
		g := b.GroupOf(group)
		declared := false
		for _, d := range b.Groups {
			declared = declared || d.Name == group
		}
		if !declared {
			hint := "it has no groups"
			if names, more := some(slices.Values(b.Groups), func(g blueprint.Group) string { return g.Name }); names != "" {
				hint = "it has " + names + more
			}
			s.problems.add(dove.Invalid, path, hint, "unknown group %q in blueprint %q", group, name)
			continue
		}
		s.c.read(world.BlueprintKey(s.request.Tenant, name))
		s.doc.Groups = append(s.doc.Groups, g)
	}
	slices.SortFunc(s.doc.Groups, dove.Group.Compare)
	s.doc.Groups = slices.Compact(s.doc.Groups)
}

// network finds the network, by name or as the one default of all groups.
func (s *seat) network() bool {
	name := s.request.Network
	switch {
	case s.exists && name != "" && name != s.old.Network:
		s.problems.add(dove.Conflict, "network", "delete it and make it again", "endpoint %q is on network %q for life", s.doc.Full(), s.old.Network)
		return false
	case s.exists:
		name = s.old.Network
	case name == "":
		var defaults []string
		for _, g := range s.doc.Groups {
			for _, d := range s.w.Parsed(g.Tenant, g.Blueprint).Groups {
				if d.Name == g.Name && d.Network != "" {
					defaults = append(defaults, d.Network)
				}
			}
		}
		slices.Sort(defaults)
		defaults = slices.Compact(defaults)
		switch len(defaults) {
		case 0:
			if len(s.problems.faults) == 0 {
				s.problems.add(dove.Invalid, "network", "name one, or a group that has a default", "the endpoint has no network")
			}
			return false
		case 1:
			name = defaults[0]
		default:
			s.problems.add(dove.Invalid, "network", "name one of them", "the groups have different networks: %s", strings.Join(defaults, ", "))
			return false
		}
	}
	var exists bool
	if s.on, exists = s.w.Network(dove.Network{Tenant: s.request.Tenant, Name: name}); !exists {
		s.problems.unknownNetwork(s.w, s.request.Tenant, "network", name)
		return false
	}
	s.doc.Network = name
	s.c.read(s.on.Key())
	return true
}

// domains checks that all groups are of the network's domain.
func (s *seat) domains() {
	for _, g := range s.doc.Groups {
		if d := s.w.Parsed(g.Tenant, g.Blueprint).Domain; d != s.on.Domain {
			s.problems.add(dove.Conflict, "groups", "use groups and networks of one domain", "group %s/%s is of domain %q, network %q of %q", g.Blueprint, g.Name, d, s.on.Name, s.on.Domain)
		}
	}
}

// labels checks those that were given, or keeps the old ones.
func (s *seat) labels() {
	given := s.request.Labels
	if given == nil {
		s.doc.Labels = s.old.Labels
		return
	}
	if n := len(given); n > blueprint.LabelsMax {
		s.problems.add(dove.Invalid, "labels", "", "%d labels are more than an endpoint may have, %d", n, blueprint.LabelsMax)
	}
	for _, key := range slices.Sorted(maps.Keys(given)) {
		if err := blueprint.CheckLabel(key, given[key]); err != nil {
			s.problems.add(dove.Invalid, "labels."+key, "", "%v", err)
		}
	}
	if len(given) > 0 {
		s.doc.Labels = maps.Clone(given)
	}
}

// ports checks the named ports that were given, or keeps the old ones.
func (s *seat) ports() {
	given := s.request.Ports
	if given == nil {
		s.doc.Ports = s.old.Ports
		return
	}
	if n := len(given); n > PortsMax {
		s.problems.add(dove.Invalid, "ports", "", "%d names of ports are more than an endpoint may have, %d", n, PortsMax)
	}
	ports := map[string]dove.Port{}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		if err := blueprint.CheckPortName(name); err != nil {
			s.problems.add(dove.Invalid, "ports."+name, "", "%v", err)
		}
		port, err := dove.ParsePort(given[name])
		if err != nil {
			s.problems.add(dove.Invalid, "ports."+name, "", "%v", err)
		}
		ports[name] = port
	}
	if len(ports) > 0 {
		s.doc.Ports = ports
	}
}

func (s *seat) device() {
	name := s.request.Device
	if name == "" {
		return
	}
	bad := func(r rune) bool { return r <= ' ' || r > '~' || r == '/' || r == ':' }
	if len(name) > deviceMax || name == "." || name == ".." || strings.ContainsFunc(name, bad) {
		s.problems.add(dove.Invalid, "device", fmt.Sprintf("at most %d visible characters, no slash or colon", deviceMax), "%q cannot name a device", name)
		return
	}
	s.doc.Device = name
}

// classes decides the class ids that the endpoint needs and has no use for yet,
// and makes the choice of its addresses, MAC and groups the only one.
func (s *seat) classes() error {
	anywhere := func(e world.Endpoint) world.Endpoint {
		e.Host, e.Standby, e.Activated, e.Epoch, e.Device = "", "", false, 0, ""
		return e
	}
	if s.exists && same(anywhere(s.old), anywhere(s.doc)) {
		return nil
	}
	domain := s.on.DomainOf()
	return s.c.allocate(domain, slices.Sorted(maps.Keys(s.doc.Signatures(s.w.Domain(domain)))))
}
