package controller

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"dove.network/control"
	"dove.network/dove"
	"dove.network/world"
)

// Times and limits of the streams between members.
const (
	PeerSilence = 5 * time.Second // of a stream, then it ends
	peerBeat    = time.Second     // without a message, then a Heartbeat
	peerQueue   = 1 << 14         // batches that wait to be sent; more end the stream
	peerAgain   = 100 * time.Millisecond
	peerAtMost  = time.Second // between two attempts
)

// stream is one with another member.
type stream struct {
	out  chan []control.Across
	conn control.PeerConn
}

// DialPeers has the member open a stream with each other one whose name comes after
// its own: the others do so with it. Dial must check that who answers is the
// member, by its certificate. It must be called before Run.
func (m *Member) DialPeers(dial func(context.Context, world.Member) (control.PeerConn, error)) {
	m.dial = dial
}

// keepPeers keeps a stream with each member that is to be dialled, until ctx is done.
func (m *Member) keepPeers(ctx context.Context) {
	type life struct {
		member world.Member
		end    context.CancelFunc
	}
	var keeping sync.WaitGroup
	defer keeping.Wait()
	lives := map[string]life{}
	for {
		p := m.latest.Load()
		for name, l := range lives {
			if is, ok := p.world.Member(name); !ok || is.UID != l.member.UID || is.Peer != l.member.Peer || is.Serial != l.member.Serial {
				l.end()
				delete(lives, name)
			}
		}
		for is := range p.world.Members() {
			if _, kept := lives[is.Name]; kept || is.Name <= m.name || is.Peer == "" {
				continue
			}
			its, end := context.WithCancel(ctx)
			lives[is.Name] = life{is, end}
			keeping.Go(func() { m.keepPeer(its, is) })
		}
		select {
		case <-p.later:
		case <-ctx.Done():
			for _, l := range lives {
				l.end()
			}
			return
		}
	}
}

// keepPeer opens a stream with a member, again and again.
func (m *Member) keepPeer(ctx context.Context, its world.Member) {
	for failures := 0; ctx.Err() == nil; failures++ {
		began := time.Now()
		conn, err := m.dial(ctx, its)
		if err == nil {
			err = m.peer(ctx, its.Name, conn)
		}
		if time.Since(began) > peerAtMost {
			failures = 0
		}
		if ctx.Err() != nil {
			return
		}
		m.log.Info("no stream with another member", "member", its.Name, "at", its.Peer, "error", err)
		pause := min(peerAgain<<min(failures, 10), peerAtMost)
		select {
		case <-time.After(pause/2 + rand.N(pause)):
		case <-ctx.Done():
		}
	}
}

// ConversePeer serves a stream that another member opened, until either end or
// ctx ends it. The error is dove.Forbidden if the certificate is not that of the
// member's document.
func (m *Member) ConversePeer(ctx context.Context, id control.PeerIdentity, conn control.PeerConn) error {
	if err := m.AdmitPeer(ctx, id); err != nil {
		return err
	}
	return m.peer(ctx, id.Member, conn)
}

// AdmitPeer says whether a certificate is that of another member.
func (m *Member) AdmitPeer(_ context.Context, id control.PeerIdentity) error {
	its, ok := m.World().Member(id.Member)
	switch {
	case !ok || id.Member == m.name:
		return dove.Errorf(dove.Forbidden, "%s is no other member here: it was removed, or has not joined", id.Member)
	case its.Serial != id.Serial:
		return dove.Errorf(dove.Forbidden, "the certificate of member %s is not the one in its document", id.Member)
	}
	return nil
}

// peer carries a stream with another member, which it closes.
func (m *Member) peer(ctx context.Context, name string, conn control.PeerConn) (err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	context.AfterFunc(ctx, func() { conn.Close() })
	silence := time.AfterFunc(PeerSilence, func() {
		cancel(dove.Errorf(dove.Unavailable, "nothing was heard for %s", PeerSilence))
	})
	defer silence.Stop()
	own := m.start.Load()
	start, err := m.greet(name, own, conn)
	if err != nil {
		return errors.Join(err, context.Cause(ctx))
	}
	s := &stream{out: make(chan []control.Across, peerQueue), conn: conn}
	anew := false
	if err := m.post(ctx, func() {
		if anew = own != m.start.Load(); anew {
			return // this run knows nothing of what the one that greeted had told
		}
		m.endPeer(name) // one before
		m.streams[name] = s
		m.mustStep(PeerOpened{name, start})
	}); err != nil {
		return err
	}
	if anew {
		return dove.Errorf(dove.Unavailable, "the world was loaded anew while the stream was opened")
	}
	m.log.Info("a stream with another member", "member", name)
	defer func() {
		_ = m.post(context.WithoutCancel(ctx), func() { // if the member has stopped, nothing is known any more
			if m.streams[name] == s {
				delete(m.streams, name)
				m.mustStep(PeerClosed{name})
			}
		})
	}()
	var sending sync.WaitGroup
	defer sending.Wait()
	defer conn.Close()
	defer cancel(nil)
	sending.Go(func() { cancel(sendAcross(ctx, conn, s.out)) })
	for {
		message, err := conn.Recv()
		if err != nil {
			if cause := context.Cause(ctx); cause != nil {
				err = cause
			}
			return err
		}
		silence.Reset(PeerSilence)
		if _, beat := message.(*control.Heartbeat); beat {
			continue
		}
		if err := m.post(ctx, func() {
			if m.streams[name] == s {
				m.mustStep(PeerReceived{name, message})
			}
		}); err != nil {
			return err
		}
	}
}

