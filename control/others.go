package control

import (
	"maps"
	"slices"
	"strings"
	"time"

	"dove.network/dove"
)

// other is what another member said of its sessions, as far as is known here.
type other struct {
	start            uint64
	reached          bool // a stream with it is up
	told             bool // its list of sessions was complete once
	applied, settled dove.Revision
	hosts            map[dove.HostName]away
	listed           map[dove.HostName]bool // while its list comes, else nil
	behind           Behind                 // as it said last
}

// MemberStatus is how a DPC member is: what it has applied, and how many hosts have a session with
// it. Of one that is not reached it is what was known last.
type MemberStatus struct {
	Member   string
	Reached  bool
	Applied  dove.Revision
	Sessions int
}

// Others returns what other members said last, in order of names.
func (l *Ledger) Others() (all []MemberStatus) {
	for _, name := range slices.Sorted(maps.Keys(l.others)) {
		o := l.others[name]
		all = append(all, MemberStatus{name, o.reached, o.applied, len(o.hosts)})
	}
	return all
}

// away is a host's session with another member.
type away struct {
	session uint64
	opening bool
}

// floor is how far the sessions of the member are known to have come, and whether
// that holds up anything: a member that cannot be reached holds up what it had not
// said of hosts that have not opened a session elsewhere.
func (o *other) floor() (dove.Revision, bool) {
	switch {
	case !o.told:
		return o.settled, true
	case o.reached:
		return min(o.applied, o.settled), true
	}
	return o.settled, len(o.hosts) > 0
}

// Unsure reports whether a host may have left for a member without anybody's word: one is not reached, and
// not all sessions here were asked since the latest change.
func (l *Ledger) Unsure() bool {
	if l.asked < l.current {
		for _, o := range l.others {
			if o.away() {
				return true
			}
		}
	}
	return false
}

// away reports whether the member could have sessions of which it cannot tell now.
func (o *other) away() bool { return o.told && !o.reached }

// Reach begins what another member says from now on; start numbers its run.
func (l *Ledger) Reach(member string, start uint64, now time.Time) {
	o := l.others[member]
	if o == nil {
		o = &other{hosts: map[dove.HostName]away{}}
		l.others[member] = o
	}
	if o.start != start {
		l.scatter(o)
		o.start = start
	}
	o.reached = true
	l.settle(now)
}

// Part notes that a member cannot be reached, or not yet. Its hosts are unknown
// until they open a session elsewhere, or it says where they are.
func (l *Ledger) Part(member string, now time.Time) {
	o := l.others[member]
	if o == nil {
		l.others[member] = &other{hosts: map[dove.HostName]away{}}
		return
	}
	o.reached, o.listed, o.behind = false, nil, Behind{}
	for host, a := range o.hosts {
		if _, is, ok := l.latest(host); ok && is.session >= a.session {
			l.leave(o, host, a) // it came before its member was missed
		}
	}
	l.settle(now)
}

// Dismiss forgets a member that is none any more.
func (l *Ledger) Dismiss(member string, now time.Time) {
	if o := l.others[member]; o != nil {
		delete(l.others, member)
		l.scatter(o)
		l.settle(now)
	}
}

// Presume takes it that a member which has never been reached has no sessions.
func (l *Ledger) Presume(member string, now time.Time) {
	if o := l.others[member]; o != nil && !o.reached {
		o.told = true
		l.settle(now)
	}
}

// Strangers are the members of whose sessions nothing is known, in order.
func (l *Ledger) Strangers() (names []string) {
	for _, name := range slices.Sorted(maps.Keys(l.others)) {
		if !l.others[name].told {
			names = append(names, name)
		}
	}
	return names
}

// scatter gives up the sessions of a member: what they had not acknowledged is lost.
func (l *Ledger) scatter(o *other) {
	hosts := o.hosts
	o.hosts = map[dove.HostName]away{}
	for host, a := range hosts {
		l.lose(host, o.owed(a, l.current))
	}
}

// owed is what a host may lack that was with the member.
func (o *other) owed(a away, current dove.Revision) lost {
	return lost{o.settled + 1, max(current, o.applied), a.session}
}

// leave notes that a host is no longer with a member that cannot be reached, but may lack
// what it was told there.
func (l *Ledger) leave(o *other, host dove.HostName, a away) {
	delete(o.hosts, host)
	l.lose(host, o.owed(a, l.current))
}

// arrive notes that a host is about to open a session.
func (l *Ledger) arrive(host dove.HostName) {
	for _, o := range l.others {
		if a, ok := o.hosts[host]; ok && !o.reached {
			l.leave(o, host, a)
		}
	}
}

