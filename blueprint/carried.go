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
	for _, g := range b.Groups {
		at := place{path: "groups." + g.Name}
		if g.Stateless {
			refuse(at, fmt.Sprintf("group %q, which is stateless,", g.Name))
		}
	}
	for i, p := range b.Policies {
		path := fmt.Sprintf("policies[%d]", i)
		said := fmt.Sprintf("policy %q", p.Name)
		if p.Log {
			refuse(b.place(item{kind: itemLog, name: p.Name}, path+".log"), "log of "+said)
		}
		if p.Shadow {
			refuse(b.place(item{kind: itemShadow, name: p.Name}, path+".shadow"), "shadow of "+said)
		}
	}
	return f.err()
}
