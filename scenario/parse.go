package scenario

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"dove.network/blueprint"
	"dove.network/dove"
)

// MaxBytes is the longest text of a scenario.
const MaxBytes = 1 << 20

// parser reads lines in order and follows the world that they describe.
type parser struct {
	s      *Scenario
	lines  []string // not read yet
	number int      // of the last line read
	world  follower
	faults []dove.Fault
	more   int
}

// Parse reads one scenario. The error is a *dove.Error of kind Invalid (TooLarge
// beyond MaxBytes) with all faults.
func Parse(text []byte) (*Scenario, error) {
	if len(text) > MaxBytes {
		return nil, dove.Errorf(dove.TooLarge, "the scenario is %d bytes long, at most %d are allowed", len(text), MaxBytes)
	}
	p := &parser{s: &Scenario{}, world: newFollower()}
	p.lines = strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	for {
		words, ok := p.line()
		if !ok {
			break
		}
		p.step(words)
	}
	if p.s.Name == "" {
		p.fault(1, 1, "begin with: scenario what it shows", "the scenario has no name")
	}
	if len(p.s.Hosts) == 0 {
		p.fault(1, 1, "write: hosts h1 h2", "the scenario has no hosts")
	}
	return p.s, p.err()
}

func (p *parser) fault(number, column int, hint, format string, args ...any) {
	if len(p.faults) == MaxFaults {
		p.more++
		return
	}
	p.faults = append(p.faults, dove.Fault{Line: number, Column: column, Message: fmt.Sprintf(format, args...), Hint: hint})
}

