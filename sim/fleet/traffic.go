package fleet

import (
	"fmt"
	"slices"
	"time"

	"dove.network/dove"
	"dove.network/oracle/worlds"
	"dove.network/scenario"
	"dove.network/sim"
	"dove.network/world"
)

// flow is a conversation that was answered once, and must be for as long as
// nothing of its tenant changes.
type flow struct {
	talk   *sim.Talk
	tenant dove.Tenant
	link   string
	sent   time.Time
	since  dove.Revision // when it began
	known  bool          // it was answered
}

// Bounds of how flows are followed.
const (
	flowsMax  = 200
	flowIdle  = 15 * time.Second // after which a switch may have forgotten a flow
	lookAfter = time.Second      // what is sent is there by then, if nobody has to be asked
)

// probes are what a tenant's packets may ask for, as far as it has ports or echoes.
func (f *fleet) probes(t *tenant) (all []worlds.Probe) {
	for _, p := range worlds.Probes(slices.Collect(f.World().ParsedOf(t.name))) {
		if p.Protocol.HasPorts() || p.Protocol == dove.ProtocolICMP && p.Port == 8<<8 || p.Protocol == dove.ProtocolICMPv6 && p.Port == 128<<8 {
			all = append(all, p)
		}
	}
	return all
}

// packet draws a first packet of a tenant; false if nobody can send one.
func (f *fleet) packet(t *tenant) (p sim.Packet, ok bool) {
	all := slices.Collect(f.World().Endpoints(t.name))
	all = slices.DeleteFunc(all, func(e world.Endpoint) bool { return !f.Plugged(e.Full()) })
	if len(all) == 0 {
		return p, false
	}
	e := pick(f.r, all)
	probe := scenario.Probe(pick(f.r, f.probes(t)))
	i := f.r.IntN(worlds.Pool)
	p = sim.Packet{From: e.Full(), Src: e.Addresses[0], Dst: worlds.Address4(i), Probe: probe}
	if f.r.IntN(2) == 0 {
		p.Src, p.Dst = e.Addresses[1], worlds.Address6(i)
	}
	_, _, ok = probe.Over(p.Dst)
	return p, ok && !e.Has(p.Dst)
}

// send sends first packets, and goes on with flows.
func (f *fleet) send() {
	for range 1 + f.r.IntN(4) {
		t := pick(f.r, f.tenants)
		p, ok := f.packet(t)
		if !ok {
			continue
		}
		talk := f.Begin(p)
		f.result.Packets++
		f.flows = append(f.flows, &flow{talk: talk, tenant: t.name, sent: f.Now(), since: f.World().Revision()})
	}
	for n := len(f.flows) - flowsMax; n > 0; n-- {
		i := f.r.IntN(len(f.flows))
		f.flows[i].talk.End()
		f.flows = slices.Delete(f.flows, i, i+1)
	}
	for range min(4, len(f.flows)) {
		w := pick(f.r, f.flows)
		if w.known && f.Now().Sub(w.sent) >= lookAfter {
			w.sent = f.Now()
			w.talk.Again()
			f.result.Packets++
		}
	}
}

// look sees what became of what was sent.
func (f *fleet) look() error {
	var err error
	f.flows = slices.DeleteFunc(f.flows, func(w *flow) bool {
		age := f.Now().Sub(w.sent)
		switch {
		case age < lookAfter || err != nil:
			return false
		case w.known && !w.talk.Answered():
			if f.mustPass(w) {
				err = fmt.Errorf("a packet of a known flow did not pass, sent %s ago: %s: %s; nothing of %s has changed since revision %d", age, w.talk.Packet, w.talk.Became(), w.tenant, w.since)
			}
		case !w.known && w.talk.Answered():
			from, to := w.talk.Hosts()
			f.result.Passed++
			w.link = fmt.Sprintf("%s and %s", min(from, to), max(from, to))
			meant, answers := f.Meant(w.talk.Packet)
			w.known = answers && allows(meant) && w.talk.Right() && f.Untouched(w.tenant, w.since)
			return !w.known
		case w.known && age < flowIdle:
			if f.mustPass(w) {
				f.result.Known++
			}
			return false
		}
		w.talk.End()
		return true
	})
	return err
}

// mustPass reports whether a known flow's packet must pass whatever has happened to
// those who decide: nothing that it depends on has.
func (f *fleet) mustPass(w *flow) bool {
	return f.Untouched(w.tenant, w.since) && !f.ill[w.link] && !f.mended[w.link].After(w.sent) && f.Underlay == (sim.Underlay{}) && !f.fine.After(w.sent)
}

// agree sends first packets and holds what becomes of each against the oracle.
func (f *fleet) agree() error {
	for range agreeOn {
		p, ok := f.packet(pick(f.r, f.tenants))
		if !ok {
			continue
		}
		talk := f.Begin(p)
		f.result.Packets++
		if err := f.Settle(); err != nil {
			return err
		}
		talk.End()
		meant, answers := f.Meant(p)
		allowed := allows(meant)
		if talk.Reached() != allowed || allowed && answers && !talk.Answered() {
			return fmt.Errorf("all is mended, and %s: %s; the oracle says: %s", p, talk.Became(), meant)
		}
		if allowed {
			f.result.Passed++
		}
	}
	return nil
}

// allows reports whether what is meant is that a packet arrives.
func allows(meant sim.Finding) bool {
	return meant.Instead == "" && meant.Outcome == scenario.Allow
}

// agreeOn is how many packets are sent after all was mended.
const agreeOn = 30
