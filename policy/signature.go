package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"dove.network/dove"
)

// Signature is what addresses of one class have in common. It depends on what
// an endpoint is, never on what policies say of it, so an edited policy leaves
// classes alone.
type Signature struct {
	Groups []dove.Group // sorted, each once
	Open   bool         // port security is off: its own end of a pair allows everything
}

// Signature returns that of an address of an endpoint in the given groups, in
// any order, whose port security is on. No policy of this version mentions
// prefixes, so all addresses of an endpoint are alike.
func (d *Domain) Signature(groups []dove.Group, _ netip.Addr) Signature {
	sorted := slices.SortedFunc(slices.Values(groups), dove.Group.Compare)
	return Signature{Groups: slices.Compact(sorted)}
}

// Empty reports whether the signature is of addresses in no group whose port
// security is on: nothing is allowed to or from them.
func (s Signature) Empty() bool { return len(s.Groups) == 0 && !s.Open }

// The parts of a key that this version knows, separated by a semicolon.
const (
	groupsPart = "groups="
	openPart   = ";open"
)

// Key returns the signature as text for alloc documents and map keys: one key
// for one signature, for example "groups=acme/shop/app,acme/shop/web;open".
func (s Signature) Key() string {
	var b strings.Builder
	b.WriteString(groupsPart)
	for i, g := range s.Groups {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(g.String())
	}
	if s.Open {
		b.WriteString(openPart)
	}
	return b.String()
}

// ParseSignature reads what Key wrote, and nothing else: a part that this
// version does not know would distinguish classes that it cannot tell apart.
func ParseSignature(key string) (Signature, error) {
	groups, known := strings.CutPrefix(key, groupsPart)
	groups, open := strings.CutSuffix(groups, openPart)
	if !known || strings.Contains(groups, ";") {
		return Signature{}, fmt.Errorf("class signature %q: want groups=tenant/blueprint/group,... and perhaps ;open; a newer version may have written it", key)
	}
	s := Signature{Open: open}
	if groups == "" {
		return s, nil
	}
	for text := range strings.SplitSeq(groups, ",") {
		g, err := dove.ParseGroup(text)
		if err != nil {
			return Signature{}, fmt.Errorf("class signature %q: %w", key, err)
		}
		if n := len(s.Groups); n > 0 && s.Groups[n-1].Compare(g) >= 0 {
			return Signature{}, fmt.Errorf("class signature %q: group %s must come before %s, and once", key, g, s.Groups[n-1])
		}
		s.Groups = append(s.Groups, g)
	}
	return s, nil
}
