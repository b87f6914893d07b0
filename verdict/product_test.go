package verdict

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"dove.network/dove"
	"github.com/google/go-cmp/cmp"
)

var seed = flag.Uint64("seed", uint64(time.Now().UnixNano()), "seed of the random tests")

func random(t testing.TB) *rand.Rand {
	t.Logf("go test ./verdict -run %s -seed %d", t.Name(), *seed)
	return rand.New(rand.NewPCG(*seed, 0))
}

// say is the slow obvious reading of one half.
func say(h Half, p dove.Protocol, port uint16) (allow, explicit bool, name string) {
	for _, allow := range []bool{false, true} {
		var names []string
		for _, r := range h.Rules {
			m := r.Match
			if r.Allow == allow && (m.Protocol == p || m.Protocol == dove.ProtocolAny) && m.First <= port && port <= m.Last {
				names = append(names, r.Name)
			}
		}
		if len(names) > 0 {
			return allow, true, slices.Min(names)
		}
	}
	return h.Default, false, h.DefaultName
}

// decide is the slow obvious reading of two.
func decide(egress, ingress Half, p dove.Protocol, port uint16) (bool, string) {
	ea, ee, en := say(egress, p, port)
	ia, ie, in := say(ingress, p, port)
	switch {
	case ea && ia && en == in:
		return true, en
	case ea && ia:
		return true, en + " & " + in
	case !ea && ee:
		return false, en
	case !ia && ie:
		return false, in
	case !ea:
		return false, en
	default:
		return false, in
	}
}

var testProtocols = []dove.Protocol{0, 1, 6, 17, 58, 47, 132, 255}

func randomHalf(r *rand.Rand, end string) Half {
	h := Half{Default: r.IntN(4) == 0, DefaultName: DefaultDeny, Stateful: r.IntN(2) == 0}
	if h.Default {
		h.DefaultName = "default-allow"
	}
	names := []string{"a", "b", "c", "d/" + end, end}
	edges := []uint16{0, 1, 79, 80, 81, 443, 1024, 65534, 65535}
	for range r.IntN(9) {
		rule := Rule{Allow: r.IntN(3) > 0, Name: names[r.IntN(len(names))]}
		rule.Match.Protocol = testProtocols[r.IntN(len(testProtocols))]
		rule.Match.Last = 65535
		if p := rule.Match.Protocol; (p.HasPorts() || p.IsICMP()) && r.IntN(5) > 0 {
			x, y := edges[r.IntN(len(edges))], edges[r.IntN(len(edges))]
			rule.Match.First, rule.Match.Last = min(x, y), max(x, y)
		}
		h.Rules = append(h.Rules, rule)
	}
	return h
}

func TestProductSaysWhatItsHalvesSay(t *testing.T) {
	r := random(t)
	for n := range 400 {
		egress, ingress := randomHalf(r, "egress"), randomHalf(r, "ingress")
		table := Product(egress, ingress)
		checkCanonical(t, table)

		step := 1 // all ports in some worlds, those near an edge in all
		if n >= 8 {
			step = 65536
		}
		ports := []int{0, 1, 2, 78, 79, 80, 81, 82, 442, 443, 444, 1023, 1024, 1025, 40000, 65533, 65534, 65535}
		for port := 0; port < 65536; port += step {
			ports = append(ports, port)
		}
		for _, p := range append(testProtocols, 2) {
			for _, port := range ports {
				allow, name := decide(egress, ingress, p, uint16(port))
				v := table.Lookup(p, uint16(port))
				if v.Allow != allow || table.Name(v) != name {
					t.Fatalf("world %d: %s/%d: halves say %t (%s), table says %t (%s)\negress %+v\ningress %+v\n%s",
						n, p, port, allow, name, v.Allow, table.Name(v), egress, ingress, table)
				}
			}
		}
		if table.EgressStateful != egress.Stateful || table.IngressStateful != ingress.Stateful {
			t.Fatalf("world %d: stateful bits are lost", n)
		}

		shuffle := func(h Half) Half {
			h.Rules = slices.Clone(h.Rules)
			r.Shuffle(len(h.Rules), func(i, j int) { h.Rules[i], h.Rules[j] = h.Rules[j], h.Rules[i] })
			return h
		}
		again := Product(shuffle(egress), shuffle(ingress))
		if again.Digest() != table.Digest() {
			t.Fatalf("world %d: another order of rules gives another table:\n%s\n%s", n, table, again)
		}
		back, err := Decode(table.Encode())
		if err != nil || back.Digest() != table.Digest() || !slices.Equal(back.Encode(), table.Encode()) {
			t.Fatalf("world %d: the table does not survive its encoding: %v\n%s", n, err, table)
		}
	}
}

