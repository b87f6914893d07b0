package main

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/mattfenwick/cyclonus/pkg/worker"
	v1 "k8s.io/api/core/v1"

	"dove.network/api"
	"dove.network/dove"
	"dove.network/imports"
	"dove.network/lab"
	"dove.network/scenario"
)

const pods = "pods" // the network

var hosts = []dove.HostName{"h1", "h2", "h3"}

// addresses gives pods theirs: a /24 or /120 for each host, as clusters have it, so
// that blocks of addresses part them.
type addresses struct {
	v6   bool
	used int
}

func (a *addresses) next() (netip.Addr, dove.HostName) {
	host, number := a.used%len(hosts), 8*(1+a.used/len(hosts))
	a.used++
	if a.v6 {
		return netip.MustParseAddr(fmt.Sprintf("fd00:10::%x:%x", host+1, number)), hosts[host]
	}
	return netip.AddrFrom4([4]byte{10, 0, byte(host + 1), byte(number)}), hosts[host]
}

func (a *addresses) subnet() string {
	if a.v6 {
		return "fd00:10::/64"
	}
	return "10.0.0.0/16"
}

// guests are the pods as the lab has them.
type guests struct {
	lab *lab.Lab
	addresses

	mu    sync.Mutex
	byPod map[string]*lab.Guest
}

func nameOf(pod v1.Pod) string { return pod.Namespace + "/" + pod.Name }

func endpointOf(pod string) dove.Endpoint {
	return dove.Endpoint{Tenant: tenant, ID: dove.EndpointID(strings.ReplaceAll(pod, "/", "-"))}
}

// portsOf are the ports that a pod's containers serve, and their names.
func portsOf(pod v1.Pod) (serve lab.Ports, named map[string]string) {
	named = map[string]string{}
	for _, c := range pod.Spec.Containers {
		for _, p := range c.Ports {
			list := map[v1.Protocol]*[]uint16{v1.ProtocolTCP: &serve.TCP, v1.ProtocolUDP: &serve.UDP, v1.ProtocolSCTP: &serve.SCTP}[p.Protocol]
			*list = append(*list, uint16(p.ContainerPort))
			if p.Name != "" {
				named[p.Name] = fmt.Sprintf("%s/%d", strings.ToLower(string(p.Protocol)), p.ContainerPort)
			}
		}
	}
	return serve, named
}

func (g *guests) add(pod string, guest *lab.Guest) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.byPod[pod] = guest
}

func (g *guests) take(pod string) *lab.Guest {
	g.mu.Lock()
	defer g.mu.Unlock()
	guest := g.byPod[pod]
	delete(g.byPod, pod)
	return guest
}

// checks makes the questions of a pod those of its guest.
func (g *guests) checks(from string, questions []worker.Request) ([]lab.Check, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	byAddr := map[netip.Addr]*lab.Guest{}
	for _, guest := range g.byPod {
		byAddr[guest.Addrs[0]] = guest
	}
	var all []lab.Check
	for _, q := range questions {
		addr, err := netip.ParseAddr(q.Host)
		protocol, bad := dove.ParseProtocol(strings.ToLower(string(q.Protocol)))
		if err := cmp.Or(err, bad); err != nil {
			return nil, err
		}
		if byAddr[addr] == nil || g.byPod[from] == nil {
			return nil, fmt.Errorf("%s asks %s: no pod is there", from, addr)
		}
		all = append(all, lab.Check{From: g.byPod[from], To: byAddr[addr], Addr: addr, Probe: scenario.Probe{Protocol: protocol, Port: uint16(q.Port)}})
	}
	return all, nil
}

// packets sends what the questions are about. A denied one ends with a switch's
// word that policy dropped it; silence is no answer, nor is a drop for another reason.
func (g *guests) packets(ctx context.Context, checks []lab.Check, flat bool) ([]answer, error) {
	answers := make([]answer, len(checks))
	var real []lab.Check
	for i, c := range checks {
		if answers[i].loop = c.From == c.To; answers[i].loop {
			answers[i].packet.allowed = true
		} else {
			real = append(real, c)
		}
	}
	results, err := g.lab.RunChecks(ctx, real, func(lab.Check) lab.Intent {
		if flat { // no switch tells of a drop
			return lab.Intent{Outcome: scenario.Allow}
		}
		return lab.Intent{Outcome: scenario.Deny}
	}, nil)
	if err != nil {
		return nil, err
	}
	for i, c := range checks {
		if answers[i].loop {
			continue
		}
		if r := results[0].Reply; r.From != "" && r.From != c.To.Name() {
			return nil, fmt.Errorf("%s: answered by %s", c, r.From)
		}
		answers[i].packet, results = fate(c, results[0]), results[1:]
	}
	return answers, nil
}

