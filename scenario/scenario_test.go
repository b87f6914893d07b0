package scenario

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dove.network/dove"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

var ignoreLines = cmp.Options{cmpopts.IgnoreFields(Step{}, "Line"), cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}), cmpopts.EquateEmpty()}

const all = `# every step there is
scenario "all" steps # and = no = comment
hosts h1 h2
foreign f1
blueprint acme <<EOT   # apply
name: shop # kept
END
EOT
endpoint acme/web-1 groups=shop/web,watch/x host=h1 addrs=10.0.1.11,fd00::11
endpoint acme/app-1 network=front host=h2 addrs=10.0.1.12 allow=10.9.0.0/16 labels=app:web,k8s.io/x: ports=http:tcp/80
regroup acme/web-1 groups=
unplug acme/web-1
plug acme/web-1
move acme/web-1 h2
expect acme/web-1 -> acme/app-1 tcp/8080 deny rule=shop/web-app over=v4
expect acme/web-1 -> fd00::99 icmpv6/128 no-endpoint
expect matrix ping udp/53
flow f acme/web-1 -> acme/app-1 ping
expect flow f answers
expect flow f blocked
refuse invalid "a \"b\"" "c#" blueprint acme <<END
END
refuse conflict delete acme/web-1
forge wrong-class acme/web-1 -> acme/app-1 tcp/8080 drop=source-mismatch
kill dswitch h1
kill dpc
cut h1 h2
cut h1 dpc
expect acme/web-1 -> acme/app-1 ping no-answer size=8000
heal h2 h1
heal h1 dpc
stop dswitch h2
start dswitch h2
stop dpc
start dpc
delete acme/web-1
withdraw acme/shop
prepare acme/app-1 on h1
activate acme/app-1
finish acme/app-1
refuse conflict prepare acme/app-1 on h1
endpoint acme/db-1 network=front host=h2 addrs=10.0.1.13
announce acme/app-1 10.9.0.1
expect acme/db-1 -> acme/app-1 ping allow at=10.9.0.1
network acme/slow domain=shop subnets=10.0.9.0/24,fd00:9::/64 mtu=1300
expect acme/db-1 -> 10.9.0.2 tcp/80 allow by=app-1,db-1 over=v4
expect acme/db-1 -> acme/app-1 tcp/80 deny log=yes would=allow shadow=shop/trial
expect acme/db-1 -> acme/app-1 ping no-reply rule=default-deny log=no would=nothing
endpoint acme/sub-1 network=back parent=app-1 vlan=7 addrs=10.0.2.1
`