// checkCanonical checks what the comments of Table promise, independently of Decode.
func checkCanonical(t *testing.T, table *Table) {
	t.Helper()
	used := make(map[uint16]bool)
	used[table.Default.Rule] = true
	previous := dove.ProtocolAny
	for _, s := range table.Sections {
		if s.Protocol <= previous {
			t.Fatalf("sections out of order:\n%s", table)
		}
		previous = s.Protocol
		next := 0
		for i, iv := range s.Intervals {
			if int(iv.First) != next || iv.Last < iv.First {
				t.Fatalf("%s: interval %d leaves a gap:\n%s", s.Protocol, i, table)
			}
			if i > 0 && s.Intervals[i-1].Verdict == iv.Verdict {
				t.Fatalf("%s: interval %d is not merged:\n%s", s.Protocol, i, table)
			}
			used[iv.Verdict.Rule] = true
			next = int(iv.Last) + 1
		}
		if next != 65536 || len(s.Intervals) == 1 && s.Intervals[0].Verdict == table.Default {
			t.Fatalf("%s: section incomplete or needless:\n%s", s.Protocol, table)
		}
	}
	if !slices.IsSorted(table.Names) || len(slices.Compact(slices.Clone(table.Names))) != len(table.Names) || len(used) != len(table.Names) {
		t.Fatalf("dictionary %q, of which %d are used", table.Names, len(used))
	}
}

func TestProductNames(t *testing.T) {
	tcp := func(first, last uint16) Match { return Match{dove.ProtocolTCP, first, last} }
	any := Match{Last: 65535}
	half := func(rules ...Rule) Half { return Half{Rules: rules, DefaultName: DefaultDeny} }
	allow := func(m Match, name string) Rule { return Rule{m, true, name} }
	deny := func(m Match, name string) Rule { return Rule{m, false, name} }

	tests := []struct {
		name            string
		egress, ingress Half
		want            string // of tcp/80
	}{
		{"nothing", half(), half(), "deny default-deny"},
		{"one rule on both ends", half(allow(tcp(80, 80), "p")), half(allow(tcp(80, 80), "p")), "allow p"},
		{"two rules", half(allow(tcp(80, 80), "out")), half(allow(any, "in")), "allow out & in"},
		{"only egress", half(allow(any, "out")), half(), "deny default-deny"},
		{"least name", half(allow(any, "z"), allow(tcp(1, 90), "k")), half(allow(tcp(80, 81), "k")), "allow k"},
		{"deny beats allow", half(deny(tcp(80, 80), "z"), allow(any, "a")), half(allow(any, "a")), "deny z"},
		{"egress denies first", half(deny(any, "z")), half(deny(any, "a")), "deny z"},
		{"a rule names before a default", half(), half(deny(any, "in")), "deny in"},
		{"egress default", Half{DefaultName: "out-default"}, Half{DefaultName: "in-default"}, "deny out-default"},
		{"ingress default", Half{Default: true, DefaultName: "open"}, Half{DefaultName: "shut"}, "deny shut"},
		{"defaults allow", Half{Default: true, DefaultName: "open"}, Half{Default: true, DefaultName: "open"}, "allow open"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			table := Product(tt.egress, tt.ingress)
			v := table.Lookup(dove.ProtocolTCP, 80)
			got := "deny " + table.Name(v)
			if v.Allow {
				got = "allow " + table.Name(v)
			}
			if got != tt.want {
				t.Errorf("tcp/80: %s, want %s\n%s", got, tt.want, table)
			}
		})
	}
}

func TestTableString(t *testing.T) {
	half := Half{DefaultName: DefaultDeny, Stateful: true, Rules: []Rule{
		{Match{dove.ProtocolTCP, 8080, 8080}, true, "shop/web-app"},
		{Match{dove.ProtocolTCP, 8000, 8099}, true, "shop/range"},
		{Match{dove.ProtocolICMP, 0x0800, 0x08ff}, true, "shop/ping"},
		{Match{dove.ProtocolTCP, 8090, 65535}, false, "shop/not-these"},
		{Match{47, 0, 65535}, true, "shop/gre"},
	}}
	table := Product(half, half)
	want := `icmp/0-2047        deny  default-deny
icmp/2048-2303     allow shop/ping
icmp/2304-65535    deny  default-deny
tcp/0-7999         deny  default-deny
tcp/8000-8089      allow shop/range
tcp/8090-65535     deny  shop/not-these
47/0-65535         allow shop/gre
other              deny  default-deny
`
	if diff := cmp.Diff(want, table.String()); diff != "" {
		t.Error(diff)
	}
	if !table.AllowsAny() {
		t.Error("the table allows something, AllowsAny says it does not")
	}
	if Product(Half{DefaultName: DefaultDeny}, half).AllowsAny() {
		t.Error("AllowsAny of a table that denies all")
	}
}

