package control

import (
	"cmp"
	"iter"
	"net/netip"
	"slices"
	"strings"
	"time"

	"dove.network/dove"
)

// SessionID numbers the sessions of one member, ascending, from 1.
type SessionID uint64

// SessionStatus is what a member knows of one session.
type SessionStatus struct {
	Session   SessionID        `json:"session"`
	Member    string           `json:"member"` // that has it
	Host      dove.HostName    `json:"host"`
	VTEP      netip.Addr       `json:"vtep"`
	Serial    string           `json:"serial"` // of its certificate
	Software  string           `json:"software"`
	Opened    time.Time        `json:"opened"`
	Paused    time.Duration    `json:"paused"` // that it was not read, because the host said more than it may
	Told      dove.Revision    `json:"told"`   // last frontier that was sent
	Acked     dove.Revision    `json:"acked"`  // last frontier that was acknowledged
	Peers     int              `json:"peers"`  // rows held, negative ones too
	Absent    int              `json:"absent"`
	Pairs     int              `json:"pairs"`
	Endpoints []EndpointUpdate `json:"endpoints"` // what the host said of its assignments
	Late      []dove.Endpoint  `json:"late"`      // moved away, with flows that are still to be carried
}

// Receipt says how far a revision got. It is complete once no live session, with
// whichever member, has an unacknowledged frontier at or below it. One that opens is not live yet, and
// holds up nothing but what it is told meanwhile: else whoever opens sessions without end would hold up all, for
// which hosts a revision concerns is known of live sessions only. A host that lost its session
// before it acknowledged stays pending for what it was told, until it comes back
// and acknowledges or has no endpoint left; so does one that has not come back
// since the member started, for all before. It is not complete either while a
// host says that it could not do something of it, which holds up no other
// receipt. Unconfirmed hosts have endpoints
// but no session, or one that only opens, and enforce what they knew last. Unknown hosts had a session with
// a member that cannot be reached, and hold up what that member had not said of
// them, until they open another. Members have not said yet what theirs enforce, or
// which hosts those are.
type Receipt struct {
	Revision    dove.Revision   `json:"revision"`
	Complete    bool            `json:"complete"`
	Committed   time.Time       `json:"committed,omitzero"` // when the member applied it; zero if too long ago
	Completed   time.Time       `json:"completed,omitzero"`
	Took        time.Duration   `json:"took,omitzero"` // from Committed to Completed, ns
	Told        int             `json:"told"`          // hosts that it concerned
	Pending     []dove.HostName `json:"pending,omitempty"`
	Failed      []HostFailure   `json:"failed,omitempty"`
	Unconfirmed []dove.HostName `json:"unconfirmed,omitempty"`
	Unknown     []UnknownHost   `json:"unknown,omitempty"`
	Members     []string        `json:"members,omitempty"`
}

// UnknownHost is a host of which only a member could tell that cannot be reached.
type UnknownHost struct {
	Host   dove.HostName `json:"host"`
	Member string        `json:"member"`
}

// HostFailure is what a host could not do of a revision, and tries again. It keeps
// closed what that would have opened, unless the reason says that what was before
// may still be in force.
type HostFailure struct {
	Host   dove.HostName `json:"host"`
	Reason string        `json:"reason"`
}

// ReceiptsMax is how many of the latest revisions a Ledger remembers by time.
const ReceiptsMax = 4096

// OutstandingMax is how many frontiers one session may leave unacknowledged.
const OutstandingMax = 1 << 16

// Ledger keeps the frontiers of a member's sessions, and what other members say
// of theirs. A session that is told nothing of a revision advances over it
// without a message.
type Ledger struct {
	current  dove.Revision
	own      dove.Revision // everything up to here is acknowledged by all live sessions here
	done     dove.Revision // and by those of all members
	sessions map[SessionID]*frontiers
	hosts    map[dove.HostName]SessionID // the latest session
	opening  int                         // sessions
	due      []due                       // ascending revisions
	asked    dove.Revision               // all sessions were sent a frontier at or above it, or opened later
	lost     map[dove.HostName]lost
	failed   map[dove.HostName]failures // as it said last; also while it has no session
	others   map[string]*other
	entries  []entry // ascending revisions
}

// frontiers are those of one session: what was sent and is not acknowledged.
// While it opens, it may lack any revision.
type frontiers struct {
	host        dove.HostName
	number      uint64 // of its Hello
	opening     bool
	opened      dove.Revision // the frontier that ends the opening
	told, acked dove.Revision
	outstanding []dove.Revision // ascending, later than opened
}

