package dove

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// Tenant names who owns blueprints and endpoints.
type Tenant string

// HostName names a machine with a dSwitch.
type HostName string

// EndpointID is the client-given or generated id of an endpoint, unique within its tenant.
type EndpointID string

// Domain names what is owned and classified together: a tenant's whole intent.
// Class ids are unique within a domain.
type Domain struct {
	Tenant Tenant
	Name   string
}

// Router names a router within its tenant.
type Router struct {
	Tenant Tenant
	Name   string
}

// Network names a segment within its tenant.
type Network struct {
	Tenant Tenant
	Name   string
}

// Group names a set of endpoints that mean the same thing. Blueprint is the
// blueprint that declares it; a tenant writes "web" for a group of the same
// blueprint and "other/web" for one of another blueprint in the domain.
type Group struct {
	Tenant    Tenant
	Blueprint string
	Name      string
}

// Endpoint names an endpoint within the whole system.
type Endpoint struct {
	Tenant Tenant
	ID     EndpointID
}

func (d Domain) String() string   { return string(d.Tenant) + "/" + d.Name }
func (n Network) String() string  { return string(n.Tenant) + "/" + n.Name }
func (r Router) String() string   { return string(r.Tenant) + "/" + r.Name }
func (g Group) String() string    { return string(g.Tenant) + "/" + g.Blueprint + "/" + g.Name }
func (e Endpoint) String() string { return string(e.Tenant) + "/" + string(e.ID) }

// Compare orders groups by tenant, blueprint and name.
func (g Group) Compare(o Group) int {
	if c := strings.Compare(string(g.Tenant), string(o.Tenant)); c != 0 {
		return c
	}
	if c := strings.Compare(g.Blueprint, o.Blueprint); c != 0 {
		return c
	}
	return strings.Compare(g.Name, o.Name)
}

// MarshalText prints the group for JSON and YAML as "tenant/blueprint/name".
func (g Group) MarshalText() ([]byte, error) { return []byte(g.String()), nil }

// UnmarshalText reads what MarshalText prints.
func (g *Group) UnmarshalText(b []byte) error {
	v, err := ParseGroup(string(b))
	*g = v
	return err
}

// ParseGroup reads "tenant/blueprint/name".
func ParseGroup(s string) (Group, error) {
	parts := strings.Split(s, "/")
	if len(parts) != 3 {
		return Group{}, fmt.Errorf("group %q is not of the form tenant/blueprint/group", s)
	}
	for _, p := range parts {
		if err := CheckName(p); err != nil {
			return Group{}, fmt.Errorf("group %q: %w", s, err)
		}
	}
	return Group{Tenant(parts[0]), parts[1], parts[2]}, nil
}

// NameMax is the longest name in bytes (RFC 1123 label).
const NameMax = 63

// CheckName reports whether s may name a tenant, domain, network, group,
// policy, host, blueprint or endpoint: 1 to 63 of a-z, 0-9, '-', starting and
// ending with a letter or digit (RFC 1123 label, lower case).
func CheckName(s string) error {
	switch {
	case s == "":
		return errors.New("a name must not be empty")
	case len(s) > NameMax:
		return fmt.Errorf("name %q... is %d bytes long, at most %d are allowed", s[:16], len(s), NameMax)
	}
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9':
		case c == '-' && i > 0 && i < len(s)-1:
		default:
			return fmt.Errorf("name %q: use lower-case letters, digits and inner hyphens", s)
		}
	}
	return nil
}

// CheckAddress reports why text is no address under which others reach a program, as
// dpc1.example:7443 or 192.0.2.9:7443. With listens it may be one to listen at: without
// host, of every device, or with the port 0.
func CheckAddress(text string, listens bool) error {
	host, port, err := net.SplitHostPort(text)
	n, bad := strconv.ParseUint(port, 10, 16)
	addr, _ := netip.ParseAddr(host)
	switch {
	case err != nil || bad != nil || !listens && (host == "" || n == 0):
		return fmt.Errorf("%q is not of the form host:port", text)
	case !listens && addr.IsUnspecified():
		return fmt.Errorf("%q is where to listen: nobody reaches %s", text, host)
	}
	return nil
}
