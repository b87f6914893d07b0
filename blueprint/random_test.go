package blueprint

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"dove.network/dove"
	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"
	"pgregory.net/rapid"
)

// names are drawn from names that readers of YAML like to take for something else.
var names = rapid.OneOf(
	rapid.SampledFrom([]string{"null", "true", "no", "on", "y", "1", "007", "1e3", "0x1f", "2026-01-02", "web", "a-b", "inf"}),
	rapid.StringMatching(`[a-z0-9]([a-z0-9-]{0,6}[a-z0-9])?`),
)

func traffics() *rapid.Generator[[]Traffic] {
	one := rapid.Custom(func(t *rapid.T) Traffic {
		p := rapid.SampledFrom([]dove.Protocol{dove.ProtocolAny, dove.ProtocolTCP, dove.ProtocolUDP, dove.ProtocolSCTP, dove.ProtocolICMP, dove.ProtocolICMPv6, 47, 255}).Draw(t, "protocol")
		low := rapid.Uint16Range(1, 65535).Draw(t, "low")
		switch {
		case rapid.Bool().Draw(t, "every"):
		case p.HasPorts():
			if rapid.IntRange(0, 3).Draw(t, "named") == 0 {
				return Traffic{Protocol: p, Port: rapid.SampledFrom([]string{"http", "a", "8080-web", "x-1"}).Draw(t, "port")}
			}
			return Traffic{Protocol: p, First: low, Last: rapid.Uint16Range(low, 65535).Draw(t, "high")}
		case p.IsICMP() && rapid.Bool().Draw(t, "code"):
			return Traffic{Protocol: p, First: low, Last: low}
		case p.IsICMP():
			return Traffic{Protocol: p, First: low &^ 255, Last: low | 255}
		}
		return every(p)
	})
	return rapid.SliceOfNDistinct(one, 0, 4, rapid.ID[Traffic])
}