// Sweep forgets hosts that are none any more: nobody waits for what they lack, nor for what a member
// that cannot be reached would say of them. What is of later revisions may be of one that is
// not known here yet.
func (l *Ledger) Sweep(exists func(dove.HostName) bool, now time.Time) {
	maps.DeleteFunc(l.lost, func(host dove.HostName, gap lost) bool { return gap.last <= l.current && !exists(host) })
	maps.DeleteFunc(l.failed, func(host dove.HostName, f failures) bool {
		return f.list[len(f.list)-1].Revision <= l.current && !exists(host)
	})
	for _, o := range l.others {
		if !o.reached && o.applied <= l.current {
			maps.DeleteFunc(o.hosts, func(host dove.HostName, _ away) bool { return !exists(host) })
		}
	}
	l.settle(now)
}

// Hear takes what a member says of the sessions with it.
func (l *Ledger) Hear(member string, m *Present, now time.Time) {
	o := l.others[member]
	if m.First {
		o.listed = map[dove.HostName]bool{}
	}
	for _, p := range m.Hosts {
		l.hear(o, p, now)
	}
	if o.listed != nil && !m.More {
		for host := range o.hosts {
			if !o.listed[host] {
				delete(o.hosts, host) // it acknowledged all before it left
			}
		}
		o.listed, o.told = nil, true
	}
	l.settle(now)
}

func (l *Ledger) hear(o *other, p Presence, now time.Time) {
	a, had := o.hosts[p.Host]
	if had && p.Session < a.session && o.listed == nil { // a list is what is so now: the host's clock may have been set back
		return
	}
	if o.listed != nil && p.Phase != PhaseEnded {
		o.listed[p.Host] = true
	}
	if p.Phase == PhaseEnded {
		delete(o.hosts, p.Host)
		if p.First > 0 {
			l.lose(p.Host, lost{p.First, p.Last, p.Session})
		}
		l.fail(p.Host, p.Session, p.Failed, now)
		return
	}
	l.arrive(p.Host)
	o.hosts[p.Host] = away{p.Session, p.Phase == PhaseOpening}
	if p.Phase == PhaseLive {
		l.regain(p.Host, p.Session, now)
		l.fail(p.Host, p.Session, p.Failed, now)
	}
}

// Advance takes how far a member says that it has come.
func (l *Ledger) Advance(member string, m *Progress, now time.Time) {
	o := l.others[member]
	o.applied, o.settled = m.Applied, max(o.settled, m.Settled)
	l.settle(now)
}

// Lag takes which sessions of a member are behind.
func (l *Ledger) Lag(member string, m *Behind) { l.others[member].behind = *m }

// Behind names the sessions that have not acknowledged something, at most
// RowsMax of them.
func (l *Ledger) Behind() *Behind {
	m := &Behind{Revision: l.current}
	for _, s := range l.sessions {
		if first := s.first(); first > 0 {
			m.Hosts = append(m.Hosts, Lag{s.host, first})
		}
	}
	slices.SortFunc(m.Hosts, func(a, b Lag) int { return strings.Compare(string(a.Host), string(b.Host)) })
	if len(m.Hosts) > RowsMax {
		m.Hosts, m.More = m.Hosts[:RowsMax], true
	}
	return m
}

// Presence is what other members are to know of a session.
func (l *Ledger) Presence(id SessionID) Presence {
	s := l.sessions[id]
	p := Presence{Host: s.host, Session: s.number, Phase: PhaseLive, Failed: l.failed[s.host].list}
	if s.opening {
		p.Phase = PhaseOpening
	}
	return p
}

// Left is what other members are to know of a session that is about to be closed.
func (l *Ledger) Left(id SessionID) Presence {
	p := l.Presence(id)
	p.Phase = PhaseEnded
	if s := l.sessions[id]; s.first() > 0 {
		p.First, p.Last = s.first(), s.told
	}
	return p
}

// Gaps are what hosts are known to lack, in order, but not what is only not known of
// them. That of a host with a session that opens elsewhere is among them: who hears it may not
// reach the member that has the session.
func (l *Ledger) Gaps() (all []Presence) {
	for _, host := range slices.Sorted(maps.Keys(l.lost)) {
		if gap := l.lost[host]; gap.first > 0 || gap.session > 0 {
			all = append(all, l.gap(host))
		}
	}
	return all
}

