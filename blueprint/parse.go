package blueprint

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"dove.network/dove"
)

// item names a part of a document whose place Check may need.
type item struct {
	kind itemKind
	name string // network, router, group or policy
	ref  dove.Group
}

type itemKind uint8

const (
	itemDomain itemKind = iota
	itemNetworks
	itemGroups
	itemNetwork
	itemGroupNetwork
	itemFrom
	itemTo
	itemRouters
	itemRouter
	itemRouterNetwork // ref.Name is the network
	itemPolicy
	itemLog
	itemShadow
)

// The shapes of the document's mappings. The unsupported keys are words of the
// language that this version cannot enforce.
var (
	documentShape = shape{
		what:        "a blueprint",
		known:       []string{"apiVersion", "kind", "name", "domain", "tier", "networks", "routers", "outside", "groups", "policies"},
		unsupported: []string{"services", "parameters"},
		example:     "apiVersion: " + APIVersion + ", kind: " + Kind + ", name: ...",
	}
	networkShape = shape{
		what:        "a network",
		known:       []string{"subnets"},
		unsupported: []string{"labels", "mtu", "router", "shared"},
		example:     `front: {subnets: [10.0.1.0/24, "fd00:0:0:1::/64"]}`,
	}
	groupShape = shape{
		what:        "a group",
		known:       []string{"network", "isolated", "stateless", "selector", "default"},
		unsupported: []string{"through", "rate"},
		example:     "web: {network: front}",
	}
	policyShape = shape{
		what:        "a policy",
		known:       []string{"name", "from", "to", "allow", "deny", "pass", "side", "family", "priority", "log", "shadow", "until"},
		unsupported: []string{"through", "rate", "when"},
		example:     "- {name: web-app, from: web, to: app, allow: [tcp/8080]}",
	}
)

// parser turns nodes into a Blueprint.
type parser struct {
	faults
	b        *Blueprint
	networks map[string]bool // every key under networks, sound or not; nil if the section is not readable
	groups   map[string]bool // likewise
	outside  map[string]bool // likewise
	stored   bool            // it was accepted once
}

// Parse reads one blueprint of the tenant from YAML or JSON. The error is a
// *dove.Error that lists every fault of the document: TooLarge beyond MaxBytes,
// Unsupported if all that is wrong is what this version cannot enforce, else
// Invalid. Names of other documents are left to Check.
func Parse(tenant dove.Tenant, text []byte) (*Blueprint, error) { return read(tenant, text, false) }

// Stored is Parse of a text that was accepted once, perhaps by an earlier version. What is
// refused since then because it may not have been meant still says what it said.
func Stored(tenant dove.Tenant, text []byte) (*Blueprint, error) { return read(tenant, text, true) }

func read(tenant dove.Tenant, text []byte, stored bool) (*Blueprint, error) {
	root, err := load(text)
	if err != nil {
		return nil, err
	}
	p := &parser{b: &Blueprint{Tenant: tenant, places: map[item]place{}}, stored: stored}
	p.document(node{root, ""})
	if err := p.err(); err != nil {
		return nil, err
	}
	p.b.order()
	return p.b, nil
}

func (p *parser) document(root node) {
	keys, ok := p.fields(root, documentShape)
	if !ok {
		return
	}
	p.constant(root, keys, "apiVersion", APIVersion)
	p.constant(root, keys, "kind", Kind)
	if n, ok := keys["name"]; ok {
		p.b.Name, _ = p.name(n, "name")
	} else {
		p.add(dove.Invalid, root.place().at("name"), "name is missing", "write name: and what the blueprint is called")
	}
	p.b.Domain = p.b.Name
	if n, ok := keys["domain"]; ok {
		p.b.Domain, _ = p.name(n, "domain")
		p.b.places[item{kind: itemDomain}] = n.place()
	}
	if n, ok := keys["tier"]; ok {
		p.b.Tier = oneOf(p, n, "tier", Tenant, Provider, Baseline)
	}
	p.readNetworks(keys["networks"])
	p.readRouters(keys["routers"])
	p.readOutside(keys["outside"])
	p.readGroups(keys["groups"])
	p.readPolicies(keys["policies"])
}

// constant checks a key that has one possible value.
func (p *parser) constant(root node, keys map[string]node, key, value string) {
	n, ok := keys[key]
	if !ok {
		p.add(dove.Invalid, root.place().at(key), key+" is missing", fmt.Sprintf("write %s: %s", key, value))
		return
	}
	if s, ok := p.text(n, key); ok && s != value {
		p.add(dove.Invalid, n.place(), fmt.Sprintf("%s is %s", key, quote(s)), fmt.Sprintf("this version reads %s: %s", key, value))
	}
}

