package controller

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"dove.network/control"
	"dove.network/dove"
	"dove.network/world"
)

const (
	// listMax is how many flows one list holds.
	listMax = 1 << 16
	// answerWithin is how long a host may take to say something, and silentAfter
	// how long one that is observed may be quiet before it counts as not answering.
	answerWithin = 2 * time.Second
	silentAfter  = 2*control.ReportAtLeast + answerWithin
)

// flowEnds are the names of a flow.
type flowEnds struct {
	tuple    control.Tuple // on the network of who sent first, by which all hosts' words of it are one
	network  dove.Network
	from, to dove.Endpoint // zero where nobody has the address
	fromHost dove.HostName // where it is active
	first    bool          // told where it was first sent, so not once more behind a router
}

// endsOf names the ends of a flow of a tenant that a host tells of. It is the
// host's to tell if one end is an endpoint that is bound to it.
func endsOf(w *world.World, tenant dove.Tenant, host dove.HostName, t control.Tuple) (ends flowEnds, its bool) {
	n, exists := w.NetworkByVNI(t.VNI)
	if !exists || n.Tenant != tenant {
		return ends, false
	}
	ends.tuple, ends.network = t, n.Full()
	if ways := w.Reach(n, t.Src).Ways; len(ways) > 0 {
		way := ways[max(0, slices.IndexFunc(ways, func(way world.Way) bool { return way.Endpoint.BoundTo(host) }))]
		ends.from, ends.fromHost = way.Endpoint.Full(), way.Endpoint.Host
		ends.tuple.VNI, ends.network = way.Network.VNI, way.Network.Full()
		its = way.Endpoint.BoundTo(host)
	}
	ends.first = ends.fromHost == host && ends.tuple.VNI == t.VNI
	if e, ok := w.Seen(t.VNI, t.Dst); ok {
		ends.to = e.Full()
		its = its || e.BoundTo(host)
	}
	return ends, its
}

// flowList puts together what hosts say of a tenant's flows.
type flowList struct {
	tenant  dove.Tenant
	flows   map[control.Tuple]*control.LiveFlow
	waiting map[dove.HostName]int // flows that it told so far
	silent  []dove.HostName
	lost    uint64
	denied  map[dove.HostName]int // flows that are not the host's to tell
	world   *world.World          // of what was told last
}

func newFlowList(t dove.Tenant) *flowList {
	return &flowList{tenant: t, flows: map[control.Tuple]*control.LiveFlow{}, denied: map[dove.HostName]int{}}
}

// ask notes whom there is something to hear from.
func (l *flowList) ask(hosts []dove.HostName) {
	l.waiting = map[dove.HostName]int{}
	for _, h := range hosts {
		l.waiting[h] = 0
	}
}

// complete reports whether all have said all.
func (l *flowList) complete() bool { return l.waiting != nil && len(l.waiting) == 0 }

// take takes a part of what one host says.
func (l *flowList) take(t Told) {
	told, waits := l.waiting[t.Host]
	if !waits {
		return
	}
	l.world = t.World
	r := t.Report
	if r == nil || r.Refused != "" || r.More && len(r.Flows) == 0 {
		delete(l.waiting, t.Host)
		l.silent = append(l.silent, t.Host)
		return
	}
	for _, f := range r.Flows {
		ends, its := endsOf(t.World, l.tenant, t.Host, f.Tuple)
		f.Tuple = ends.tuple
		flow := l.flows[f.Tuple]
		switch {
		case !its:
			l.denied[t.Host]++
		case flow == nil && len(l.flows) >= listMax:
			l.lost++
		case flow == nil:
			l.flows[f.Tuple] = &control.LiveFlow{FlowReport: f, Network: ends.network, From: ends.from, To: ends.to, Hosts: []dove.HostName{t.Host}}
		default:
			if !slices.Contains(flow.Hosts, t.Host) {
				flow.Hosts = append(flow.Hosts, t.Host)
			}
			if ends.first { // it counts what its guest sends, forged or not
				flow.FlowReport = f
			}
		}
	}
	l.lost = addLost(l.lost, r.Lost)
	told += len(r.Flows)
	if l.waiting[t.Host] = told; !r.More || told >= control.HostFlowsMax {
		delete(l.waiting, t.Host)
	}
}