func TestParse(t *testing.T) {
	web, app, db := dove.Endpoint{Tenant: "acme", ID: "web-1"}, dove.Endpoint{Tenant: "acme", ID: "app-1"}, dove.Endpoint{Tenant: "acme", ID: "db-1"}
	want := &Scenario{
		Name:    `"all" steps # and = no = comment`,
		Hosts:   []dove.HostName{"h1", "h2"},
		Foreign: []dove.HostName{"f1"},
		Steps: []Step{
			{5, ApplyBlueprint{"acme", "name: shop # kept\nEND\n"}},
			{9, CreateEndpoint{Endpoint: web, Groups: []dove.Group{{Tenant: "acme", Blueprint: "shop", Name: "web"}, {Tenant: "acme", Blueprint: "watch", Name: "x"}}, Host: "h1",
				Addresses: []netip.Addr{netip.MustParseAddr("10.0.1.11"), netip.MustParseAddr("fd00::11")}}},
			{10, CreateEndpoint{Endpoint: app, Network: "front", Host: "h2", Addresses: []netip.Addr{netip.MustParseAddr("10.0.1.12")}, Allowed: []netip.Prefix{netip.MustParsePrefix("10.9.0.0/16")},
				Labels: map[string]string{"app": "web", "k8s.io/x": ""}, Ports: map[string]dove.Port{"http": {Protocol: dove.ProtocolTCP, Number: 80}}}},
			{11, SetGroups{web, nil}},
			{12, Unplug{web}},
			{13, Plug{web}},
			{14, Move{web, "h2"}},
			{15, Expect{From: web, To: app, Probe: Probe{dove.ProtocolTCP, 8080}, Over: IPv4, Outcome: Deny, Rule: "shop/web-app"}},
			{16, Expect{From: web, Address: netip.MustParseAddr("fd00::99"), Probe: Probe{dove.ProtocolICMPv6, 128 << 8}, Outcome: NoEndpoint}},
			{17, ExpectMatrix{[]Probe{Ping, {dove.ProtocolUDP, 53}}}},
			{18, OpenFlow{"f", web, app, Ping, AnyFamily}},
			{19, ExpectFlow{"f", true, true}},
			{20, ExpectFlow{"f", false, false}},
			{21, Refuse{dove.Invalid, []string{`a "b"`, "c#"}, ApplyBlueprint{"acme", ""}}},
			{23, Refuse{dove.Conflict, nil, DeleteEndpoint{web}}},
			{24, Forge{WrongClass, web, app, Probe{dove.ProtocolTCP, 8080}, "source-mismatch"}},
			{25, Kill{Program{"h1"}}},
			{26, Kill{}},
			{27, Cut{Link{"h1", "h2"}}},
			{28, Cut{Link{"h1", ""}}},
			{29, Expect{From: web, To: app, Probe: Ping, Outcome: NoAnswer, Size: 8000}},
			{30, Heal{Link{"h2", "h1"}}},
			{31, Heal{Link{"h1", ""}}},
			{32, Stop{Program{"h2"}}},
			{33, Start{Program{"h2"}}},
			{34, Stop{}},
			{35, Start{}},
			{36, DeleteEndpoint{web}},
			{37, DeleteBlueprint{"acme", "shop"}},
			{38, Prepare{app, "h1"}},
			{39, Activate{app}},
			{40, Finish{app}},
			{41, Refuse{dove.Conflict, nil, Prepare{app, "h1"}}},
			{42, CreateEndpoint{Endpoint: db, Network: "front", Host: "h2", Addresses: []netip.Addr{netip.MustParseAddr("10.0.1.13")}}},
			{43, Announce{app, netip.MustParseAddr("10.9.0.1")}},
			{44, Expect{From: db, To: app, Address: netip.MustParseAddr("10.9.0.1"), Probe: Ping}},
			{45, CreateNetwork{dove.Network{Tenant: "acme", Name: "slow"}, "shop", []netip.Prefix{netip.MustParsePrefix("10.0.9.0/24"), netip.MustParsePrefix("fd00:9::/64")}, 1300}},
			{46, Expect{From: db, Address: netip.MustParseAddr("10.9.0.2"), Probe: Probe{dove.ProtocolTCP, 80}, Over: IPv4, By: []dove.Endpoint{app, db}}},
			{47, Expect{From: db, To: app, Probe: Probe{dove.ProtocolTCP, 80}, Outcome: Deny, Log: Logged, Would: WouldAllow, Shadow: "shop/trial"}},
			{48, Expect{From: db, To: app, Probe: Ping, Outcome: NoReply, Rule: "default-deny", Log: Unlogged, Would: WouldNothing}},
			{49, CreateEndpoint{Endpoint: dove.Endpoint{Tenant: "acme", ID: "sub-1"}, Network: "back", Parent: "app-1", VLAN: 7, Addresses: []netip.Addr{netip.MustParseAddr("10.0.2.1")}}},
		},
	}
	got, err := Parse([]byte(all))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	again, err := Parse(Format(got))
	if err != nil {
		t.Fatalf("%v\n%s", err, Format(got))
	}
	if d := cmp.Diff(got, again, ignoreLines); d != "" {
		t.Errorf("after Format: -want +got:\n%s", d)
	}
	if twice := Format(again); string(twice) != string(Format(got)) {
		t.Errorf("Format is not canonical:\n%s", twice)
	}
}

