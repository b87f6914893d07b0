package policy

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"dove.network/dove"
)

// Member is what an endpoint brings to policy: the groups that it names, its
// labels and named ports, and whether its port security is off.
type Member struct {
	Groups []dove.Group
	Labels map[string]string
	Ports  map[string]dove.Port
	Open   bool
}

// Signature is what addresses of one class have in common. It depends on what
// an endpoint is, never on what policies say of it, so an edited policy leaves
// classes alone, unless it mentions a prefix or a named port that none did.
type Signature struct {
	Groups []dove.Group // that the endpoint names and that select it; sorted, each once
	Prefix netip.Prefix // the longest that policies mention and that covers the address; invalid if none does
	Ports  []NamedPort  // that policies mention, sorted
	Open   bool         // port security is off: its own end of a pair allows everything
}

// NamedPort is a port of an endpoint under the name that policies may use.
type NamedPort struct {
	Name string
	dove.Port
}

func (p NamedPort) compare(o NamedPort) int {
	return cmp.Or(strings.Compare(p.Name, o.Name), cmp.Compare(p.Protocol, o.Protocol), cmp.Compare(p.Number, o.Number))
}

// Signature returns that of an address of an endpoint.
func (d *Domain) Signature(m Member, addr netip.Addr) Signature {
	if !addr.IsValid() {
		return d.SignatureIn(m, netip.Prefix{})
	}
	return d.SignatureIn(m, netip.PrefixFrom(addr, addr.BitLen()))
}

// Mentioned returns the longest prefix that policies mention and that covers an address,
// the invalid one if none does. Members that are alike have one signature at all addresses
// of which it is the same.
func (d *Domain) Mentioned(addr netip.Addr) netip.Prefix {
	if !addr.IsValid() {
		return netip.Prefix{}
	}
	return d.mention.longest(netip.PrefixFrom(addr, addr.BitLen()))
}

// AlikeUntil returns the last address, from one on, up to which Mentioned is the same.
func (d *Domain) AlikeUntil(addr netip.Addr) netip.Addr { return d.mention.until(addr) }

// SignatureIn returns that of the addresses of a prefix which are in no smaller
// one that policies mention (Parts).
func (d *Domain) SignatureIn(m Member, within netip.Prefix) Signature {
	s := Signature{
		Groups: slices.Concat(m.Groups, d.chosen.of(m.Labels)),
		Prefix: d.mention.longest(within),
		Open:   m.Open,
	}
	slices.SortFunc(s.Groups, dove.Group.Compare)
	s.Groups = slices.Compact(s.Groups)
	for name, port := range m.Ports {
		if d.mention.ports[portName{port.Protocol, name}] {
			s.Ports = append(s.Ports, NamedPort{name, port})
		}
	}
	slices.SortFunc(s.Ports, NamedPort.compare)
	return s
}

// The parts of a key that this version knows, each with a semicolon before it
// but the first.
const (
	groupsPart = "groups="
	prefixPart = "prefix="
	portsPart  = "ports="
	openPart   = "open"
)

// Key returns the signature as text for alloc documents and map keys: one key
// for one signature, for example
// "groups=acme/shop/app,acme/shop/web;prefix=10.0.0.0/8;ports=http=tcp/80;open".
func (s Signature) Key() string {
	var b strings.Builder
	b.WriteString(groupsPart)
	for i, g := range s.Groups {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(g.String())
	}
	if s.Prefix.IsValid() {
		b.WriteString(";" + prefixPart + s.Prefix.String())
	}
	for i, p := range s.Ports {
		if i == 0 {
			b.WriteString(";" + portsPart)
		} else {
			b.WriteByte(',')
		}
		b.WriteString(p.Name + "=" + p.Port.String())
	}
	if s.Open {
		b.WriteString(";" + openPart)
	}
	return b.String()
}

// ParseSignature reads what Key wrote, and nothing else: a part that this
// version does not know would distinguish classes that it cannot tell apart.
func ParseSignature(key string) (Signature, error) {
	var s Signature
	fail := func(err error) (Signature, error) {
		return Signature{}, fmt.Errorf("class signature %q: %w", key, err)
	}
	for part := range strings.SplitSeq(key, ";") {
		name, value, _ := strings.Cut(part, "=")
		switch {
		case name+"=" == groupsPart && value != "":
			for text := range strings.SplitSeq(value, ",") {
				g, err := dove.ParseGroup(text)
				if err != nil {
					return fail(err)
				}
				s.Groups = append(s.Groups, g)
			}
		case name+"=" == prefixPart:
			prefix, err := netip.ParsePrefix(value)
			if err != nil {
				return fail(err)
			}
			s.Prefix = prefix
		case name+"=" == portsPart:
			for text := range strings.SplitSeq(value, ",") {
				name, number, _ := strings.Cut(text, "=")
				port, err := dove.ParsePort(number)
				if err != nil {
					return fail(err)
				}
				s.Ports = append(s.Ports, NamedPort{name, port})
			}
		case part == openPart:
			s.Open = true
		}
	}
	canonical := slices.IsSortedFunc(s.Groups, dove.Group.Compare) && len(slices.Compact(slices.Clone(s.Groups))) == len(s.Groups) &&
		slices.IsSortedFunc(s.Ports, NamedPort.compare) && s.Prefix == s.Prefix.Masked()
	if !canonical || s.Key() != key {
		return fail(fmt.Errorf("want groups=tenant/blueprint/group,... in order, and perhaps ;prefix=10.0.0.0/8, ;ports=name=tcp/80,... and ;open; a newer version may have written it"))
	}
	return s, nil
}