// first is the first frontier that the session has not acknowledged, 0 if there is none.
func (s *frontiers) first() dove.Revision {
	switch {
	case s.opening:
		return s.opened
	case len(s.outstanding) > 0:
		return s.outstanding[0]
	}
	return 0
}

// due counts the sessions that have not acknowledged a frontier.
type due struct {
	revision dove.Revision
	sessions int
}

// lost are the revisions that concerned a host which had no session, or whose
// session ended before it acknowledged the first of them.
type lost struct {
	first, last dove.Revision
	session     uint64 // of the last that ended so: only a later one makes up for it
}

func (l lost) with(m lost) lost {
	return lost{min(l.first, m.first), max(l.last, m.last), max(l.session, m.session)}
}

// failures are what a host said in a session that it could not do.
type failures struct {
	session uint64
	list    []Failure
}

type entry struct {
	revision             dove.Revision
	committed, completed time.Time
	told                 int
}

// NewLedger starts at the revision of the world that the member loaded. Hosts
// are those with endpoints: whatever they were told by another member counts as
// not acknowledged until they open a session and acknowledge. Members are the other
// ones: until they say how far theirs are, nothing is settled.
func NewLedger(current dove.Revision, hosts []dove.HostName, members ...string) *Ledger {
	l := &Ledger{
		current: current, own: current, done: current,
		sessions: map[SessionID]*frontiers{}, hosts: map[dove.HostName]SessionID{},
		lost: map[dove.HostName]lost{}, failed: map[dove.HostName]failures{}, others: map[string]*other{},
	}
	for _, h := range hosts {
		l.lost[h] = lost{last: current}
	}
	for _, name := range members {
		l.others[name] = &other{hosts: map[dove.HostName]away{}}
		l.done = 0
	}
	return l
}

// Open adds a session that was sent everything as of a revision, closed by its
// frontier. Number is that of its Hello.
func (l *Ledger) Open(id SessionID, host dove.HostName, number uint64, told dove.Revision) {
	l.arrive(host)
	l.sessions[id] = &frontiers{host: host, number: number, opening: true, opened: told, told: told}
	l.hosts[host] = id
	l.opening++
}

// Close removes a session.
func (l *Ledger) Close(id SessionID, now time.Time) {
	s := l.sessions[id]
	if s == nil {
		return
	}
	delete(l.sessions, id)
	if l.hosts[s.host] == id {
		delete(l.hosts, s.host)
	}
	if s.opening {
		l.opening--
	}
	l.settled(s.outstanding)
	if first := s.first(); first > 0 {
		l.lose(s.host, lost{first, s.told, s.number})
	}
	l.settle(now)
}

// lose notes what a host may lack, unless it has opened a later session since and
// acknowledged what that brought, or the one that is said to have ended goes on with
// another member, which holds up what it lacks.
func (l *Ledger) lose(host dove.HostName, gap lost) {
	if _, is, ok := l.latest(host); ok && !is.opening && is.session >= gap.session || gap.first > gap.last {
		return
	}
	l.lack(host, gap)
}

// Miss notes that a revision takes something from a host that has no session to
// be told in: the host holds the receipt up until it is back.
func (l *Ledger) Miss(host dove.HostName, revision dove.Revision) {
	l.lack(host, lost{first: revision, last: revision})
}

// lack adds to what a host may lack. Gaps come in no order: another member may have told
// of later revisions than are known here.
func (l *Ledger) lack(host dove.HostName, gap lost) {
	if before, ok := l.lost[host]; ok {
		gap = gap.with(before)
	}
	l.lost[host] = gap
}

// Lost reports whether a host may still enforce what it was to give up.
func (l *Ledger) Lost(host dove.HostName) bool {
	_, ok := l.lost[host]
	return ok
}

// Commit notes a revision and the sessions that were told something of it,
// each with a frontier. It returns those with too many outstanding ones.
func (l *Ledger) Commit(revision dove.Revision, told []SessionID, now time.Time) (overdue []SessionID) {
	l.current = max(l.current, revision)
	overdue = l.tell(revision, told)
	l.entries = append(l.entries, entry{revision: revision, committed: now, told: len(told)})
	if n := len(l.entries) - ReceiptsMax; n > 0 {
		l.entries = l.entries[n:] // append moves them where it has to, which is seldom
	}
	l.settle(now)
	return overdue
}

// Ask notes that the sessions which were not told of the present revision were sent its frontier. While
// some member is not reached no later receipt is complete: nobody would say of a host that it has left for that
// one, but it does not acknowledge then.
func (l *Ledger) Ask(told []SessionID, now time.Time) (overdue []SessionID) {
	overdue = l.tell(l.current, told)
	l.asked = l.current
	l.settle(now)
	return overdue
}