func TestFaults(t *testing.T) {
	world := "scenario x\nhosts h1 h2\nendpoint a/w network=n host=h1 addrs=10.0.0.1\nendpoint a/v network=n host=h2 addrs=10.0.0.2,fd00::2\nendpoint a/u network=n addrs=10.0.0.3\nendpoint b/w network=n host=h1 addrs=10.0.0.1\n"
	for text, want := range map[string]string{
		"":                  "",
		"jump a/w":          `7:1: unknown step "jump" (known are blueprint,`,
		"delete":            "7:7: endpoint is missing",
		"delete w":          `7:8: endpoint "w" is not of the form tenant/endpoint`,
		"withdraw w":        `7:10: blueprint "w" is not of the form tenant/blueprint`,
		"delete a/x":        "7:1: there is no endpoint a/x",
		"delete a/w now":    `7:12: "now" is too much here (one line is one step)`,
		"delete a/W":        `7:8: endpoint "a/W": name "W"`,
		"move a/w h9":       "7:1: there is no host h9",
		"plug a/w":          "7:1: endpoint a/w is plugged in already",
		"plug a/u":          "7:1: endpoint a/u is bound to no host: move it to one",
		"unplug a/u":        "7:1: endpoint a/u is not plugged in",
		"prepare a/w h2":    `7:13: "h2" stands where on should (write prepare tenant/endpoint on host)`,
		"prepare a/w on h9": "7:1: there is no host h9",
		"prepare a/u on h2": "7:1: endpoint a/u is not plugged in",
		"prepare a/w on h1": `7:1: endpoint a/w has a binding to host h1 and moves to ""`,
		"activate a/w":      "7:1: endpoint a/w does not move",
		"finish a/w":        "7:1: endpoint a/w does not move",
		"prepare a/w on h2\nfinish a/w\nactivate a/w":    "9:1: endpoint a/w does not move",
		"prepare a/w on h2\nprepare a/w on h2":           `8:1: endpoint a/w has a binding to host h1 and moves to "h2"`,
		"prepare a/w on h2\nunplug a/w":                  "8:1: endpoint a/w moves: finish that first",
		"prepare a/w on h2\nmove a/w h2":                 "8:1: endpoint a/w moves already",
		"hosts h3":                                       "7:1: hosts are already given",
		"network a/n domain=d subnets=10.0.0":            `7:30: "10.0.0" is no prefix (write subnets=`,
		"network a/n subnets=10.0.0.0/24":                `7:1: domain: a name must not be empty (write domain=shop)`,
		"network a/n domain=d subnets=10.0.0.0/24 mtu=0": `7:46: "0" is no MTU (write mtu=1300)`,
		"scenario y":                                                          "7:1: a second scenario begins here",
		"endpoint a/w network=n addrs=10.0.0.9":                               "7:1: endpoint a/w exists already",
		"endpoint a/x addrs=10.0.0.9":                                         "7:28: the endpoint has no network",
		"endpoint a/x network=n":                                              "7:23: the endpoint has no addresses",
		"endpoint a/x network=n addrs=10.0.0":                                 `7:30: "10.0.0" is no address`,
		"endpoint a/x groups=web addrs=10.0.0.9":                              `7:21: group "web": group "a/web" is not of the form`,
		"endpoint a/x grops=a/b addrs=10.0.0.9":                               `7:14: unknown option "grops" (known are groups, network, host, parent, vlan, addrs, allow, labels, ports)`,
		"endpoint a/x network=n parent=w addrs=10.0.0.9":                      "7:31: a sub-port has a tag (write parent=web-1 vlan=7)",
		"endpoint a/x network=n vlan=7 addrs=10.0.0.9":                        "7:29: a tag is of a sub-port",
		"endpoint a/x network=n parent=w vlan=7 host=h1 addrs=10.0.0.9":       "7:45: a sub-port is where its parent is",
		"endpoint a/x network=n parent=w vlan=4095 addrs=10.0.0.9":            `7:38: "4095" is no tag: 1 to 4094 are`,
		"endpoint a/x network=n parent=y vlan=7 addrs=10.0.0.9":               "7:1: there is no endpoint a/y",
		"endpoint a/x network=n parent=w vlan=7 addrs=10.0.0.9\nmove a/x h2":  "8:1: endpoint a/x is a sub-port, and is where w is: name that",
		"endpoint a/x network=n parent=w vlan=7 addrs=10.0.0.9\ndelete a/w":   "8:1: endpoint a/w has sub-ports: delete these first",
		"endpoint a/x network=n network=m addrs=10.0.0.9":                     "7:24: option network is given twice",
		"blueprint a <<END\nx":                                                "7:13: the text that begins here has no END at its end",
		"blueprint a END":                                                     `7:13: "END" stands where <<END should`,
		"blueprnt a <<END\nx\nEND":                                            `7:1: unknown step "blueprnt"`,
		"expect a/w -> b/w ping deny":                                         "7:15: b/w is of another tenant",
		"expect a/w -> a/w ping deny":                                         "7:15: a/w talks to itself",
		"expect a/w a/v ping deny":                                            `7:12: "a/v" stands where -> should`,
		"expect a/w -> a/u ping deny":                                         "7:1: endpoint a/u is not plugged in",
		"expect a/w -> a/v icmpv6/128 deny":                                   "7:1: icmpv6/128/0 cannot be sent: the ends share no address family for it",
		"expect a/w -> a/v tcp/80 deny over=v6":                               "7:1: tcp/80 cannot be sent",
		"expect a/w -> a/v udp/80 deny size=70000":                            `7:36: "70000" is no size`,
		"expect a/w -> a/v udp/80 deny size=0":                                `7:36: "0" is no size`,
		"expect a/w -> a/v sctp/9 deny size=8000":                             `7:36: a packet of sctp/9 has no size`,
		"expect a/w -> a/v udp/80 too-big":                                    `7:26: udp/80 is not too big`,
		"expect a/w -> a/v tcp/80 too-big size=8000":                          `7:26: tcp/80 is not too big`,
		"expect a/w -> a/v udp/80 too-big size=8000 rule=x":                   `7:49: no rule decides about a packet that is too big`,
		"expect a/w -> a/v tcp/80 deny over=v5":                               `7:36: "v5" is no family`,
		"expect a/w -> fd00::1 tcp/80 deny":                                   "7:1: tcp/80 cannot be sent",
		"expect a/w -> a/v tcp/0 deny":                                        `7:19: "tcp/0" is no probe`,
		"expect a/w -> a/v tcp/80 maybe":                                      `7:26: "maybe" is no outcome`,
		"expect a/w -> a/v tcp/80":                                            "7:25: allow, deny, no-endpoint, no-answer, too-big or no-reply is missing",
		"expect a/w -> 10.0.0.9 tcp/80 no-reply":                              "7:31: nobody answers tcp/80 there",
		"expect a/w -> a/v proto/47 no-reply":                                 "7:28: nobody answers proto/47 there",
		"expect a/w -> a/v tcp/80 deny log=maybe":                             `7:35: "maybe" is not what log= may be`,
		"expect a/w -> a/v tcp/80 no-answer would=deny":                       "7:42: nothing is told where no policy decides",
		"expect a/w -> a/v tcp/80 deny shadow=x":                              "7:38: what would the policy in shadow do?",
		"expect a/w -> a/v tcp/80 deny would=nothing shadow=x":                "7:52: what would the policy in shadow do?",
		"expect a/w -> a/v tcp/80 no-endpoint":                                "7:26: a/v is an endpoint",
		"expect a/w -> 10.0.0.9 ping no-endpoint rule=x":                      "7:46: no rule decides",
		"expect a/w -> 10.0.0.9 ping deny by=v":                               "7:37: only what is allowed to an address behind next hops is by them",
		"expect a/w -> a/v ping allow by=v":                                   "7:33: only what is allowed",
		"expect a/w -> 10.0.0.9 ping allow by=v,v":                            "7:38: next hop v is given twice",
		"expect a/w -> 10.0.0.9 ping allow by=v,":                             "7:38: next hop \"\"",
		"expect a/w -> 10.0.0.9 ping allow by=u":                              "7:1: endpoint a/u is not plugged in",
		"expect matrix":                                                       "7:14: a probe is missing",
		"expect matrix ping ping":                                             "7:20: probe ping is given twice",
		"expect flow f passes":                                                "7:1: there is no flow f",
		"flow f a/w -> a/v ping\nflow f a/w -> a/v ping":                      "8:1: flow f is open already",
		"flow f a/w -> a/v ping\nexpect flow f blocked\nexpect flow f passes": "9:1: flow f was blocked before: open another",
		"flow f a/w -> a/v ping\nexpect flow f open":                          `8:15: "open" is no state of a flow`,
		"refuse wrong delete a/w":                                             `7:8: unknown kind of error "wrong"`,
		"refuse invalid expect matrix ping":                                   "7:16: expect is no change that could be refused",
		"refuse invalid \"x":                                                  "7:0: the quote in column 16 does not end",
		"kill dswitch h9":                                                     "7:1: there is no host h9",
		"kill a/w":                                                            `7:6: "a/w" is no program (write dpc or dswitch and a host)`,
		"kill dswitch":                                                        "7:13: host is missing",
		"start dpc":                                                           "7:1: dpc is not stopped",
		"stop dpc\nstop dpc":                                                  "8:1: dpc is stopped already",
		"stop dswitch h1\nkill dswitch h1":                                    "8:1: dswitch h1 is stopped already: start it",
		"stop dpc\ndelete a/w":                                                "8:1: the dpc is stopped, and nobody else takes changes",
		"stop dpc\nrefuse conflict delete a/w":                                "8:1: the dpc is stopped, and nobody else takes changes",
		"cut h1 h1":                                                           "7:8: h1 has no link to itself",
		"cut dpc h1":                                                          "7:9: the host comes first: write h1 dpc",
		"cut h1 h9":                                                           "7:1: there is no host h9",
		"heal h1 dpc":                                                         "7:1: h1 dpc is not cut",
		"cut h1 dpc\nheal h2 dpc":                                             "8:1: h2 dpc is not cut",
		"cut h1 h2\ncut h2 h1":                                                "8:1: h2 h1 is cut already",
		"cut h1 h2\nexpect matrix ping":                                       "8:1: h1 h2 is cut, and the oracle knows nothing of that",
		"expect a/w -> a/v ping no-answer":                                    "7:1: nothing is stopped or cut",
		"expect a/w -> a/v ping no-answer rule=x":                             "7:39: no rule decides about a packet",
		"forge big-lie a/w -> a/v ping drop=policy":                           `7:7: unknown lie "big-lie"`,
		"forge spoofed-mac a/w -> a/v ping drop=nope":                         "7:40: unknown reason of a drop \"nope\" (known are " + strings.Join(Reasons, ", ") + ")",
		"forge spoofed-mac a/w -> a/v ping":                                   "7:34: the reason of the drop is missing",
	} {
		_, err := Parse([]byte(world + text + "\n"))
		switch {
		case want == "" && err != nil:
			t.Errorf("%s: %v", text, err)
		case want != "" && (err == nil || dove.KindOf(err) != dove.Invalid || !strings.Contains(err.Error(), "1 fault\n  "+want)):
			t.Errorf("%s: %v\nwant %s", text, err, want)
		}
	}
}