// greet exchanges the first messages of a stream; own numbers the run here. Members speak only if they are of
// one store and speak one version.
func (m *Member) greet(name string, own uint64, conn control.PeerConn) (start uint64, err error) {
	incarnation := m.World().Incarnation()
	if err := conn.Send(&control.Greeting{Version: control.Version, Member: m.name, Start: own, Incarnation: incarnation}); err != nil {
		return 0, err
	}
	message, err := conn.Recv()
	if err != nil {
		return 0, err
	}
	g, ok := message.(*control.Greeting)
	switch {
	case !ok:
		return 0, dove.Errorf(dove.Invalid, "member %s opens with %T: a Greeting comes first", name, message)
	case g.Version != control.Version:
		return 0, dove.Errorf(dove.Unsupported, "member %s speaks version %d of the protocol, this one %d: run the same version of DOVE", name, g.Version, control.Version)
	case g.Member != name:
		return 0, dove.Errorf(dove.Forbidden, "the certificate is of member %s, its greeting of %s", name, g.Member)
	case g.Incarnation != incarnation || incarnation == 0:
		return 0, dove.Errorf(dove.Unavailable, "member %s follows another store, or one of the two has not loaded it", name)
	}
	return g.Start, nil
}

// sendAcross sends what waits, all of it at once, and says now and then that it is there.
func sendAcross(ctx context.Context, conn control.PeerConn, out <-chan []control.Across) error {
	beat := time.NewTicker(peerBeat)
	defer beat.Stop()
	for {
		var batch []control.Across
		select {
		case batch = <-out:
		case <-beat.C:
			batch = []control.Across{&control.Heartbeat{}}
		case <-ctx.Done():
			return nil
		}
		for more := true; more && len(batch) < control.RowsMax; {
			select {
			case next := <-out:
				batch = append(batch, next...)
			default:
				more = false
			}
		}
		if err := conn.Send(latestProgress(batch)...); err != nil {
			return err
		}
	}
}

// latestProgress leaves out of a batch what a later message of it overtakes.
func latestProgress(batch []control.Across) []control.Across {
	kept := make([]control.Across, 0, len(batch))
	last := -1
	for i, m := range batch {
		if _, ok := m.(*control.Progress); ok {
			last = i
		}
	}
	for i, m := range batch {
		if _, ok := m.(*control.Progress); !ok || i == last {
			kept = append(kept, m)
		}
	}
	return kept
}

// toPeer never blocks: a stream that is too slow ends.
func (m *Member) toPeer(e PeerSend) {
	s := m.streams[e.Member]
	if s == nil {
		return // it ended in this very step
	}
	select {
	case s.out <- e.Messages:
	default:
		m.log.Warn("another member is too slow; ending the stream", "member", e.Member)
		m.endPeer(e.Member)
		m.mustStep(PeerClosed{e.Member})
	}
}

func (m *Member) endPeer(name string) {
	if s := m.streams[name]; s != nil {
		delete(m.streams, name)
		go s.conn.Close() // it may wait for the other end
	}
}

// watchStore tells the Core when the store was heard of: when all that it had at a
// time is applied.
func (m *Member) watchStore(ctx context.Context) {
	again := time.NewTicker(tickEvery)
	defer again.Stop()
	for ctx.Err() == nil {
		began := time.Now()
		if err := m.hearStore(ctx); err == nil {
			_ = m.post(ctx, func() { m.mustStep(Fresh{began}) })
		}
		select {
		case <-again.C:
		case <-ctx.Done():
		}
	}
}

