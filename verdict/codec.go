package verdict

import (
	"encoding/binary"
	"errors"
	"fmt"

	"dove.network/dove"
)

// The encoding, in bytes and minimal unsigned varints:
//
//	format (1), flags, names: count, then length and bytes of each,
//	default verdict, sections: count, then of each its protocol and its
//	intervals until port 65535 is covered: last-first, verdict.
//
// A verdict is rule<<4 | would<<3 | log<<2 | noReply<<1 | allow, and if would is
// set the rule that would decide, <<1 | allow. A table has exactly one encoding.
const format = 2

const (
	verdictAllow = 1 << iota
	verdictNoReply
	verdictLog
	verdictWould
	verdictRule
)

// namesMax is how many names a table can have: each interval, and the default, can
// bring two.
const namesMax = 2 * (IntervalsMax + 1)

const (
	flagEgressStateful  = 1 << 0
	flagIngressStateful = 1 << 1
)

// Encode returns the table's only encoding.
func (t *Table) Encode() []byte {
	size := 16 + 3*len(t.Names)
	for _, name := range t.Names {
		size += len(name)
	}
	for _, s := range t.Sections {
		size += 1 + 6*len(s.Intervals)
	}
	var flags byte
	if t.EgressStateful {
		flags |= flagEgressStateful
	}
	if t.IngressStateful {
		flags |= flagIngressStateful
	}
	b := append(make([]byte, 0, size), format, flags)
	b = binary.AppendUvarint(b, uint64(len(t.Names)))
	for _, name := range t.Names {
		b = binary.AppendUvarint(b, uint64(len(name)))
		b = append(b, name...)
	}
	b = appendVerdict(b, t.Default)
	b = binary.AppendUvarint(b, uint64(len(t.Sections)))
	for _, s := range t.Sections {
		b = append(b, byte(s.Protocol))
		for _, iv := range s.Intervals {
			b = binary.AppendUvarint(b, uint64(iv.Last-iv.First))
			b = appendVerdict(b, iv.Verdict)
		}
	}
	return b
}

func appendVerdict(b []byte, v Verdict) []byte {
	n := uint64(v.Rule) * verdictRule
	for _, f := range []struct {
		set bool
		bit uint64
	}{{v.Allow, verdictAllow}, {v.NoReply, verdictNoReply}, {v.Log, verdictLog}, {v.Would > 0, verdictWould}} {
		if f.set {
			n |= f.bit
		}
	}
	b = binary.AppendUvarint(b, n)
	if v.Would > 0 {
		n := uint64(v.Would-1) << 1
		if v.WouldAllow {
			n |= 1
		}
		b = binary.AppendUvarint(b, n)
	}
	return b
}

// ErrEncoding is what every error of Decode wraps: the bytes are not the
// encoding of a table that Product could have made.
var ErrEncoding = errors.New("not the encoding of a verdict table")

// Decode reads what Encode wrote. It accepts canonical tables only, so that
// the digest of the bytes is the digest of the table. Errors wrap ErrEncoding.
// The table keeps no reference to the bytes.
func Decode(encoded []byte) (*Table, error) {
	if len(encoded) > EncodedMax {
		return nil, fmt.Errorf("%w: %d bytes, at most %d are allowed", ErrEncoding, len(encoded), EncodedMax)
	}
	r := reader{rest: encoded}
	if f := r.byte(); r.err == nil && f != format {
		return nil, fmt.Errorf("%w: format %d, this version reads format %d", ErrEncoding, f, format)
	}
	flags := r.byte()
	if flags&^(flagEgressStateful|flagIngressStateful) != 0 {
		r.fail("unknown flags %#x", flags)
	}
	t := &Table{
		EgressStateful:  flags&flagEgressStateful != 0,
		IngressStateful: flags&flagIngressStateful != 0,
	}
	r.names(t)
	used := make([]bool, len(t.Names))
	r.stateful = t.EgressStateful && t.IngressStateful
	t.Default = r.verdict(used)
	r.sections(t, used)
	for i, u := range used {
		if !u {
			r.fail("no verdict uses the name %q", t.Names[i])
		}
	}
	if len(r.rest) > 0 {
		r.fail("%d bytes follow the table", len(r.rest))
	}
	if r.err != nil {
		return nil, r.err
	}
	t.digest = digestOf(encoded)
	return t, nil
}