// tell notes which sessions were sent a frontier of the latest revision.
func (l *Ledger) tell(revision dove.Revision, told []SessionID) (overdue []SessionID) {
	for _, id := range told {
		s := l.sessions[id]
		s.told = revision
		s.outstanding = append(s.outstanding, revision)
		if len(s.outstanding) > OutstandingMax {
			overdue = append(overdue, id)
		}
	}
	if n := len(l.due); n > 0 && l.due[n-1].revision == revision {
		l.due[n-1].sessions += len(told)
	} else if len(told) > 0 {
		l.due = append(l.due, due{revision, len(told)})
	}
	return overdue
}

// Ack notes that a session enforces everything up to a frontier, but for what
// failed. The error, dove.Invalid, is about a frontier that was never sent.
func (l *Ledger) Ack(id SessionID, revision dove.Revision, failed []Failure, now time.Time) error {
	s := l.sessions[id]
	last := revision
	if n := len(failed); n > 0 {
		last = max(last, failed[n-1].Revision)
	}
	if last > s.told {
		return dove.Errorf(dove.Invalid, "host %s acknowledges revision %d, but was told nothing after %d", s.host, last, s.told)
	}
	l.fail(s.host, s.number, failed, now)
	s.acked = max(s.acked, revision)
	n, found := slices.BinarySearch(s.outstanding, revision)
	if found {
		n++
	}
	if s.opening && revision >= s.opened {
		s.opening = false
		l.opening--
		l.regain(s.host, s.number, now)
	}
	l.settled(s.outstanding[:n])
	s.outstanding = slices.Delete(s.outstanding, 0, n)
	l.settle(now)
	return nil
}

// settled notes that a session no longer holds up revisions.
func (l *Ledger) settled(revisions []dove.Revision) {
	for _, r := range revisions {
		i, _ := slices.BinarySearchFunc(l.due, r, func(d due, r dove.Revision) int { return cmp.Compare(d.revision, r) })
		l.due[i].sessions--
	}
	n := 0
	for n < len(l.due) && l.due[n].sessions == 0 {
		n++
	}
	l.due = l.due[n:]
}

// regain stamps what a host that was lost now enforces.
func (l *Ledger) regain(host dove.HostName, session uint64, now time.Time) {
	gap, ok := l.lost[host]
	if !ok || session < gap.session {
		return
	}
	delete(l.lost, host)
	for i := range l.entries {
		if e := &l.entries[i]; e.revision >= gap.first && e.revision <= gap.last && !e.completed.IsZero() {
			e.completed = now
		}
	}
}

// fail notes what a host says in a session has failed, and stamps what no longer does.
func (l *Ledger) fail(host dove.HostName, session uint64, failed []Failure, now time.Time) {
	before := l.failed[host]
	if session < before.session {
		return
	}
	if len(failed) > 0 && failed[0].Revision == 0 {
		failed = l.unnamed(before.list, failed[1:])
	}
	for _, f := range before.list {
		gone := !slices.ContainsFunc(failed, func(o Failure) bool { return o.Revision == f.Revision })
		if i := l.find(f.Revision); gone && i < len(l.entries) && l.entries[i].revision == f.Revision && l.Settled(f.Revision) {
			l.entries[i].completed = now
		}
	}
	if len(failed) == 0 {
		delete(l.failed, host)
		return
	}
	l.failed[host] = failures{session, failed}
}

// unnamed adds to what a host names what it named before, in order: the latest,
// as many as receipts are remembered.
func (l *Ledger) unnamed(before, named []Failure) []Failure {
	all := slices.Clone(named)
	for _, f := range before {
		if !slices.ContainsFunc(named, func(o Failure) bool { return o.Revision == f.Revision }) {
			all = append(all, f)
		}
	}
	slices.SortFunc(all, func(a, b Failure) int { return cmp.Compare(a.Revision, b.Revision) })
	return all[max(len(all)-ReceiptsMax, 0):]
}

// failures returns what hosts could not do of a revision, by host. Who has
// neither a session nor anything to enforce counts no more.
func (l *Ledger) failures(revision dove.Revision, unconfirmed []dove.HostName) (out []HostFailure) {
	for host, failed := range l.failed {
		for _, f := range failed.list {
			if f.Revision == revision && (among(unconfirmed, host) || l.present(host)) {
				out = append(out, HostFailure{host, f.Text})
			}
		}
	}
	slices.SortFunc(out, func(a, b HostFailure) int { return strings.Compare(string(a.Host), string(b.Host)) })
	return out
}