func TestDigestOfALiteral(t *testing.T) {
	made := Product(Half{DefaultName: DefaultDeny}, Half{DefaultName: DefaultDeny})
	literal := &Table{Names: []string{DefaultDeny}}
	if made.Digest() != literal.Digest() || !literal.Equal(made) {
		t.Errorf("literal %s, product %s", literal.Digest(), made.Digest())
	}
	if diff := cmp.Diff(made, literal); diff != "" {
		t.Error(diff)
	}
	var none *Table
	if none.Equal(made) || made.Equal(none) || !none.Equal(nil) {
		t.Error("no table equals a table")
	}
}

func TestProductBeyondItsLimitsDeniesAll(t *testing.T) {
	manyPorts := Half{DefaultName: DefaultDeny, Stateful: true}
	for i := range IntervalsMax/2 + 1 {
		manyPorts.Rules = append(manyPorts.Rules, Rule{Match{6, uint16(2*i + 1), uint16(2*i + 1)}, true, "p"})
	}
	longNames := Half{DefaultName: DefaultDeny, Stateful: true}
	for i := range 8000 {
		longNames.Rules = append(longNames.Rules, Rule{Match{6, uint16(i), uint16(i)}, true, fmt.Sprintf("%0200d", i)})
	}
	for _, h := range []Half{manyPorts, longNames} {
		table := Product(h, h)
		if diff := cmp.Diff("other              deny  table-too-large\n", table.String()); diff != "" {
			t.Error(diff)
		}
		if back, err := Decode(table.Encode()); err != nil || back.Digest() != table.Digest() {
			t.Errorf("after its encoding: %v", err)
		}
	}
	fits := manyPorts
	fits.Rules = fits.Rules[:IntervalsMax/2-1]
	if table := Product(fits, fits); !table.AllowsAny() {
		t.Errorf("%d rules do not fit", len(fits.Rules))
	} else if _, err := Decode(table.Encode()); err != nil {
		t.Error(err)
	}
}

func TestProductRefusesBrokenHalves(t *testing.T) {
	for name, r := range map[string]Rule{
		"empty range":    {Match{6, 2, 1}, true, "a"},
		"any with ports": {Match{0, 80, 80}, true, "a"},
		"no name":        {Match{6, 1, 1}, true, ""},
		"control":        {Match{6, 1, 1}, true, "a\x1b[2J"},
		"long name":      {Match{6, 1, 1}, true, fmt.Sprintf("%0300d", 0)},
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			Product(Half{Rules: []Rule{r}, DefaultName: DefaultDeny}, Half{DefaultName: DefaultDeny})
		})
	}
}

func benchHalf(rules int) Half {
	h := Half{DefaultName: DefaultDeny, Stateful: true}
	for i := range rules {
		h.Rules = append(h.Rules, Rule{Match{6, uint16(i*7 + 1), uint16(i*7 + 4)}, i%8 > 0, fmt.Sprintf("shop/p%d", i)})
	}
	return h
}

func BenchmarkProduct(b *testing.B) {
	for _, n := range []int{0, 4, 64, 4096} {
		b.Run(fmt.Sprintf("rules=%d", n), func(b *testing.B) {
			h := benchHalf(n)
			b.ReportAllocs()
			for b.Loop() {
				Product(h, h)
			}
		})
	}
}

func BenchmarkLookup(b *testing.B) {
	for _, n := range []int{4, 4096} {
		b.Run(fmt.Sprintf("rules=%d", n), func(b *testing.B) {
			h := benchHalf(n)
			table := Product(h, h)
			b.ReportAllocs()
			var port uint16
			for b.Loop() {
				table.Lookup(dove.ProtocolTCP, port)
				port += 7919
			}
		})
	}
}

func BenchmarkDecode(b *testing.B) {
	h := benchHalf(4)
	encoded := Product(h, h).Encode()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Decode(encoded); err != nil {
			b.Fatal(err)
		}
	}
}