// All faults come at once, in order, and a nameless scenario is one of them.
func TestAllFaults(t *testing.T) {
	_, err := Parse([]byte("jump\n\n  fly\n"))
	want := `the scenario is not valid: 4 faults
  1:1: the scenario has no name (begin with: scenario what it shows)
  1:1: the scenario has no hosts (write: hosts h1 h2)
  1:1: unknown step "jump"
  3:3: unknown step "fly"`
	if err == nil {
		t.Fatal("no error")
	}
	got := strings.ReplaceAll(err.Error(), " (known are blueprint, withdraw, network, endpoint, regroup, move, prepare, activate, finish, unplug, plug, announce, delete, pass, kill, stop, start, cut, heal, refuse, flow, forge, expect)", "")
	if d := cmp.Diff(strings.Split(want, "\n")[1:], strings.Split(got, "\n")[1:], cmpopts.SortSlices(strings.Compare)); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	_, err = Parse([]byte(strings.Repeat("x\n", 200)))
	if err == nil || !strings.Contains(err.Error(), "100 faults, 102 more are not shown") {
		t.Errorf("%.200v", err)
	}
	if _, err = Parse(make([]byte, MaxBytes+1)); dove.KindOf(err) != dove.TooLarge {
		t.Errorf("too large: %v", err)
	}
}