func blueprints() *rapid.Generator[*Blueprint] {
	return rapid.Custom(func(t *rapid.T) *Blueprint {
		b := &Blueprint{Tenant: "acme", Name: names.Draw(t, "name")}
		b.Domain = rapid.OneOf(rapid.Just(b.Name), names).Draw(t, "domain")
		for i, name := range rapid.SliceOfNDistinct(names, 0, 3, rapid.ID[string]).Draw(t, "networks") {
			n := Network{Name: name, Subnets: []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i)}), rapid.IntRange(16, 30).Draw(t, "bits"))}}
			if rapid.Bool().Draw(t, "v6") {
				n.Subnets = append(n.Subnets, netip.MustParsePrefix(fmt.Sprintf("fd00:%d::/64", i+1)))
			}
			b.Networks = append(b.Networks, n)
		}
		for i, name := range rapid.SliceOfNDistinct(names, 0, 2, rapid.ID[string]).Draw(t, "routers") {
			b.Routers = append(b.Routers, router(t, name, i))
		}
		network := rapid.OneOf(rapid.Just(""), names).Draw(t, "network") // one for all, for policies join them
		groups := []dove.Group{}
		for _, name := range rapid.SliceOfNDistinct(names, 1, 4, rapid.ID[string]).Draw(t, "groups") {
			g := Group{Name: name, Network: network, Isolated: rapid.Bool().Draw(t, "isolated"), Stateless: rapid.Bool().Draw(t, "stateless")}
			if rapid.Bool().Draw(t, "selects") {
				g.Selector = selector(t)
			}
			g.Egress, g.Ingress = Default(rapid.IntRange(0, 2).Draw(t, "egress")), Default(rapid.IntRange(0, 2).Draw(t, "ingress"))
			b.Groups = append(b.Groups, g)
			groups = append(groups, b.GroupOf(name))
		}
		for i, name := range rapid.SliceOfNDistinct(names, 0, 3, rapid.ID[string]).Draw(t, "outside") {
			if slices.ContainsFunc(b.Groups, func(g Group) bool { return g.Name == name }) {
				continue
			}
			o := Outside{Name: name, Prefixes: []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i)}), 16), netip.MustParsePrefix("2001:db8::/32")}}
			for _, bits := range rapid.SliceOfNDistinct(rapid.IntRange(17, 32), 0, 2, rapid.ID[int]).Draw(t, "except") {
				o.Except = append(o.Except, netip.PrefixFrom(o.Prefixes[0].Addr(), bits))
			}
			b.Outside = append(b.Outside, o)
			groups = append(groups, b.GroupOf(name))
		}
		groups = append(groups, Any)
		b.Tier = Tier(rapid.IntRange(0, 2).Draw(t, "tier"))
		for _, name := range rapid.SliceOfNDistinct(names, 0, 3, rapid.ID[string]).Draw(t, "others") {
			if other := (dove.Group{Tenant: "acme", Blueprint: name, Name: "x"}); name != b.Name {
				groups = append(groups, other)
			}
		}
		ends := rapid.SliceOfNDistinct(rapid.SampledFrom(groups), 1, len(groups), rapid.ID[dove.Group])
		for _, name := range rapid.SliceOfNDistinct(names, 0, 4, rapid.ID[string]).Draw(t, "policies") {
			p := Policy{Name: name, From: ends.Draw(t, "from"), To: ends.Draw(t, "to"), Allow: traffics().Draw(t, "allow"), Deny: traffics().Draw(t, "deny")}
			p.Deny = slices.DeleteFunc(p.Deny, func(t Traffic) bool { return slices.Contains(p.Allow, t) })
			if b.Tier == Provider {
				p.Pass = slices.DeleteFunc(traffics().Draw(t, "pass"), func(t Traffic) bool { return slices.Contains(p.Allow, t) || slices.Contains(p.Deny, t) })
			}
			if b.Tier != Tenant {
				p.Priority = rapid.Uint32Range(0, PriorityMax).Draw(t, "priority")
			}
			p.Side = Side(rapid.IntRange(0, 2).Draw(t, "side"))
			p.Log, p.Shadow = rapid.Bool().Draw(t, "log"), rapid.Bool().Draw(t, "shadow")
			if rapid.Bool().Draw(t, "ends") {
				p.Until = time.Unix(rapid.Int64Range(0, 1<<36).Draw(t, "until"), 0).UTC()
			}
			if len(p.Allow)+len(p.Deny)+len(p.Pass) > 0 {
				b.Policies = append(b.Policies, p)
			}
		}
		b.order()
		return b
	})
}

// selector draws one of labels that readers of YAML like to take for something else.
func selector(t *rapid.T) *Selector {
	labels := []string{"app", "k8s.io/a", "yes", "1", "1.5", "Null", "A_b", "x-1/On", "2026-01-02", "inf"}
	s := &Selector{}
	for range rapid.IntRange(0, 4).Draw(t, "requirements") {
		r := Requirement{Key: rapid.SampledFrom(labels).Draw(t, "key"), Operator: Operator(rapid.IntRange(0, 3).Draw(t, "operator"))}
		if r.Operator == In || r.Operator == NotIn {
			for _, v := range rapid.SliceOfNDistinct(rapid.SampledFrom(append(labels, "", "~")), 1, 3, rapid.ID[string]).Draw(t, "values") {
				if CheckLabelValue(v) == nil {
					r.Values = append(r.Values, v)
				}
			}
		}
		slices.Sort(r.Values)
		if len(r.Values) > 0 || r.Operator > NotIn {
			s.Requirements = append(s.Requirements, r)
		}
	}
	slices.SortFunc(s.Requirements, Requirement.compare)
	s.Requirements = slices.CompactFunc(s.Requirements, func(a, b Requirement) bool { return a.compare(b) == 0 })
	return s
}

