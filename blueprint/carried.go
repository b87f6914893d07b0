package blueprint

import (
	"fmt"

	"dove.network/dove"
)

// Uncarried reports what b says that the language has, and switches do not carry
// yet, with kind Unsupported and the lines of the text.
func Uncarried(b *Blueprint) error {
	var f faults
	refuse := func(at place, what string) {
		f.add(dove.Unsupported, at, what+" is not supported: this version cannot enforce it", "leave it out")
	}
	if b.Tier != Tenant {
		refuse(place{path: "tier"}, "tier "+b.Tier.String())
	}
	for _, o := range b.Outside {
		refuse(place{path: "outside." + o.Name}, fmt.Sprintf("outside %q", o.Name))
	}
	for _, g := range b.Groups {
		at := place{path: "groups." + g.Name}
		if g.Selector != nil {
			refuse(at, fmt.Sprintf("the selector of group %q", g.Name))
		}
		if g.Stateless {
			refuse(at, fmt.Sprintf("group %q, which is stateless,", g.Name))
		}
		if g.Egress != DefaultNone || g.Ingress != DefaultNone {
			refuse(at, fmt.Sprintf("the default of group %q", g.Name))
		}
	}
	for i, p := range b.Policies {
		path := fmt.Sprintf("policies[%d]", i)
		at := b.place(item{kind: itemPolicy, name: p.Name}, path)
		said := fmt.Sprintf("policy %q", p.Name)
		if p.Log {
			refuse(b.place(item{kind: itemLog, name: p.Name}, path+".log"), "log of "+said)
		}
		if p.Shadow {
			refuse(b.place(item{kind: itemShadow, name: p.Name}, path+".shadow"), "shadow of "+said)
		}
		if !p.Until.IsZero() {
			refuse(at, "until of "+said)
		}
		if p.Side != BothSides {
			refuse(at, "side of "+said)
		}
		for _, g := range append(p.From[:len(p.From):len(p.From)], p.To...) {
			if g == Any {
				refuse(at, "any as an end of "+said)
			}
		}
		for _, t := range append(p.Allow[:len(p.Allow):len(p.Allow)], p.Deny...) {
			if t.Port != "" {
				refuse(at, fmt.Sprintf("the port name %q of %s", t.Port, said))
			}
		}
	}
	return f.err()
}
