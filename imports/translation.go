package imports

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"dove.network/blueprint"
	"dove.network/dove"
)

// Options say where a translation is to go.
type Options struct {
	Tenant dove.Tenant
	Name   string // of the blueprint; where a language needs several, their names begin with it
	Domain string // "": Name
}

// Check reports whether the names can be used.
func (o Options) Check() error {
	for _, name := range []string{string(o.Tenant), o.Name, o.domain()} {
		if err := dove.CheckName(name); err != nil {
			return &dove.Error{Kind: dove.Invalid, Message: err.Error()}
		}
	}
	return nil
}

func (o Options) domain() string {
	if o.Domain == "" {
		return o.Name
	}
	return o.Domain
}

// Translation is what a text comes to.
type Translation struct {
	Documents []Document // in the order in which they should be applied
	Endpoints []Endpoint // in the order of the text
}

// Document is a blueprint as a value, and the text that parses into it.
type Document struct {
	Blueprint *blueprint.Blueprint
	Text      []byte
}

// Endpoint is what the endpoint of a workload must carry, so that the blueprints
// mean it.
type Endpoint struct {
	Name   string // of the workload, in its language
	Groups []dove.Group
	Labels map[string]string
	Ports  map[string]string // "http": "tcp/80"
	Open   bool              // without port security
}

// Draft is a blueprint in the making.
type Draft struct {
	b      *blueprint.Blueprint
	groups map[string]*blueprint.Group
	nets   map[string]blueprint.Outside
	means  map[string]string // content of each name that Digest made
	clash  error
}

// NewDraft begins a blueprint of a tier. Suffix follows the name of the options.
func NewDraft(o Options, suffix string, tier blueprint.Tier) *Draft {
	return &Draft{
		b:      &blueprint.Blueprint{Tenant: o.Tenant, Name: o.Name + suffix, Domain: o.domain(), Tier: tier},
		groups: map[string]*blueprint.Group{}, nets: map[string]blueprint.Outside{}, means: map[string]string{},
	}
}

// Group returns the group of that name, made if it is not there. Its members
// may not talk to each other by themselves.
func (d *Draft) Group(name string) *blueprint.Group {
	if d.groups[name] == nil {
		d.groups[name] = &blueprint.Group{Name: name, Isolated: true}
	}
	return d.groups[name]
}

// Digest is Digested for a group or an outside of the draft. A text may be made so
// that two contents come to one name: then there will be no document.
func (d *Draft) Digest(text, content string) string {
	name := Digested(text, content)
	if before, named := d.means[name]; named && before != content && d.clash == nil {
		d.clash = &dove.Error{Kind: dove.Invalid, Message: fmt.Sprintf("%.200q and %.200q would have one name, %s: import them apart", before, content, name)}
	}
	d.means[name] = content
	return name
}

// Selected returns a group of all that a selector selects. What selects the same
// is one group. The words are for people.
func (d *Draft) Selected(words string, s blueprint.Selector) *blueprint.Group {
	slices.SortFunc(s.Requirements, compareRequirements)
	s.Requirements = slices.CompactFunc(s.Requirements, func(a, b blueprint.Requirement) bool { return compareRequirements(a, b) == 0 })
	g := d.Group(d.Digest(words, s.String()))
	g.Selector = &s
	return g
}

func compareRequirements(a, b blueprint.Requirement) int {
	if c := strings.Compare(a.Key, b.Key); c != 0 {
		return c
	}
	if a.Operator != b.Operator {
		return int(a.Operator) - int(b.Operator)
	}
	return slices.Compare(a.Values, b.Values)
}

// Outside returns the name of a set of addresses. What covers the same is one.
func (d *Draft) Outside(prefixes, except []netip.Prefix) dove.Group {
	words := []string{"net"}
	list := func(all []netip.Prefix) (sorted []netip.Prefix) {
		sorted = slices.Clone(all)
		slices.SortFunc(sorted, func(a, b netip.Prefix) int { return strings.Compare(a.String(), b.String()) })
		sorted = slices.Compact(sorted)
		for _, p := range sorted {
			words = append(words, p.String())
		}
		return sorted
	}
	o := blueprint.Outside{Prefixes: list(prefixes)}
	if len(except) > 0 {
		words = append(words, "except")
		o.Except = list(except)
	}
	said := strings.Join(words, " ")
	o.Name = d.Digest(said, said)
	d.nets[o.Name] = o
	return d.b.GroupOf(o.Name)
}

// Add adds a policy. Ends and traffic may repeat themselves.
func (d *Draft) Add(p blueprint.Policy) {
	ends := func(all []dove.Group) []dove.Group {
		slices.SortFunc(all, dove.Group.Compare)
		return slices.Compact(all)
	}
	traffic := func(all []blueprint.Traffic) []blueprint.Traffic {
		slices.SortFunc(all, blueprint.Traffic.Compare)
		return slices.Compact(all)
	}
	p.From, p.To = ends(p.From), ends(p.To)
	p.Allow, p.Deny, p.Pass = traffic(p.Allow), traffic(p.Deny), traffic(p.Pass)
	d.b.Policies = append(d.b.Policies, p)
}

// Ref is how policies name a group of the draft.
func (d *Draft) Ref(g *blueprint.Group) dove.Group { return d.b.GroupOf(g.Name) }

// Document ends the draft. An error says that the blueprint would be refused.
func (d *Draft) Document() (Document, error) {
	if d.clash != nil {
		return Document{}, d.clash
	}
	for _, name := range slices.Sorted(maps.Keys(d.groups)) {
		d.b.Groups = append(d.b.Groups, *d.groups[name])
	}
	for _, name := range slices.Sorted(maps.Keys(d.nets)) {
		d.b.Outside = append(d.b.Outside, d.nets[name])
	}
	slices.SortFunc(d.b.Policies, func(a, b blueprint.Policy) int { return strings.Compare(a.Name, b.Name) })
	text := blueprint.Format(d.b)
	b, err := blueprint.Parse(d.b.Tenant, text)
	return Document{b, text}, err
}

// Name makes a name of foreign words, each of which may have any characters: they
// are joined by two hyphens, if that is a name that no other words give. Else
// it ends in a digest of them.
func Name(words ...string) string {
	name := strings.Join(words, "--")
	plain := dove.CheckName(name) == nil
	for _, w := range words {
		plain = plain && w != "" && !strings.Contains(w, "--") && w[0] != '-' && w[len(w)-1] != '-'
	}
	if plain {
		return name
	}
	return Digested(name, strings.Join(words, "\x00"))
}

// Digested makes a name that reads like the text, and that by chance no other
// content gives.
func Digested(text, content string) string {
	const most = 40 // bytes of the text that are kept
	var b strings.Builder
	for _, r := range strings.ToLower(text) {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			b.WriteRune(r)
		} else if s := b.String(); s != "" && s[len(s)-1] != '-' {
			b.WriteByte('-')
		}
	}
	digest := sha256.Sum256([]byte(content))
	readable := b.String()
	readable = strings.Trim(readable[:min(len(readable), most)], "-")
	return strings.TrimPrefix(fmt.Sprintf("%s-%s", readable, hex.EncodeToString(digest[:5])), "-")
}