// fate is what became of a packet.
func fate(c lab.Check, r lab.Result) said {
	switch {
	case r.Reply.From == c.To.Name() && r.Reply.Err == nil:
		return said{allowed: true, detail: "answered"}
	case r.Drop != nil && r.Drop.Reason == policyDrop:
		return said{detail: r.Drop.Rule}
	case r.Drop != nil:
		return said{unclear: true, detail: fmt.Sprintf("dropped on %s as %s", r.Drop.Host, r.Drop.Reason)}
	}
	return said{unclear: true, detail: fmt.Sprintf("neither an answer nor a drop: %v", r.Reply.Err)}
}

// policyDrop is the reason of a drop that is a verdict; all others may be a busy machine's.
const policyDrop = "policy"

// real is a world of three hosts with DOVE.
type real struct {
	guests
	applied map[string]string // text of each blueprint
	latest  dove.Revision     // of what was written
	turn    sync.RWMutex      // many ask at once, or one alone
}

func newReal(ctx context.Context, l *lab.Lab, v6 bool) (*real, error) {
	w := &real{guests: guests{lab: l, addresses: addresses{v6: v6}, byPod: map[string]*lab.Guest{}}, applied: map[string]string{}}
	for _, h := range hosts {
		if _, err := l.AddHost(ctx, string(h)); err != nil {
			return nil, err
		}
	}
	if _, err := l.API().PutTenant(ctx, tenant, nil); err != nil {
		return nil, err
	}
	n, err := l.API().PutNetwork(ctx, dove.Network{Tenant: tenant, Name: pods}, api.NetworkSpec{Domain: domain, Subnets: []string{w.subnet()}}, nil)
	w.latest = n.Revision
	return w, err
}

func (w *real) spec(pod v1.Pod, labels map[string]string) api.EndpointSpec {
	_, named := portsOf(pod)
	return api.EndpointSpec{Network: pods, Groups: []string{}, Labels: labels, Ports: named}
}

func (w *real) start(ctx context.Context, pod *v1.Pod, labels map[string]string) error {
	addr, host := w.next()
	spec := w.spec(*pod, labels)
	spec.Addresses, spec.Host = []string{addr.String()}, host
	serve, _ := portsOf(*pod)
	guest, revision, err := w.lab.AddGuest(ctx, endpointOf(nameOf(*pod)), spec, serve)
	if err != nil {
		return err
	}
	pod.Status.PodIP = addr.String()
	w.add(nameOf(*pod), guest)
	w.latest = revision
	return nil
}

func (w *real) relabel(ctx context.Context, pod v1.Pod, labels map[string]string) error {
	e, err := w.lab.API().PutEndpoint(ctx, endpointOf(nameOf(pod)), w.spec(pod, labels), nil)
	if err != nil {
		return err
	}
	w.latest = e.Revision
	return w.settled(ctx)
}

// settled waits until what was written last is enforced.
func (w *real) settled(ctx context.Context) (err error) {
	for range receiptTries {
		if _, err = w.lab.WaitReceipt(ctx, w.latest); err == nil || ctx.Err() != nil {
			break
		}
	}
	return err
}

func (w *real) stop(ctx context.Context, pod v1.Pod) (err error) {
	w.latest, err = w.lab.RemoveGuest(ctx, w.take(nameOf(pod)))
	return err
}

// enforce applies the documents that changed, and waits for the receipt.
func (w *real) enforce(ctx context.Context, documents []imports.Document) (err error) {
	for _, d := range documents {
		name := d.Blueprint.Name
		if w.applied[name] == string(d.Text) {
			continue
		}
		b, err := w.lab.API().PutBlueprint(ctx, tenant, name, d.Text, nil)
		if err != nil {
			return fmt.Errorf("%w\n%s", err, d.Text)
		}
		w.applied[name], w.latest = string(d.Text), b.Revision
	}
	return w.settled(ctx)
}