// reader takes values off the front of hostile bytes. After a failure it
// returns zeros and keeps the first error.
type reader struct {
	rest     []byte
	stateful bool // both halves
	err      error
}

func (r *reader) fail(text string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: "+text, append([]any{ErrEncoding}, args...)...)
	}
	r.rest = nil
}

func (r *reader) byte() byte {
	if len(r.rest) == 0 {
		r.fail("it ends early")
		return 0
	}
	b := r.rest[0]
	r.rest = r.rest[1:]
	return b
}

// uvarint reads a number of at most limit in its shortest form.
func (r *reader) uvarint(limit uint64, what string) uint64 {
	v, n := binary.Uvarint(r.rest)
	switch {
	case n == 0:
		r.fail("it ends early")
	case n < 0 || v > limit:
		r.fail("%s is more than %d", what, limit)
	case n > 1 && r.rest[n-1] == 0:
		r.fail("%s is longer than needed", what)
	default:
		r.rest = r.rest[n:]
		return v
	}
	return 0
}

func (r *reader) names(t *Table) {
	count := int(r.uvarint(namesMax, "the count of names"))
	t.Names = make([]string, 0, min(count, len(r.rest)))
	for range count {
		n := int(r.uvarint(NameMax, "the length of a name"))
		if n > len(r.rest) {
			r.fail("it ends early")
		}
		if r.err != nil {
			return
		}
		name := string(r.rest[:n])
		r.rest = r.rest[n:]
		if err := checkName(name); err != nil {
			r.fail("%w", err)
		}
		if k := len(t.Names); k > 0 && t.Names[k-1] >= name {
			r.fail("name %q does not come after %q", name, t.Names[k-1])
		}
		t.Names = append(t.Names, name)
	}
}

func (r *reader) verdict(used []bool) Verdict {
	n := r.uvarint(namesMax*verdictRule-1, "a verdict")
	v := Verdict{Allow: n&verdictAllow != 0, NoReply: n&verdictNoReply != 0, Log: n&verdictLog != 0, Rule: uint16(n / verdictRule)}
	use := func(rule uint64) {
		switch {
		case r.err != nil:
		case rule >= uint64(len(used)):
			r.fail("a verdict uses name %d of %d", rule, len(used))
		default:
			used[rule] = true
		}
	}
	use(n / verdictRule)
	if r.stateful && v.NoReply {
		r.fail("halves that are stateful let replies pass")
	}
	if v.Allow && v.NoReply {
		r.fail("what is allowed is allowed as a reply")
	}
	if n&verdictWould != 0 {
		would := r.uvarint(namesMax*2-1, "what a verdict would be")
		use(would >> 1)
		v.Would, v.WouldAllow = uint16(would>>1)+1, would&1 != 0
	}
	return v
}

func (r *reader) sections(t *Table, used []bool) {
	left := IntervalsMax
	previous := dove.ProtocolAny
	for range r.uvarint(255, "the count of sections") {
		s := Section{Protocol: dove.Protocol(r.byte())}
		if r.err == nil && s.Protocol <= previous {
			r.fail("a section for protocol %d follows one for %d", s.Protocol, previous)
		}
		previous = s.Protocol
		for first := uint64(0); r.err == nil && first <= 65535; left-- {
			last := first + r.uvarint(65535-first, "the length of an interval")
			iv := Interval{uint16(first), uint16(last), r.verdict(used)}
			if k := len(s.Intervals); k > 0 && s.Intervals[k-1].Verdict == iv.Verdict {
				r.fail("two neighbouring intervals say the same")
			}
			if left == 0 {
				r.fail("it has more than %d intervals", IntervalsMax)
			}
			s.Intervals = append(s.Intervals, iv)
			first = last + 1
		}
		if r.err != nil {
			return
		}
		if len(s.Intervals) == 1 && s.Intervals[0].Verdict == t.Default {
			r.fail("the section for protocol %d says no more than the default", s.Protocol)
		}
		t.Sections = append(t.Sections, s)
	}
}
