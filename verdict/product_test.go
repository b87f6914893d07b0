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

// heard is what one half says of one packet, read the slow obvious way.
type heard struct {
	allow, explicit, log, shadow bool
	name                         string
}

func say(h Half, p dove.Protocol, port uint16, shadow bool) heard {
	var match []Rule
	for _, r := range h.Rules {
		m := r.Match
		if (m.Protocol == p || m.Protocol == dove.ProtocolAny) && m.First <= port && port <= m.Last && (shadow || !r.Shadow) {
			match = append(match, r)
		}
	}
	out := heard{allow: h.Default, name: h.DefaultName}
	passed := false
	for tier := Provider; tier <= Baseline && !out.explicit; tier++ {
		for priority := range uint32(3) {
			for _, action := range []Action{Deny, Allow, Pass} {
				var names []string
				for _, r := range match {
					if r.Tier == tier && r.Priority == priority && r.Action == action {
						names = append(names, r.Name)
					}
				}
				if len(names) == 0 || out.explicit || passed && tier == Provider {
					continue
				}
				if action == Pass {
					passed = true
					continue
				}
				out.allow, out.explicit, out.name = action == Allow, true, slices.Min(names)
				for _, r := range match {
					if r.Tier == tier && r.Priority == priority && r.Action == action && r.Name == out.name && r.Shadow {
						out.shadow = true
					}
				}
			}
		}
	}
	for _, r := range match {
		if out.explicit && r.Log && r.Action != Pass && (r.Action == Allow) == out.allow {
			out.log = true
		}
	}
	return out
}

// decide is the slow obvious reading of two.
func decide(egress, ingress Half, p dove.Protocol, port uint16, shadow bool) (allow, log, shadowed bool, name string) {
	e, i := say(egress, p, port, shadow), say(ingress, p, port, shadow)
	log = e.log && e.allow == (e.allow && i.allow) || i.log && i.allow == (e.allow && i.allow)
	of := func(h heard) (bool, bool, bool, string) { return false, log, h.shadow, h.name }
	switch {
	case e.allow && i.allow && e.name == i.name:
		return true, log, e.shadow || i.shadow, e.name
	case e.allow && i.allow:
		return true, log, e.shadow || i.shadow, e.name + " & " + i.name
	case !e.allow && e.explicit:
		return of(e)
	case !i.allow && i.explicit:
		return of(i)
	case !e.allow:
		return of(e)
	default:
		return of(i)
	}
}

var testProtocols = []dove.Protocol{0, 1, 6, 17, 58, 47, 132, 255}

func randomHalf(r *rand.Rand, end string, shadow int) Half {
	h := Half{Default: r.IntN(4) == 0, DefaultName: DefaultDeny, Stateful: r.IntN(2) == 0}
	if h.Default {
		h.DefaultName = "default-allow"
	}
	names := []string{"a", "b", "c", "d/" + end, end}
	edges := []uint16{0, 1, 79, 80, 81, 443, 1024, 65534, 65535}
	for range r.IntN(9) {
		at := r.IntN(len(names))
		// One name is of one tier and priority, and in shadow or not, as a policy is.
		rule := Rule{Action: Action(min(r.IntN(3), 1)), Name: names[at], Tier: Tier(at % 4), Priority: uint32(at % 3), Shadow: at == shadow, Log: r.IntN(4) == 0}
		if rule.Tier == Provider && r.IntN(3) == 0 {
			rule.Action = Pass
		}
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
		shadow := r.IntN(10)
		egress, ingress := randomHalf(r, "egress", shadow), randomHalf(r, "ingress", shadow)
		table := Product(egress, ingress)
		checkCanonical(t, table)

		step := 1 // all ports in some worlds, those near an edge in all
		if n >= 3 {
			step = 65536
		}
		ports := []int{0, 1, 2, 78, 79, 80, 81, 82, 442, 443, 444, 1023, 1024, 1025, 40000, 65533, 65534, 65535}
		for port := 0; port < 65536; port += step {
			ports = append(ports, port)
		}
		for _, p := range append(testProtocols, 2) {
			for _, port := range ports {
				allow, log, _, name := decide(egress, ingress, p, uint16(port), false)
				wouldAllow, _, shadowed, would := decide(egress, ingress, p, uint16(port), true)
				if !shadowed {
					wouldAllow, would = false, ""
				}
				noReply := !egress.Stateful && !say(egress, p, uint16(port), false).allow || !ingress.Stateful && !say(ingress, p, uint16(port), false).allow
				v := table.Lookup(p, uint16(port))
				if v.NoReply != noReply || v.Log != log || table.WouldName(v) != would || v.WouldAllow != wouldAllow {
					t.Fatalf("world %d: %s/%d: no reply %t, log %t, would %t (%s)\negress %+v\ningress %+v\n%s", n, p, port, noReply, log, wouldAllow, would, egress, ingress, table)
				}
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
	use := func(v Verdict) {
		used[v.Rule] = true
		if v.Would > 0 {
			used[v.Would-1] = true
		}
	}
	use(table.Default)
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
			use(iv.Verdict)
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
	allow := func(m Match, name string) Rule { return Rule{Match: m, Action: Allow, Name: name} }
	deny := func(m Match, name string) Rule { return Rule{Match: m, Name: name} }

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
		{Match: Match{dove.ProtocolTCP, 8080, 8080}, Action: Allow, Name: "shop/web-app"},
		{Match: Match{dove.ProtocolTCP, 8000, 8099}, Action: Allow, Name: "shop/range"},
		{Match: Match{dove.ProtocolICMP, 0x0800, 0x08ff}, Action: Allow, Name: "shop/ping"},
		{Match: Match{dove.ProtocolTCP, 8090, 65535}, Name: "shop/not-these"},
		{Match: Match{47, 0, 65535}, Action: Allow, Name: "shop/gre"},
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
	half := Half{DefaultName: DefaultDeny, Stateful: true}
	made := Product(half, half)
	literal := &Table{Names: []string{DefaultDeny}, EgressStateful: true, IngressStateful: true}
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
		manyPorts.Rules = append(manyPorts.Rules, Rule{Match: Match{6, uint16(2*i + 1), uint16(2*i + 1)}, Action: Allow, Name: "p"})
	}
	longNames := Half{DefaultName: DefaultDeny, Stateful: true}
	for i := range 8000 {
		longNames.Rules = append(longNames.Rules, Rule{Match: Match{6, uint16(i), uint16(i)}, Action: Allow, Name: fmt.Sprintf("%0200d", i)})
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
		"empty range":    {Match: Match{6, 2, 1}, Action: Allow, Name: "a"},
		"any with ports": {Match: Match{0, 80, 80}, Action: Allow, Name: "a"},
		"no name":        {Match: Match{6, 1, 1}, Action: Allow, Name: ""},
		"control":        {Match: Match{6, 1, 1}, Action: Allow, Name: "a\x1b[2J"},
		"tenant's pass":  {Match: Match{6, 1, 1}, Action: Pass, Tier: Tenant, Name: "a"},
		"long name":      {Match: Match{6, 1, 1}, Action: Allow, Name: fmt.Sprintf("%0300d", 0)},
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
		h.Rules = append(h.Rules, Rule{Match: Match{6, uint16(i*7 + 1), uint16(i*7 + 4)}, Action: Action(min(i%8, 1)), Name: fmt.Sprintf("shop/p%d", i)})
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