// addLost adds what a host says without going round.
func addLost(a, b uint64) uint64 {
	const most = 1 << 53 // what JSON carries exactly
	return min(a+min(b, most), most)
}

// list returns what there is by now; who has not said all did not answer.
func (l *flowList) list() control.FlowList {
	out := control.FlowList{Lost: l.lost, Unanswered: append(slices.Collect(maps.Keys(l.waiting)), l.silent...)}
	if l.world != nil {
		out.Revision = l.world.Revision()
	}
	slices.Sort(out.Unanswered)
	for _, f := range l.flows {
		slices.Sort(f.Hosts)
		out.Flows = append(out.Flows, *f)
	}
	slices.SortFunc(out.Flows, func(a, b control.LiveFlow) int { return a.Tuple.Compare(b.Tuple) })
	return out
}

// flowWatch makes news of what the hosts that are observed say.
type flowWatch struct {
	tenant dove.Tenant
	hosts  map[dove.HostName]*hostWatch
	denied map[dove.HostName]int // since the last look
}

// hostWatch is what is known of one host with endpoints of the tenant.
type hostWatch struct {
	since   time.Time // it is waited for, or was last heard of
	known   bool      // whether it answers was told
	answers bool
}

func newFlowWatch(t dove.Tenant) *flowWatch {
	return &flowWatch{tenant: t, hosts: map[dove.HostName]*hostWatch{}, denied: map[dove.HostName]int{}}
}

// ask notes whom there is something to hear from.
func (f *flowWatch) ask(now time.Time, hosts []dove.HostName) {
	maps.DeleteFunc(f.hosts, func(h dove.HostName, _ *hostWatch) bool { return !slices.Contains(hosts, h) })
	for _, h := range hosts {
		if f.hosts[h] == nil {
			f.hosts[h] = &hostWatch{since: now}
		}
	}
}

// take makes news of one Report, or of none: the host has no session.
func (f *flowWatch) take(now time.Time, t Told) []control.FlowNews {
	h := f.hosts[t.Host]
	if h == nil {
		return nil
	}
	news := f.turn(nil, now, t.Host, t.Report != nil && t.Report.Refused == "")
	if !h.answers {
		return news
	}
	h.since = now
	for _, e := range t.Report.Events {
		ends, its := endsOf(t.World, f.tenant, t.Host, e.Tuple)
		if !its {
			if e.What != control.FlowEnded { // because its end went away: nobody's fault
				f.denied[t.Host]++
			}
			continue
		}
		if e.What != control.FlowDenied && !ends.first {
			if teller := f.hosts[ends.fromHost]; teller != nil && teller.answers {
				continue // the first sender's own host tells it
			}
		}
		e.Tuple = ends.tuple
		news = append(news, control.FlowNews{At: now, Event: &e, Network: ends.network, From: ends.from, To: ends.to, Host: t.Host})
	}
	if lost := addLost(0, t.Report.Lost); lost > 0 {
		news = append(news, control.FlowNews{At: now, Lost: lost})
	}
	return news
}

// turn tells that a host begins or stops to answer, if that is news.
func (f *flowWatch) turn(news []control.FlowNews, now time.Time, host dove.HostName, answers bool) []control.FlowNews {
	h := f.hosts[host]
	if h.known && h.answers == answers {
		return news
	}
	h.known, h.answers = true, answers
	return append(news, control.FlowNews{At: now, Host: host, Answers: answers})
}

// look finds hosts that have been silent for too long.
func (f *flowWatch) look(now time.Time) (news []control.FlowNews) {
	for _, host := range slices.Sorted(maps.Keys(f.hosts)) {
		h := f.hosts[host]
		if h.answers && now.Sub(h.since) >= silentAfter || !h.known && now.Sub(h.since) >= answerWithin {
			news = f.turn(news, now, host, false)
		}
	}
	return news
}

// claims takes what hosts told that was not theirs to tell, in words.
func claims(denied map[dove.HostName]int) []Denied {
	var all []Denied
	for _, host := range slices.Sorted(maps.Keys(denied)) {
		all = append(all, Denied{Host: host, Detail: fmt.Sprintf("it told of %d flows of which no end is an endpoint of its own and of the tenant", denied[host])})
	}
	clear(denied)
	return all
}