func (p *parser) readNetworks(n node) {
	p.networks = map[string]bool{}
	if n.Node == nil {
		return
	}
	p.b.places[item{kind: itemNetworks}] = n.place()
	all, ok := p.mapping(n, "networks", networkShape.example)
	if !ok {
		p.networks = nil
		return
	}
	for _, e := range all {
		p.networks[e.name] = true
		p.name(e.key, "network")
		network := Network{Name: e.name}
		keys, ok := p.fields(e.value, networkShape)
		if list, given := keys["subnets"]; given {
			network.Subnets = p.subnets(list)
		} else if ok {
			p.add(dove.Invalid, e.key.place(), fmt.Sprintf("network %s has no subnets", quote(e.name)), "write "+networkShape.example)
		}
		p.b.Networks = append(p.b.Networks, network)
		p.b.places[item{kind: itemNetwork, name: e.name}] = e.key.place()
	}
}

func (p *parser) readGroups(n node) {
	p.groups = map[string]bool{}
	if n.Node == nil {
		return
	}
	p.b.places[item{kind: itemGroups}] = n.place()
	all, ok := p.mapping(n, "groups", groupShape.example)
	if !ok {
		p.groups = nil
		return
	}
	for _, e := range all {
		p.groups[e.name] = true
		p.name(e.key, "group")
		p.distinct(e.key, e.name)
		group := Group{Name: e.name}
		keys, _ := p.fields(e.value, groupShape)
		if v, given := keys["network"]; given {
			group.Network, _ = p.name(v, "network")
			p.b.places[item{kind: itemGroupNetwork, name: e.name}] = v.place()
		}
		if v, given := keys["isolated"]; given {
			group.Isolated = p.boolean(v, "isolated")
		}
		if v, given := keys["stateless"]; given {
			group.Stateless = p.boolean(v, "stateless")
		}
		if v, given := keys["selector"]; given {
			group.Selector = p.selector(v)
		}
		if v, given := keys["default"]; given {
			group.Egress, group.Ingress = p.defaults(v)
		}
		p.b.Groups = append(p.b.Groups, group)
	}
}

func (p *parser) boolean(n node, what string) bool {
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!bool" {
		return strings.EqualFold(n.Value, "true")
	}
	p.add(dove.Invalid, n.place(), fmt.Sprintf("%s must be true or false, not %s", what, n.sort()), "")
	return false
}

func (p *parser) readPolicies(n node) {
	if n.Node == nil || n.isNull() {
		return
	}
	if n.Kind != yaml.SequenceNode {
		p.add(dove.Invalid, n.place(), "policies must be a list, not "+n.sort(), "write "+policyShape.example)
		return
	}
	lines := map[string]int{}
	for _, e := range items(n) {
		if e.isNull() {
			p.add(dove.Invalid, e.place(), "a policy must be a mapping, not nothing", "write "+policyShape.example)
			continue
		}
		keys, ok := p.fields(e, policyShape)
		if !ok {
			continue
		}
		policy := Policy{}
		if v, given := keys["name"]; !given {
			p.add(dove.Invalid, e.place(), "a policy has no name", "verdicts are explained by it: write name: and what the policy is for")
		} else if name, ok := p.name(v, "policy"); ok {
			if line, twice := lines[name]; twice {
				p.add(dove.Invalid, v.place(), fmt.Sprintf("policy name %q is used twice", name), fmt.Sprintf("it was given in line %d", line))
			} else {
				lines[name] = v.Line
			}
			policy.Name = name
		}
		policy.From = p.ends(e, keys, "from", item{kind: itemFrom, name: policy.Name})
		policy.To = p.ends(e, keys, "to", item{kind: itemTo, name: policy.Name})
		p.readTraffic(e, keys, &policy)
		p.readTerms(e, keys, &policy)
		p.b.places[item{kind: itemPolicy, name: policy.Name}] = e.place()
		p.b.Policies = append(p.b.Policies, policy)
	}
}

// order puts a Blueprint into canonical order.
func (b *Blueprint) order() {
	slices.SortFunc(b.Networks, func(x, y Network) int { return strings.Compare(x.Name, y.Name) })
	slices.SortFunc(b.Routers, compareRouters)
	for _, r := range b.Routers {
		r.order()
	}
	slices.SortFunc(b.Outside, func(x, y Outside) int { return strings.Compare(x.Name, y.Name) })
	for _, o := range b.Outside {
		slices.SortFunc(o.Prefixes, compareSubnets)
		slices.SortFunc(o.Except, compareSubnets)
	}
	slices.SortFunc(b.Groups, func(x, y Group) int { return strings.Compare(x.Name, y.Name) })
	slices.SortFunc(b.Policies, func(x, y Policy) int { return strings.Compare(x.Name, y.Name) })
	for _, n := range b.Networks {
		slices.SortFunc(n.Subnets, compareSubnets)
	}
	for _, p := range b.Policies {
		slices.SortFunc(p.From, dove.Group.Compare)
		slices.SortFunc(p.To, dove.Group.Compare)
		slices.SortFunc(p.Allow, Traffic.Compare)
		slices.SortFunc(p.Deny, Traffic.Compare)
		slices.SortFunc(p.Pass, Traffic.Compare)
	}
}