func (m *Member) hearStore(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, StaleAfter)
	defer cancel()
	revision, err := m.store.Current(ctx)
	if err != nil {
		return err
	}
	_, err = m.applied(ctx, revision)
	return err
}

// confirm has a request answered once all is applied that the store has now, and it is its
// turn. The store is asked once at a time, for all requests that wait.
func (m *Member) confirm(c Confirm) {
	m.doubts = append(m.doubts, c)
	if !m.confirming {
		m.confirming = true
		go m.confirmAll()
	}
}

func (m *Member) confirmAll() {
	ctx := context.Background() // hearStore bounds it, and the end of the member
	for going := true; going; {
		var asked []Confirm
		if m.post(ctx, func() { asked, m.doubts = m.doubts, nil }) != nil {
			return
		}
		err := m.hearStore(ctx)
		if m.post(ctx, func() {
			if err != nil { // those that came since need not wait as long
				asked, m.doubts = append(asked, m.doubts...), nil
			}
			m.turn.Lock()
			for _, c := range asked { // each in its turn, as those without a doubt
				n, _ := m.World().NetworkByVNI(c.Request.Questions[0].VNI)
				m.line.ask(n.Tenant, asking{c.Session, len(c.Request.Questions), func() {
					if m.began == nil { // else the session is over
						m.mustStep(Confirmed{c.Session, c.Request, err != nil})
					}
				}})
			}
			m.turn.Unlock()
			going = len(m.doubts) > 0
			m.confirming = going
		}) != nil {
			return
		}
	}
}

// polling is somebody who waits for what other members know of sessions.
type polling struct {
	waits    map[string]bool
	sessions []control.SessionStatus
	done     chan struct{}
}

// poll asks other members for the sessions of hosts, of all if there are none. What
// is not told in time is left out.
func (m *Member) poll(hosts []dove.HostName) []control.SessionStatus {
	p := &polling{done: make(chan struct{})}
	id := m.ids.Add(1)
	ctx, cancel := context.WithTimeout(context.Background(), statusWithin)
	defer cancel()
	if m.postIn(ctx, laneAsked, func() {
		m.polls[id] = p
		m.mustStep(Polled{id, hosts})
	}) != nil {
		return nil
	}
	select {
	case <-p.done:
	case <-ctx.Done():
	case <-m.stopped:
		return nil
	}
	return look(m, func(*Core) []control.SessionStatus {
		delete(m.polls, id)
		m.mustStep(Ceased{id})
		return p.sessions
	})
}

func (m *Member) polled(e Polls) {
	p := m.polls[e.Asker]
	p.waits = map[string]bool{}
	for _, name := range e.Members {
		p.waits[name] = true
	}
	if len(p.waits) == 0 {
		close(p.done)
	}
}

func (m *Member) standing(e Standing) {
	p := m.polls[e.Asker]
	if p == nil || !p.waits[e.Member] {
		return
	}
	p.sessions = control.JoinStatuses(p.sessions, e.Sessions)
	if !e.More {
		delete(p.waits, e.Member)
		if len(p.waits) == 0 {
			close(p.done)
		}
	}
}

// errOvertaken says that the store no longer knows what the watch is to go on with.
var errOvertaken = errors.New("the store was compacted beyond what was followed")

// overtake loads all documents and goes on with the difference, as if it were one
// revision. It is errOvertaken if the store is another one, or goes back.
func (m *Member) overtake(ctx context.Context, before *world.World) (dove.Revision, error) {
	var differing []dove.Doc
	seen := map[string]bool{}
	revision, err := m.store.Load(ctx, world.Prefix, func(docs []dove.Doc) error {
		for _, d := range docs {
			seen[d.Key] = true
			if before.DocRevision(d.Key) != d.Revision {
				differing = append(differing, d)
			}
		}
		return nil
	})
	switch {
	case err != nil:
		return 0, err
	case revision < before.Revision() || !seen[world.MetaKey]:
		return 0, errOvertaken
	}
	for key := range before.Keys() {
		if !seen[key] {
			differing = append(differing, dove.Doc{Key: key, Revision: revision})
		}
	}
	m.log.Warn("the store forgot what was followed; going on with the difference", "from", before.Revision(), "to", revision, "documents", len(differing))
	m.measures.loads.Inc()
	return revision, m.change(ctx, revision, differing)
}

// change has the Core apply a revision.
func (m *Member) change(ctx context.Context, revision dove.Revision, docs []dove.Doc) error {
	var failed error
	if err := m.post(ctx, func() { failed = m.step(Changed{revision, docs}) }); err != nil {
		return err
	}
	if failed != nil {
		return fmt.Errorf("%w: %w", errUnreadable, failed)
	}
	return nil
}