// A question that had no answer is asked again, when nobody else asks and with
// more time: a busy machine makes this slow, and a switch that loses packets wrong.
const (
	againTries   = 3
	againWait    = 20 * time.Second
	receiptTries = 12 // of some seconds each
)

func (w *real) ask(ctx context.Context, from string, questions []worker.Request) ([]answer, error) {
	checks, err := w.checks(from, questions)
	if err != nil {
		return nil, err
	}
	w.turn.RLock()
	answers, err := w.askAll(ctx, checks)
	w.turn.RUnlock()
	if err != nil {
		return nil, err
	}
	for i, c := range checks {
		c.Wait = againWait
		for try := 1; try <= againTries && answers[i].unclear(); try++ {
			w.turn.Lock()
			again, err := w.askAll(ctx, []lab.Check{c})
			w.turn.Unlock()
			if err != nil {
				return nil, err
			}
			again[0].tries, again[0].first = try, cmp.Or(answers[i].first, answers[i].why())
			answers[i] = again[0]
		}
	}
	return answers, nil
}

// askAll asks by packets, then the DPC and the switches.
func (w *real) askAll(ctx context.Context, checks []lab.Check) ([]answer, error) {
	answers, err := w.packets(ctx, checks, false)
	if err != nil {
		return nil, err
	}
	for i, c := range checks {
		if answers[i].loop {
			continue
		}
		why, err := w.lab.API().Why(ctx, tenant, api.Flow{From: string(c.From.Endpoint.ID), To: fmt.Sprintf("%s/%s", c.To.Endpoint.ID, c.Addr),
			Proto: c.Probe.Protocol.String(), Port: fmt.Sprint(c.Probe.Port)})
		if err != nil {
			return nil, err
		}
		answers[i].dpc = &said{allowed: why.Reaches, detail: why.Rule}
		answers[i].switches = standing(why.Live, why.Rule)
		if p := &answers[i].packet; !p.allowed && !p.unclear && p.detail != why.Rule {
			p.unclear, p.detail = true, fmt.Sprintf("dropped by %s, which is not the DPC's rule", p.detail)
		}
	}
	return answers, nil
}

// standing is what the switches of both ends do together: one that drops
// suffices. Each cites the DPC's rule, or it has not caught up.
func standing(live []api.WhyLive, rule string) *said {
	var words []string
	allowing, dropping, other := 0, false, len(live) == 0
	for _, l := range live {
		words = append(words, strings.TrimSpace(fmt.Sprintf("%s: %s %s %s %s", l.Host, l.State, l.Standing, l.Rule, l.Detail)))
		switch {
		case l.Standing == "allow" && l.Rule == rule:
			allowing++
		case l.Standing == "deny" && l.Rule == rule:
			dropping = true
		case l.Standing != "would-ask":
			other = true
		}
	}
	return &said{allowed: allowing == len(live), unclear: other || !dropping && allowing < len(live), detail: strings.Join(words, ", ")}
}

// flat is a world without DOVE.
type flat struct{ guests }

func newFlat(l *lab.Lab, v6 bool) *flat {
	return &flat{guests{lab: l, addresses: addresses{v6: v6}, byPod: map[string]*lab.Guest{}}}
}

func (w *flat) start(_ context.Context, pod *v1.Pod, _ map[string]string) error {
	addr, _ := w.next()
	serve, _ := portsOf(*pod)
	guest, err := w.lab.AddFlatGuest(endpointOf(nameOf(*pod)), []netip.Addr{addr}, serve)
	if err != nil {
		return err
	}
	pod.Status.PodIP = addr.String()
	w.add(nameOf(*pod), guest)
	return nil
}

func (w *flat) relabel(context.Context, v1.Pod, map[string]string) error { return nil }

func (w *flat) stop(_ context.Context, pod v1.Pod) error { return w.lab.Unplug(w.take(nameOf(pod))) }

func (w *flat) enforce(context.Context, []imports.Document) error { return nil }

func (w *flat) ask(ctx context.Context, from string, questions []worker.Request) ([]answer, error) {
	checks, err := w.checks(from, questions)
	if err != nil {
		return nil, err
	}
	return w.packets(ctx, checks, true)
}