// err returns all faults as one error, or nil. A faulty scenario is no scenario.
func (p *parser) err() error {
	if len(p.faults) == 0 {
		return nil
	}
	slices.SortStableFunc(p.faults, func(a, b dove.Fault) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	p.s = nil
	return dove.Refusal(dove.Invalid, "the scenario is not valid", p.faults, p.more)
}

// raw takes the next line as it is.
func (p *parser) raw() (string, bool) {
	if len(p.lines) == 0 {
		return "", false
	}
	text := strings.TrimRight(p.lines[0], "\r")
	p.lines, p.number = p.lines[1:], p.number+1
	return text, true
}

// line takes the next line that has words.
func (p *parser) line() (*line, bool) {
	for {
		text, ok := p.raw()
		if !ok {
			return nil, false
		}
		if i := strings.IndexFunc(text, func(r rune) bool { return unicode.IsControl(r) && r != '\t' }); i >= 0 {
			p.fault(p.number, i+1, "write text", "a control character: %q", []rune(text[i:])[0])
			continue
		}
		if title, ok := strings.CutPrefix(text, "scenario "); ok { // up to the end, whatever it says
			words := []word{{text: "scenario", column: 1}}
			if title = strings.TrimSpace(title); title != "" {
				words = append(words, word{text: title, column: len("scenario ") + 1})
			}
			return &line{p: p, number: p.number, end: len(text) + 1, words: words}, true
		}
		words, err := split(text)
		if err != nil {
			p.fault(p.number, 0, "", "%v", err)
			continue
		}
		if len(words) > 0 {
			return &line{p: p, number: p.number, end: len(text) + 1, words: words}, true
		}
	}
}

// step reads one line.
func (p *parser) step(l *line) {
	verb := l.next("a step")
	switch verb.text {
	case "scenario":
		if p.s.Name != "" {
			l.fault(verb, "one file is one scenario", "a second scenario begins here")
		}
		p.s.Name = l.next("what the scenario shows").text
	case "hosts":
		if len(p.s.Steps) > 0 || len(p.s.Hosts) > 0 {
			l.fault(verb, "all hosts are in one line before the first step", "hosts are already given")
		}
		p.s.Hosts = p.hosts(l, false)
	case "foreign":
		if len(p.s.Steps) > 0 || len(p.s.Foreign) > 0 {
			l.fault(verb, "all foreign hosts are in one line before the first step", "foreign hosts are already given, or steps")
		}
		p.s.Foreign = p.hosts(l, true)
	default:
		a := p.action(l, verb)
		if l.done(); l.bad {
			return
		}
		if message := p.world.follow(a); message != "" {
			l.fault(verb, "", "%s", message)
		}
		p.s.Steps = append(p.s.Steps, Step{l.number, a})
	}
}

// hosts reads the names of hosts.
func (p *parser) hosts(l *line, foreign bool) (all []dove.HostName) {
	for len(l.words) > 0 {
		at := l.words[0]
		h := dove.HostName(l.name("host"))
		if h == dpc {
			l.fault(at, "", "dpc is the controller: give the host another name")
		}
		if !p.world.addHost(h, foreign) {
			l.fault(at, "", "host %q is named twice", h)
		}
		all = append(all, h)
	}
	return all
}

// action reads what follows a verb.
func (p *parser) action(l *line, verb word) Action {
	switch verb.text {
	case "blueprint":
		return ApplyBlueprint{Tenant: dove.Tenant(l.name("tenant")), Text: p.here(l)}
	case "withdraw":
		e := l.endpoint("blueprint") // the same form
		return DeleteBlueprint{e.Tenant, string(e.ID)}
	case "network":
		return l.createNetwork()
	case "endpoint":
		return p.createEndpoint(l)
	case "regroup":
		o := l.options("groups")
		e := l.endpoint("endpoint")
		return SetGroups{e, l.groups(e.Tenant, o)}
	case "move":
		return Move{l.endpoint("endpoint"), dove.HostName(l.name("host"))}
	case "prepare":
		e := l.endpoint("endpoint")
		if w := l.next("on"); w.text != "on" {
			l.fault(w, "write prepare tenant/endpoint on host", "%s stands where on should", shorten(w.text))
		}
		return Prepare{e, dove.HostName(l.name("host"))}
	case "activate":
		return Activate{l.endpoint("endpoint")}
	case "finish":
		return Finish{l.endpoint("endpoint")}
	case "unplug":
		return Unplug{l.endpoint("endpoint")}
	case "plug":
		return Plug{l.endpoint("endpoint")}
	case "announce":
		a := Announce{Endpoint: l.endpoint("endpoint")}
		a.Address = l.address(l.next("an address"))
		return a
	case "delete":
		return DeleteEndpoint{l.endpoint("endpoint")}
	case "pass":
		return l.pass()
	case "kill":
		return Kill{l.program()}
	case "stop":
		return Stop{l.program()}
	case "start":
		return Start{l.program()}
	case "cut":
		return Cut{l.link()}
	case "heal":
		return Heal{l.link()}
	case "refuse":
		return p.refuse(l)
	case "flow":
		o := l.options("over")
		f := OpenFlow{Name: l.name("flow"), Over: l.over(o)}
		f.From, f.To = l.ends()
		f.Probe = l.probe()
		return f
	case "forge":
		return p.forge(l)
	case "expect":
		return p.expect(l)
	}
	if n := len(l.words); n > 0 && strings.HasPrefix(l.words[n-1].text, "<<") {
		l.words = l.words[n-1:]
		p.here(l) // its text is no step
	}
	l.fault(verb, "known are blueprint, withdraw, network, endpoint, regroup, move, prepare, activate, finish, unplug, plug, announce, delete, pass, kill, stop, start, cut, heal, refuse, flow, forge, expect",
		"unknown step %s", shorten(verb.text))
	return nil
}

// here takes <<WORD and the lines up to WORD.
func (p *parser) here(l *line) string {
	w := l.next("<<END")
	end, ok := strings.CutPrefix(w.text, "<<")
	if !ok || end == "" {
		l.fault(w, "write <<END, then the text, then END on a line of its own", "%s stands where <<END should", shorten(w.text))
		return ""
	}
	var text strings.Builder
	for {
		line, ok := p.raw()
		if !ok {
			l.fault(w, "", "the text that begins here has no %s at its end", end)
			return ""
		}
		if line == end {
			return text.String()
		}
		text.WriteString(line + "\n")
	}
}

func (p *parser) createEndpoint(l *line) Action {
	o := l.options("groups", "network", "host", "parent", "vlan", "addrs", "allow", "labels", "ports")
	c := CreateEndpoint{Endpoint: l.endpoint("endpoint"), Network: o["network"].text, Host: dove.HostName(o["host"].text), Parent: dove.EndpointID(o["parent"].text)}
	for _, key := range []string{"network", "host", "parent"} {
		if w, given := o[key]; given {
			if err := dove.CheckName(w.text); err != nil {
				l.fault(w, "", "%s: %v", key, err)
			}
		}
	}
	c.VLAN = l.vlan(o)
	if _, given := o["groups"]; given {
		c.Groups = l.groups(c.Endpoint.Tenant, o)
	}
	if len(c.Groups) == 0 && c.Network == "" {
		l.fault(word{column: l.end}, "write groups=blueprint/group or network=name", "the endpoint has no network")
	}
	if allow, given := o["allow"]; given {
		for s := range strings.SplitSeq(allow.text, ",") {
			p, err := netip.ParsePrefix(s)
			switch {
			case err != nil || p.Addr().Is4In6():
				l.fault(allow, "write allow=10.0.1.100/32,10.9.0.0/16", "%s is no prefix", shorten(s))
			case slices.Contains(c.Allowed, p):
				l.fault(allow, "", "prefix %s is given twice", p)
			}
			c.Allowed = append(c.Allowed, p)
		}
	}
	for key, value := range l.pairs(o, "labels", "labels=app:web,tier:a") {
		if err := blueprint.CheckLabel(key, value); err != nil {
			l.fault(o["labels"], "", "%v", err)
		}
		if c.Labels == nil {
			c.Labels = map[string]string{}
		}
		c.Labels[key] = value
	}
	for name, value := range l.pairs(o, "ports", "ports=http:tcp/80,dns:udp/53") {
		port, err := dove.ParsePort(value)
		if err := errors.Join(blueprint.CheckPortName(name), err); err != nil {
			l.fault(o["ports"], "", "%v", err)
		}
		if c.Ports == nil {
			c.Ports = map[string]dove.Port{}
		}
		c.Ports[name] = port
	}
	addrs, given := o["addrs"]
	if !given {
		l.fault(word{column: l.end}, "write addrs=10.0.1.11,fd00::11", "the endpoint has no addresses")
		return c
	}
	for s := range strings.SplitSeq(addrs.text, ",") {
		a, err := netip.ParseAddr(s)
		switch {
		case err != nil || a.Zone() != "" || a.Is4In6():
			l.fault(addrs, "", "%s is no address", shorten(s))
		case slices.Contains(c.Addresses, a):
			l.fault(addrs, "", "address %s is given twice", a)
		}
		c.Addresses = append(c.Addresses, a)
	}
	return c
}

// vlan reads the tag of a sub-port, 0 of none.
func (l *line) vlan(options map[string]word) uint16 {
	tag, tagged := options["vlan"]
	parent, sub := options["parent"]
	host, bound := options["host"]
	switch {
	case sub && bound:
		l.fault(host, "leave it out", "a sub-port is where its parent is")
	case sub && !tagged:
		l.fault(parent, "write parent=web-1 vlan=7", "a sub-port has a tag")
	case tagged && !sub:
		l.fault(tag, "write parent=web-1 vlan=7", "a tag is of a sub-port")
	case !tagged:
		return 0
	}
	n, err := strconv.ParseUint(tag.text, 10, 16)
	if err != nil || n == 0 || n > dove.VLANMax {
		l.fault(tag, "write vlan=7", "%s is no tag: 1 to %d are", shorten(tag.text), dove.VLANMax)
	}
	return uint16(n)
}

// pairs yields what an option says of keys: key:value,key:value.
func (l *line) pairs(options map[string]word, option, example string) iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		w, given := options[option]
		if !given {
			return
		}
		seen := map[string]bool{}
		for s := range strings.SplitSeq(w.text, ",") {
			key, value, ok := strings.Cut(s, ":")
			switch {
			case !ok:
				l.fault(w, "write "+example, "%s says nothing of a key", shorten(s))
			case seen[key]:
				l.fault(w, "", "%s is given twice", shorten(key))
			case !yield(key, value):
				return
			}
			seen[key] = true
		}
	}
}

// groups reads groups=blueprint/group,... of the tenant; groups= alone is none.
func (l *line) groups(tenant dove.Tenant, options map[string]word) []dove.Group {
	w, given := options["groups"]
	if !given {
		l.fault(word{column: l.end}, "write groups=blueprint/group", "groups are missing")
	}
	if w.text == "" {
		return nil
	}
	var groups []dove.Group
	for s := range strings.SplitSeq(w.text, ",") {
		g, err := dove.ParseGroup(string(tenant) + "/" + s)
		if err != nil {
			l.fault(w, "write blueprint/group", "group %s: %v", shorten(s), err)
		}
		if slices.Contains(groups, g) {
			l.fault(w, "", "group %s is named twice", s)
		}
		groups = append(groups, g)
	}
	return groups
}