func (l *Ledger) present(host dove.HostName) bool {
	_, _, ok := l.latest(host)
	return ok
}

func among(ordered []dove.HostName, host dove.HostName) bool {
	_, found := slices.BinarySearch(ordered, host)
	return found
}

// settle finds how far all live sessions have come.
func (l *Ledger) settle(now time.Time) {
	floor := l.current
	if len(l.due) > 0 {
		floor = min(floor, l.due[0].revision-1)
	}
	if l.Unsure() {
		floor = min(floor, l.asked)
	}
	l.own = max(l.own, floor)
	floor = l.own
	for _, o := range l.others {
		if upTo, holds := o.floor(); holds {
			floor = min(floor, upTo)
		}
	}
	if floor <= l.done {
		return
	}
	from := l.find(l.done + 1)
	l.done = floor
	for i := from; i < len(l.entries) && l.entries[i].revision <= floor; i++ {
		l.entries[i].completed = now
	}
}

// find returns the index of the first entry at or after a revision.
func (l *Ledger) find(revision dove.Revision) int {
	i, _ := slices.BinarySearchFunc(l.entries, revision, func(e entry, r dove.Revision) int {
		return int(e.revision - r)
	})
	return i
}

// Own returns the revision up to which all live sessions here have acknowledged.
func (l *Ledger) Own() dove.Revision { return l.own }

// Settled reports whether all live sessions acknowledged a revision: its
// receipt is complete unless a lost host holds it up.
func (l *Ledger) Settled(revision dove.Revision) bool { return revision <= l.done }

// After yields the remembered receipts of the revisions after one, in order, as
// far as live sessions go: hosts without one hold up none of them, what failed does
// neither, and Pending, Failed and Unconfirmed are empty.
func (l *Ledger) After(revision dove.Revision) iter.Seq[Receipt] {
	return func(yield func(Receipt) bool) {
		for _, e := range l.entries[l.find(revision+1):] {
			r := Receipt{Revision: e.revision, Committed: e.committed, Told: e.told, Complete: l.Settled(e.revision)}
			if r.Complete {
				r.Completed, r.Took = e.completed, e.completed.Sub(e.committed)
			}
			if !yield(r) {
				return
			}
		}
	}
}

// Unsettled yields the remembered receipts that some live session holds up, as
// After does.
func (l *Ledger) Unsettled() iter.Seq[Receipt] { return l.After(l.done) }

// Frontiers returns the last frontiers that a session was sent and acknowledged.
func (l *Ledger) Frontiers(id SessionID) (told, acked dove.Revision) {
	s := l.sessions[id]
	return s.told, s.acked
}

// Receipt says how far a revision got. Unconfirmed are the hosts without a
// session that may enforce something, in order.
func (l *Ledger) Receipt(revision dove.Revision, unconfirmed []dove.HostName) Receipt {
	r := Receipt{Revision: revision, Complete: l.Settled(revision), Unconfirmed: unconfirmed}
	if !r.Complete && revision <= l.current {
		for _, s := range l.sessions {
			if len(s.outstanding) > 0 && s.outstanding[0] <= revision {
				r.Pending = append(r.Pending, s.host)
			}
		}
		l.holdUp(&r)
	}
	for host, gap := range l.lost {
		if revision < gap.first || gap.last < revision {
			continue
		}
		_, is, ok := l.latest(host)
		if ok && (is.opening || is.session < gap.session) || among(unconfirmed, host) {
			r.Pending = append(r.Pending, host)
		} else if member := l.Astray(host); member != "" {
			r.Unknown = append(r.Unknown, UnknownHost{host, member})
		}
	}
	slices.Sort(r.Pending)
	r.Pending = slices.Compact(r.Pending)
	slices.SortFunc(r.Unknown, func(a, b UnknownHost) int {
		return cmp.Or(cmp.Compare(a.Member, b.Member), cmp.Compare(a.Host, b.Host))
	})
	r.Unknown = slices.Compact(r.Unknown)
	r.Failed = l.failures(revision, unconfirmed)
	r.Complete = r.Complete && len(r.Pending) == 0 && len(r.Unknown) == 0 && len(r.Failed) == 0
	if i := l.find(revision); i < len(l.entries) && l.entries[i].revision == revision {
		e := l.entries[i]
		r.Committed, r.Told = e.committed, e.told
		if r.Complete {
			r.Completed, r.Took = e.completed, e.completed.Sub(e.committed)
		}
	}
	return r
}
