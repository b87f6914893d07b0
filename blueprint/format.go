package blueprint

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"dove.network/dove"
)

// Format prints b as canonical YAML. Parse reads it back as an equal Blueprint.
func Format(b *Blueprint) []byte {
	var w strings.Builder
	fmt.Fprintf(&w, "apiVersion: %s\nkind: %s\nname: %s\n", APIVersion, Kind, word(b.Name))
	if b.Domain != b.Name {
		fmt.Fprintf(&w, "domain: %s\n", word(b.Domain))
	}
	if b.Tier != Tenant {
		fmt.Fprintf(&w, "tier: %s\n", b.Tier)
	}
	section := func(title string, n int, line func(i int) string) {
		if n > 0 {
			w.WriteString(title + ":\n")
		}
		for i := range n {
			w.WriteString("  " + line(i) + "\n")
		}
	}
	section("networks", len(b.Networks), func(i int) string {
		return word(b.Networks[i].Name) + ": " + b.Networks[i].body()
	})
	section("routers", len(b.Routers), func(i int) string {
		return word(b.Routers[i].Name) + ": " + b.Routers[i].body()
	})
	section("outside", len(b.Outside), func(i int) string {
		return word(b.Outside[i].Name) + ": " + b.Outside[i].body()
	})
	section("groups", len(b.Groups), func(i int) string {
		return word(b.Groups[i].Name) + ": " + b.Groups[i].body()
	})
	section("policies", len(b.Policies), func(i int) string {
		p := b.Policies[i]
		return "- {name: " + word(p.Name) + ", " + b.policyBody(p) + "}"
	})
	return []byte(w.String())
}

// body prints what a network says.
func (n Network) body() string {
	return "{subnets: " + prefixList(n.Subnets) + "}"
}

func prefixList(all []netip.Prefix) string {
	words := make([]string, len(all))
	for i, p := range all {
		words[i] = word(p.String())
	}
	return "[" + strings.Join(words, ", ") + "]"
}

// body prints what an outside says.
func (o Outside) body() string {
	if len(o.Except) == 0 {
		return "{prefixes: " + prefixList(o.Prefixes) + "}"
	}
	return "{prefixes: " + prefixList(o.Prefixes) + ", except: " + prefixList(o.Except) + "}"
}

// body prints what a group says.
func (g Group) body() string {
	var fields []string
	if g.Network != "" {
		fields = append(fields, "network: "+word(g.Network))
	}
	if g.Isolated {
		fields = append(fields, "isolated: true")
	}
	if g.Stateless {
		fields = append(fields, "stateless: true")
	}
	if g.Selector != nil {
		fields = append(fields, "selector: "+g.Selector.String())
	}
	switch {
	case g.Egress == g.Ingress && g.Egress != DefaultNone:
		fields = append(fields, "default: "+g.Egress.String())
	case g.Ingress == DefaultNone && g.Egress != DefaultNone:
		fields = append(fields, "default: {egress: "+g.Egress.String()+"}")
	case g.Egress == DefaultNone && g.Ingress != DefaultNone:
		fields = append(fields, "default: {ingress: "+g.Ingress.String()+"}")
	case g.Egress != g.Ingress:
		fields = append(fields, "default: {egress: "+g.Egress.String()+", ingress: "+g.Ingress.String()+"}")
	}
	return "{" + strings.Join(fields, ", ") + "}"
}

// policyBody prints what a policy of b says, without its name.
func (b *Blueprint) policyBody(p Policy) string {
	fields := []string{"from: " + b.ends(p.From), "to: " + b.ends(p.To)}
	if len(p.Allow) > 0 {
		fields = append(fields, "allow: "+trafficList(p.Allow))
	}
	if len(p.Deny) > 0 {
		fields = append(fields, "deny: "+trafficList(p.Deny))
	}
	if len(p.Pass) > 0 {
		fields = append(fields, "pass: "+trafficList(p.Pass))
	}
	if p.Side != BothSides {
		fields = append(fields, "side: "+p.Side.String())
	}
	if p.Family != BothFamilies {
		fields = append(fields, "family: "+p.Family.String())
	}
	if b.Tier != Tenant {
		fields = append(fields, fmt.Sprintf("priority: %d", p.Priority))
	}
	if p.Log {
		fields = append(fields, "log: true")
	}
	if p.Shadow {
		fields = append(fields, "shadow: true")
	}
	if !p.Until.IsZero() {
		fields = append(fields, `until: "`+p.Until.Format(time.RFC3339)+`"`)
	}
	return strings.Join(fields, ", ")
}

func (b *Blueprint) ends(groups []dove.Group) string {
	names := make([]string, len(groups))
	for i, g := range groups {
		names[i] = word(relative(b.Name, g))
	}
	if len(names) == 1 {
		return names[0]
	}
	return "[" + strings.Join(names, ", ") + "]"
}

func trafficList(list []Traffic) string {
	var words []string
	both := slices.Contains(list, every(dove.ProtocolICMP)) && slices.Contains(list, every(dove.ProtocolICMPv6))
	for _, t := range list {
		switch {
		case both && t == every(dove.ProtocolICMP):
			words = append(words, "icmp")
		case both && t == every(dove.ProtocolICMPv6):
		default:
			words = append(words, t.String())
		}
	}
	return "[" + strings.Join(words, ", ") + "]"
}

// word quotes what YAML readers could take for something other than text.
func word(s string) string {
	switch s {
	case "null", "true", "false", "yes", "no", "on", "off", "y", "n":
		return `"` + s + `"`
	}
	startsAsNumber := s != "" && s[0] >= '0' && s[0] <= '9'
	if strings.Contains(s, ":") || startsAsNumber && !strings.Contains(s, "/") {
		return `"` + s + `"`
	}
	return s
}