// Narrate puts what was said below the last line of each step, whatever the step's text looks like.
func TestNarrate(t *testing.T) {
	s, err := Parse([]byte(all))
	if err != nil {
		t.Fatal(err)
	}
	var says []string
	for _, step := range s.Steps {
		says = append(says, "said of "+strings.SplitN(step.Action.String(), "\n", 2)[0]+"\nand more")
	}
	got := string(Narrate([]byte(all), s, says))
	for _, want := range []string{
		"EOT\n    > said of blueprint acme <<END-END\n    > and more\nendpoint acme/web-1",
		"addrs=10.0.1.12 allow=10.9.0.0/16 labels=app:web,k8s.io/x: ports=http:tcp/80\n    > said of endpoint acme/app-1",
		"<<END\nEND\n    > said of refuse invalid",
		"withdraw acme/shop\n    > said of withdraw acme/shop\n    > and more\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in:\n%s", want, got)
		}
	}
	var back []string
	for line := range strings.Lines(got) {
		if !strings.HasPrefix(line, "    > ") {
			back = append(back, line)
		}
	}
	if d := cmp.Diff(all, strings.Join(back, "")); d != "" {
		t.Errorf("the scenario's own text, meant -, is +:\n%s", d)
	}
}

func TestProbe(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		protocol := rapid.SampledFrom([]dove.Protocol{dove.ProtocolTCP, dove.ProtocolUDP, dove.ProtocolSCTP, dove.ProtocolICMP, dove.ProtocolICMPv6, dove.ProtocolAny, 47}).Draw(t, "protocol")
		p := Probe{protocol, rapid.Uint16Range(1, 65535).Draw(t, "port")}
		if !protocol.HasPorts() && !protocol.IsICMP() {
			p.Port = 0
		}
		if again, err := ParseProbe(p.String()); err != nil || again != p {
			t.Fatalf("%v: %v, %v", p, again, err)
		}
	})
	for _, s := range []string{"", "tcp", "tcp/", "tcp/0", "tcp/65536", "ping/1", "icmp", "icmp/256", "icmp/8/", "icmp/8/0/0", "proto/6", "proto/0", "http/80"} {
		if p, err := ParseProbe(s); err == nil {
			t.Errorf("%q reads as %v", s, p)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(all))
	files, _ := filepath.Glob("../scenarios/*.dove")
	for _, file := range files {
		if text, err := os.ReadFile(file); err == nil {
			f.Add(text)
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := Parse(text)
		if err != nil {
			return
		}
		again, err := Parse(Format(s))
		if err != nil {
			t.Fatalf("%v\n%s", err, Format(s))
		}
		if d := cmp.Diff(s, again, ignoreLines); d != "" {
			t.Fatal(d)
		}
	})
}

