package world

import (
	"bytes"
	"math"
	"math/bits"
	"net/netip"
	"strings"

	"dove.network/dove"
)

// readEndpoint is read for endpoints, of which there are millions: what Put writes of
// most is read as it stands, everything else as any document.
// It is nil for a deleted one.
func readEndpoint(doc dove.Doc) (*Endpoint, error) {
	if doc.Value == nil {
		return nil, nil
	}
	e := &Endpoint{}
	if plainEndpoint(doc.Value, e) && isEndpointKey(doc.Key, e) {
		return e, nil
	}
	*e = Endpoint{}
	if err := decode(doc, e); err != nil {
		return nil, err
	}
	return e, nil
}

// isEndpointKey reports whether a key is an endpoint's.
func isEndpointKey(key string, e *Endpoint) bool {
	rest, ok := strings.CutPrefix(key, endpointFolder)
	if !ok {
		return false
	}
	rest, ok = strings.CutPrefix(rest, string(e.Tenant)+"/")
	return ok && rest == string(e.ID)
}

// plainEndpoint reads an endpoint that has only fields which most have, in the order and
// the form in which Put writes them. It reports false for all others, whatever they are.
func plainEndpoint(text []byte, e *Endpoint) bool {
	p := plain{rest: text}
	p.must(`{"tenant":`)
	e.Tenant = dove.Tenant(p.text())
	p.must(`,"id":`)
	e.ID = dove.EndpointID(p.text())
	p.must(`,"uid":`)
	e.UID = dove.UID(p.number())
	p.must(`,"network":`)
	e.Network = p.text()
	p.must(`,"mac":`)
	mac, err := dove.ParseMAC(p.text())
	p.bad = p.bad || err != nil
	e.MAC = mac
	p.must(`,"addresses":[`)
	e.Addresses = make([]netip.Addr, 0, 1)
	for text := range p.list() {
		addr, err := netip.ParseAddr(text)
		p.bad = p.bad || err != nil
		e.Addresses = append(e.Addresses, addr)
	}
	if p.may(`,"groups":[`) {
		e.Groups = make([]dove.Group, 0, 1)
		for text := range p.list() {
			g, err := dove.ParseGroup(text)
			p.bad = p.bad || err != nil
			e.Groups = append(e.Groups, g)
		}
	}
	if p.may(`,"host":`) {
		e.Host = dove.HostName(p.text())
	}
	if p.may(`,"epoch":`) {
		e.Epoch = dove.Epoch(p.number())
	}
	if p.may(`,"device":`) {
		e.Device = p.text()
	}
	if p.may(`,"labels":{`) {
		e.Labels = map[string]string{}
		for more := true; more && !p.bad; more = p.may(`,`) {
			key := p.text()
			p.must(`:`)
			e.Labels[key] = p.text()
		}
		p.must(`}`)
	}
	p.must(`}`)
	return !p.bad && len(p.rest) == 0
}

// plain reads JSON as json.Marshal writes it, and knows only what is written without
// escapes.
type plain struct {
	rest []byte
	bad  bool
}

// may reads a word if it comes next.
func (p *plain) may(word string) bool {
	if p.bad || len(p.rest) < len(word) || string(p.rest[:len(word)]) != word {
		return false
	}
	p.rest = p.rest[len(word):]
	return true
}

func (p *plain) must(word string) { p.bad = !p.may(word) || p.bad }

// text reads a string.
func (p *plain) text() string {
	if !p.may(`"`) {
		p.bad = true
		return ""
	}
	end := bytes.IndexByte(p.rest, '"')
	if end < 0 {
		p.bad = true
		return ""
	}
	for _, c := range p.rest[:end] {
		if c < ' ' || c > '~' || c == '\\' {
			p.bad = true
		}
	}
	s := string(p.rest[:end])
	p.rest = p.rest[end+1:]
	return s
}

// list yields the strings of a list that has one at least, whose bracket was read.
func (p *plain) list() func(func(string) bool) {
	return func(yield func(string) bool) {
		for more := true; more && !p.bad; more = p.may(`,`) {
			if s := p.text(); !p.bad && !yield(s) {
				return
			}
		}
		p.must(`]`)
	}
}

// number reads a number that fits 64 bits.
func (p *plain) number() uint64 {
	n, digits := uint64(0), 0
	for digits < len(p.rest) && p.rest[digits] >= '0' && p.rest[digits] <= '9' {
		high, low := bits.Mul64(n, 10)
		digit := uint64(p.rest[digits] - '0')
		p.bad = p.bad || high > 0 || low > math.MaxUint64-digit
		n = low + digit
		digits++
	}
	if digits == 0 || digits > 1 && p.rest[0] == '0' {
		p.bad = true
	}
	p.rest = p.rest[digits:]
	return n
}