// router draws one that is sound in itself, on networks that may not exist.
func router(t *rapid.T, name string, i int) Router {
	r := Router{Name: name}
	for _, n := range rapid.SliceOfNDistinct(names, 1, 3, rapid.ID[string]).Draw(t, "joined") {
		f := Interface{Network: n}
		if rapid.Bool().Draw(t, "given") {
			f.Addresses = []netip.Addr{netip.AddrFrom4([4]byte{10, byte(i), 0, rapid.Byte().Draw(t, "address")}), netip.MustParseAddr("fd00::fe")}
		}
		r.Interfaces = append(r.Interfaces, f)
	}
	for _, bits := range rapid.SliceOfNDistinct(rapid.IntRange(0, 32), 0, 3, rapid.ID[int]).Draw(t, "routes") {
		route := Route{To: netip.PrefixFrom(netip.AddrFrom4([4]byte{10}), bits).Masked()}
		for _, last := range rapid.SliceOfNDistinct(rapid.Byte(), 1, ViaMax, rapid.ID[byte]).Draw(t, "via") {
			route.Via = append(route.Via, netip.AddrFrom4([4]byte{10, 0, 0, last}))
		}
		r.Routes = append(r.Routes, route)
	}
	return r
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := blueprints().Draw(t, "blueprint")
		text := Format(b)
		again, err := Parse("acme", text)
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		if !b.Equal(again) {
			t.Fatalf("parsed differently:\n%s%s", text, cmp.Diff(b.parts(), again.parts(), cmp.AllowUnexported(printed{})))
		}
		if changes := Compare(b, again); changes != nil {
			t.Fatalf("equal, but changed: %v", changes)
		}
		allText(t, text)
	})
}

// allText fails if another reader of YAML would take a name for something else.
func allText(t *rapid.T, text []byte) {
	var n yaml.Node
	if err := yaml.Load(text, &n); err != nil {
		t.Fatal(err)
	}
	var walk func(n *yaml.Node)
	walk = func(n *yaml.Node) {
		if n.Kind == yaml.ScalarNode && n.ShortTag() != "!!str" && n.ShortTag() != "!!bool" {
			t.Fatalf("%q reads as %s", n.Value, n.ShortTag())
		}
		for i, c := range n.Content {
			if i == 0 || n.Kind != yaml.MappingNode || n.Content[i-1].Value != "priority" { // the one word that is a number
				walk(c)
			}
		}
	}
	walk(&n)
}

// Two blueprints are equal if and only if nothing changed between them.
func TestCompareAgreesWithEqual(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := blueprints().Draw(t, "a"), blueprints().Draw(t, "b")
		b.Name = a.Name // as versions of one
		if a.Equal(b) != (len(Compare(a, b)) == 0) {
			t.Fatalf("Equal is %t, changes are %v", a.Equal(b), Compare(a, b))
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(shop))
	files, _ := filepath.Glob("testdata/faults/*.txt")
	for _, file := range files {
		for _, s := range sections(f, file) {
			if s.title == "blueprint" {
				f.Add([]byte(s.text))
			}
		}
	}
	f.Add([]byte("{\"apiVersion\": \"dove/v1\", \"kind\": \"Blueprint\", \"name\": \"a\"}"))
	f.Fuzz(func(t *testing.T, text []byte) {
		b, err := Parse("acme", text)
		if err != nil {
			if k := dove.KindOf(err); k != dove.Invalid && k != dove.Unsupported && k != dove.TooLarge {
				t.Fatalf("kind %v: %v", k, err)
			}
			return
		}
		if err := conforms(text); err != nil {
			t.Fatalf("the schema refuses it: %v", err)
		}
		again, err := Parse("acme", Format(b))
		if err != nil {
			t.Fatalf("%v\n%s", err, Format(b))
		}
		if !b.Equal(again) {
			t.Fatalf("parsed differently: %v\n%s", Compare(b, again), Format(b))
		}
		_ = Check(b, Context{Blueprints: []*Blueprint{again}})
	})
}