// gap is what other members are to know of what a host left open.
func (l *Ledger) gap(host dove.HostName) Presence {
	gap, failed := l.lost[host], l.failed[host]
	p := Presence{Host: host, Session: max(gap.session, failed.session), Phase: PhaseEnded, Failed: failed.list}
	if gap != (lost{}) {
		p.First, p.Last = max(gap.first, 1), gap.last
	}
	return p
}

// Overtaken are what hosts left open in a later session than the latest that is known, in order, by the
// member that has that one, "" if it is here: who has it must hear of it, or the host, whose
// clock was set back, is never known to make up for it.
func (l *Ledger) Overtaken() map[string][]Presence {
	all := map[string][]Presence{}
	look := func(host dove.HostName, session uint64) {
		if member, is, ok := l.latest(host); ok && is.session < session {
			all[member] = append(all[member], l.gap(host))
		}
	}
	for host, gap := range l.lost {
		look(host, max(gap.session, l.failed[host].session))
	}
	for host, failed := range l.failed {
		if _, twice := l.lost[host]; !twice {
			look(host, failed.session)
		}
	}
	for _, some := range all {
		slices.SortFunc(some, func(a, b Presence) int { return strings.Compare(string(a.Host), string(b.Host)) })
	}
	return all
}

// Away says which member that can be reached has the latest session of a host,
// by the number of its Hello; "" if none has one.
func (l *Ledger) Away(host dove.HostName) (member string, session uint64) {
	for _, name := range slices.Sorted(maps.Keys(l.others)) {
		o := l.others[name]
		if a, ok := o.hosts[host]; ok && o.reached && (member == "" || a.session > session) {
			member, session = name, a.session
		}
	}
	return member, session
}

// Astray is the member that cannot be reached and could tell of a host, the first by name; "" if none
// could.
func (l *Ledger) Astray(host dove.HostName) (member string) {
	for name, o := range l.others {
		if _, ok := o.hosts[host]; ok && !o.reached && (member == "" || name < member) {
			member = name
		}
	}
	return member
}

// Opening are the hosts whose session opens, with whichever member, in order: nobody
// knows yet what they enforce, least of all if the member cannot be reached.
func (l *Ledger) Opening() (hosts []dove.HostName) {
	if l.opening > 0 {
		for _, s := range l.sessions {
			if s.opening {
				hosts = append(hosts, s.host)
			}
		}
	}
	for _, o := range l.others {
		for host, a := range o.hosts {
			if a.opening {
				hosts = append(hosts, host)
			}
		}
	}
	slices.Sort(hosts)
	return slices.Compact(hosts)
}

// Count is how many sessions a member has, as far as is known.
func (l *Ledger) Count(member string) int {
	if o := l.others[member]; o != nil {
		return len(o.hosts)
	}
	return 0
}

// latest is the latest session of a host and the member that has it, "" for this one, of
// those that can be reached.
func (l *Ledger) latest(host dove.HostName) (member string, is away, ok bool) {
	if s := l.sessions[l.hosts[host]]; s != nil {
		is, ok = away{s.number, s.opening}, true
	}
	for name, o := range l.others {
		if a, has := o.hosts[host]; has && o.reached && (!ok || a.session > is.session || a.session == is.session && name > member) {
			member, is, ok = name, a, true
		}
	}
	return member, is, ok
}

// Newest is the number of the latest session of a host that is or was known, 0 if none is.
func (l *Ledger) Newest(host dove.HostName) uint64 {
	newest := max(l.lost[host].session, l.failed[host].session)
	if s := l.sessions[l.hosts[host]]; s != nil {
		newest = max(newest, s.number)
	}
	for _, o := range l.others {
		newest = max(newest, o.hosts[host].session)
	}
	return newest
}

// holdUp names what other members hold up of a receipt.
func (l *Ledger) holdUp(r *Receipt) {
	for _, name := range slices.Sorted(maps.Keys(l.others)) {
		o := l.others[name]
		if o.away() && r.Revision > l.asked {
			r.Members = append(r.Members, name)
		}
		upTo, holds := o.floor()
		switch {
		case !holds || r.Revision <= upTo:
		case !o.told || o.reached:
			named := len(r.Pending)
			for _, lag := range o.behind.Hosts {
				if lag.First <= r.Revision {
					r.Pending = append(r.Pending, lag.Host)
				}
			}
			if len(r.Pending) == named || o.behind.More || r.Revision > o.behind.Revision {
				r.Members = append(r.Members, name)
			}
		default:
			for _, host := range slices.Sorted(maps.Keys(o.hosts)) {
				r.Unknown = append(r.Unknown, UnknownHost{host, name})
			}
		}
	}
}