// What needs a dSwitch is refused of a foreign host.
func TestForeignHosts(t *testing.T) {
	world := "scenario x\nhosts h1 h2\nforeign f\nendpoint a/w network=n host=f addrs=10.0.0.1\nendpoint a/v network=n host=h2 addrs=10.0.0.2\n"
	for text, want := range map[string]string{
		"expect matrix ping":           "",
		"expect a/v -> a/w ping deny":  "",
		"flow f a/w -> a/v ping":       "",
		"move a/w h1\nkill dswitch h1": "",
		"foreign g":                    "6:1: foreign hosts are already given",
		"kill dswitch f":               "6:1: host f is foreign: no dSwitch runs there",
		"stop dswitch f":               "6:1: host f is foreign",
		"cut h1 f":                     "6:1: host f is foreign",
		"prepare a/v on f":             "6:1: host f is foreign",
		"prepare a/w on h2":            "6:1: host f is foreign",
		"announce a/w 10.0.0.9":        "6:1: host f is foreign",
		"forge spoofed-mac a/v -> a/w ping drop=policy": "6:1: host f is foreign",
		"move a/v f\nexpect matrix ping":                "7:1: 2 endpoints are on foreign hosts",
		"move a/v f\nexpect a/w -> a/v ping deny":       "7:1: a/w and a/v are both on foreign hosts",
		"move a/v f\nflow f a/w -> a/v ping":            "7:1: a/w and a/v are both on foreign hosts",
	} {
		_, err := Parse([]byte(world + text + "\n"))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), "1 fault\n  "+want)) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}
