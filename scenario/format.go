package scenario

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"dove.network/dove"
)

// Format prints a scenario, without comments, so that Parse reads it back
// equal but for line numbers.
func Format(s *Scenario) []byte {
	var w strings.Builder
	w.WriteString("scenario " + s.Name + "\nhosts")
	for _, h := range s.Hosts {
		w.WriteString(" " + string(h))
	}
	w.WriteString("\n")
	if len(s.Foreign) > 0 {
		w.WriteString("foreign")
		for _, h := range s.Foreign {
			w.WriteString(" " + string(h))
		}
		w.WriteString("\n")
	}
	for _, step := range s.Steps {
		w.WriteString(step.Action.String() + "\n")
	}
	return []byte(w.String())
}

func (a ApplyBlueprint) String() string {
	text := a.Text
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	end := "END"
	for strings.Contains("\n"+text, "\n"+end+"\n") {
		end += "-END"
	}
	return fmt.Sprintf("blueprint %s <<%s\n%s%s", a.Tenant, end, text, end)
}

func (a DeleteBlueprint) String() string { return fmt.Sprintf("withdraw %s/%s", a.Tenant, a.Name) }

func (a CreateEndpoint) String() string {
	s := "endpoint " + a.Endpoint.String()
	if len(a.Groups) > 0 {
		s += groupsOption(a.Groups)
	}
	if a.Network != "" {
		s += " network=" + a.Network
	}
	if a.Host != "" {
		s += " host=" + string(a.Host)
	}
	if a.Parent != "" {
		s += fmt.Sprintf(" parent=%s vlan=%d", a.Parent, a.VLAN)
	}
	s += " addrs=" + join(a.Addresses, netip.Addr.String)
	if len(a.Allowed) > 0 {
		s += " allow=" + join(a.Allowed, netip.Prefix.String)
	}
	if len(a.Labels) > 0 {
		s += " labels=" + join(slices.Sorted(maps.Keys(a.Labels)), func(key string) string { return key + ":" + a.Labels[key] })
	}
	if len(a.Ports) > 0 {
		s += " ports=" + join(slices.Sorted(maps.Keys(a.Ports)), func(name string) string { return name + ":" + a.Ports[name].String() })
	}
	return s
}

func groupsOption(groups []dove.Group) string {
	return " groups=" + join(groups, func(g dove.Group) string { return g.Blueprint + "/" + g.Name })
}

func join[T any](list []T, text func(T) string) string {
	words := make([]string, len(list))
	for i, e := range list {
		words[i] = text(e)
	}
	return strings.Join(words, ",")
}

func (a SetGroups) String() string {
	return "regroup " + a.Endpoint.String() + groupsOption(a.Groups)
}
func (a Move) String() string           { return fmt.Sprintf("move %s %s", a.Endpoint, a.Host) }
func (a Prepare) String() string        { return fmt.Sprintf("prepare %s on %s", a.Endpoint, a.Host) }
func (a Activate) String() string       { return "activate " + a.Endpoint.String() }
func (a Finish) String() string         { return "finish " + a.Endpoint.String() }
func (a Unplug) String() string         { return "unplug " + a.Endpoint.String() }
func (a Plug) String() string           { return "plug " + a.Endpoint.String() }
func (a Announce) String() string       { return fmt.Sprintf("announce %s %s", a.Endpoint, a.Address) }
func (a DeleteEndpoint) String() string { return "delete " + a.Endpoint.String() }

func (a Refuse) String() string {
	var s strings.Builder
	s.WriteString("refuse " + a.Kind.String())
	for _, f := range a.Fragments {
		s.WriteString(" " + strconv.Quote(f))
	}
	return s.String() + " " + a.Action.String()
}

// String returns what is written behind over=, "" for AnyFamily.
func (f Family) String() string { return [...]string{"", "v4", "v6"}[f] }

func (f Family) option() string {
	if f == AnyFamily {
		return ""
	}
	return " over=" + f.String()
}

func (o Outcome) String() string { return outcomes[o] }

func (a Expect) String() string {
	to, at := a.To.String(), ""
	switch {
	case a.Address.IsValid() && a.To == dove.Endpoint{}:
		to = a.Address.String()
	case a.Address.IsValid():
		at = " at=" + a.Address.String()
	}
	s := fmt.Sprintf("expect %s -> %s %s %s%s", a.From, to, a.Probe, a.Outcome, at)
	if a.Rule != "" {
		s += " rule=" + a.Rule
	}
	if a.Size != 0 {
		s += fmt.Sprintf(" size=%d", a.Size)
	}
	if a.Log != AnyTells {
		s += " log=" + tells[a.Log-1]
	}
	if a.Would != AnyWould {
		s += " would=" + a.Would.String()
	}
	if a.Shadow != "" {
		s += " shadow=" + a.Shadow
	}
	if len(a.By) > 0 {
		s += " by=" + join(a.By, func(e dove.Endpoint) string { return string(e.ID) })
	}
	return s + a.Over.option()
}

// String returns what is written behind would=, "" for AnyWould.
func (w Would) String() string {
	if w == AnyWould {
		return ""
	}
	return woulds[w-1]
}

func (a ExpectMatrix) String() string {
	var s strings.Builder
	s.WriteString("expect matrix")
	for _, p := range a.Probes {
		s.WriteString(" " + p.String())
	}
	return s.String()
}

func (a OpenFlow) String() string {
	return fmt.Sprintf("flow %s %s -> %s %s%s", a.Name, a.From, a.To, a.Probe, a.Over.option())
}

func (a ExpectFlow) String() string {
	switch {
	case a.Back:
		return "expect flow " + a.Name + " answers"
	case a.Passes:
		return "expect flow " + a.Name + " passes"
	}
	return "expect flow " + a.Name + " blocked"
}

func (a Forge) String() string {
	return fmt.Sprintf("forge %s %s -> %s %s drop=%s", a.Lie, a.From, a.To, a.Probe, a.Reason)
}
