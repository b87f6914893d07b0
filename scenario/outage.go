package scenario

import (
	"cmp"
	"fmt"
	"slices"

	"dove.network/dove"
)

// Program is one of DOVE's programs: the dSwitch of a host, or with Host "" the DPC.
type Program struct{ Host dove.HostName }

// Link joins a host and another one in the underlay, or with To "" a host and the DPC.
type Link struct{ Host, To dove.HostName }

// Kill ends a program as a crash does and starts it again at once. The step is
// done when it is in session again, if the DPC is within its reach.
type Kill struct{ Program Program }

// Stop ends a program in order, until a Start. What the host's kernel was told
// stays.
type Stop struct{ Program Program }

// Start runs a stopped program again; it is done as Kill is.
type Start struct{ Program Program }

// Cut breaks a link in both directions, until a Heal.
type Cut struct{ Link Link }

// Heal mends a link that is cut. The step is done when the host enforces what
// it missed.
type Heal struct{ Link Link }

func (Kill) action()  {}
func (Stop) action()  {}
func (Start) action() {}
func (Cut) action()   {}
func (Heal) action()  {}

// dpc is how a scenario names the DPC.
const dpc = "dpc"

func (p Program) String() string {
	if p.Host == "" {
		return dpc
	}
	return "dswitch " + string(p.Host)
}

func (l Link) String() string { return fmt.Sprintf("%s %s", l.Host, cmp.Or(l.To, dpc)) }

func (a Kill) String() string  { return "kill " + a.Program.String() }
func (a Stop) String() string  { return "stop " + a.Program.String() }
func (a Start) String() string { return "start " + a.Program.String() }
func (a Cut) String() string   { return "cut " + a.Link.String() }
func (a Heal) String() string  { return "heal " + a.Link.String() }

// Outage is what is stopped and cut after the steps so far. The zero value is
// none. It has one owner.
type Outage struct {
	stopped []Program
	cut     []Link
}

// Clone returns an Outage that goes its own way.
func (o *Outage) Clone() Outage { return Outage{slices.Clone(o.stopped), slices.Clone(o.cut)} }

// Follow makes a step. It says why that cannot be, or "".
func (o *Outage) Follow(a Action) string {
	switch a := a.(type) {
	case Kill:
		if slices.Contains(o.stopped, a.Program) {
			return fmt.Sprintf("%s is stopped already: start it", a.Program)
		}
	case Stop:
		if slices.Contains(o.stopped, a.Program) {
			return fmt.Sprintf("%s is stopped already", a.Program)
		}
		o.stopped = append(o.stopped, a.Program)
	case Start:
		i := slices.Index(o.stopped, a.Program)
		if i < 0 {
			return fmt.Sprintf("%s is not stopped", a.Program)
		}
		o.stopped = slices.Delete(o.stopped, i, i+1)
	case Cut:
		if o.Apart(a.Link) {
			return fmt.Sprintf("%s is cut already", a.Link)
		}
		o.cut = append(o.cut, a.Link)
	case Heal:
		if !o.Apart(a.Link) {
			return fmt.Sprintf("%s is not cut", a.Link)
		}
		o.cut = slices.DeleteFunc(o.cut, a.Link.same)
	}
	return ""
}

// same reports whether two links join the same two.
func (l Link) same(m Link) bool { return l == m || l.To != "" && l == Link{m.To, m.Host} }

// Apart reports whether a link is cut.
func (o *Outage) Apart(l Link) bool { return slices.ContainsFunc(o.cut, l.same) }

// Stopped reports whether a program is stopped.
func (o *Outage) Stopped(p Program) bool { return slices.Contains(o.stopped, p) }

// Any says what is stopped or cut, "" if nothing is.
func (o *Outage) Any() string {
	switch {
	case len(o.stopped) > 0:
		return o.stopped[0].String() + " is stopped"
	case len(o.cut) > 0:
		return o.cut[0].String() + " is cut"
	}
	return ""
}

// Adrift says why a host cannot hear from the DPC, "" if it can.
func (o *Outage) Adrift(h dove.HostName) string {
	switch {
	case o.Stopped(Program{}):
		return "the dpc is stopped"
	case o.Stopped(Program{h}):
		return fmt.Sprintf("the dswitch of %s is stopped", h)
	case o.Apart(Link{Host: h}):
		return fmt.Sprintf("%s is cut from the dpc", h)
	}
	return ""
}

// Between says why packets between guests of two hosts may not go as the DPC
// means it: a host is adrift, or the link between them is cut. It is "" if
// nothing is wrong.
func (o *Outage) Between(a, b dove.HostName) string {
	for _, h := range []dove.HostName{a, b} {
		if why := o.Adrift(h); h != "" && why != "" {
			return why
		}
	}
	if o.Apart(Link{a, b}) {
		return fmt.Sprintf("%s is cut from %s", a, b)
	}
	return ""
}

// program takes "dpc" or "dswitch HOST".
func (l *line) program() Program {
	switch w := l.next("dpc or dswitch"); w.text {
	case dpc:
		return Program{}
	case "dswitch":
		return Program{dove.HostName(l.name("host"))}
	default:
		l.fault(w, "write dpc or dswitch and a host", "%s is no program", shorten(w.text))
		return Program{}
	}
}

// link takes "HOST dpc" or "HOST HOST".
func (l *line) link() Link {
	link := Link{Host: dove.HostName(l.name("host"))}
	at := word{column: l.end}
	if len(l.words) > 0 {
		at = l.words[0]
	}
	to := dove.HostName(l.name("the other end"))
	switch {
	case link.Host == dpc:
		l.fault(at, "", "the host comes first: write %s dpc", to)
	case link.Host == to:
		l.fault(at, "", "%s has no link to itself", to)
	case to != dpc:
		link.To = to
	}
	return link
}
