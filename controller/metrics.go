package controller

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"dove.network/control"
	"dove.network/dove"
)

// measures are what a member counts of its own work. Labels have few values, and
// none that a tenant or a host can choose.
type measures struct {
	steps     *prometheus.HistogramVec // by event
	answer    prometheus.Histogram
	questions *prometheus.CounterVec // by status
	told      *prometheus.CounterVec // by kind of row
	expected  *prometheus.CounterVec // by kind of row
	resumed   *prometheus.CounterVec // rows, by whether they differed
	opened    prometheus.Counter
	unopened  *prometheus.CounterVec // by reason
	ended     *prometheus.CounterVec // by reason
	pauses    *prometheus.CounterVec // by what was said
	denied    prometheus.Counter
	loads     prometheus.Counter
	receipts  prometheus.Histogram

	settled dove.Revision // receipts up to here were observed
}

// Values of labels.
const (
	kindPeer   = "peer"
	kindAbsent = "absent"
	kindPair   = "pair"

	resumedTold = "told"
	resumedKept = "kept"

	endedClosed    = "closed"    // by the host, or its connection broke
	endedRefused   = "refused"   // by the member
	endedElsewhere = "elsewhere" // by the member, which named others
	endedSlow      = "slow"      // by the member: the host did not read
	endedInvalid   = "invalid"   // by the member: what the host said is no message

	unopenedOften     = "often"     // the host opened too many before
	unopenedOvertaken = "overtaken" // the host opened another connection before its Hello was there
	unopenedHello     = "hello"     // it is malformed, too long, or did not come in time
	unopenedLost      = "lost"      // the member had lost touch with its store, or stopped, before it let the host in
)

// endedBecause is why a session ended that the Core did not end.
func endedBecause(err error) string {
	switch dove.KindOf(err) {
	case dove.Invalid, dove.TooLarge, dove.Forbidden:
		return endedInvalid
	}
	return endedClosed
}

var statusNames = map[control.Status]string{
	control.Found: "found", control.NoEndpoint: "no-endpoint", control.Refused: "refused", control.Retry: "retry",
}

// Bounds of histograms, seconds.
var (
	stepBuckets    = prometheus.ExponentialBuckets(1e-5, 4, 10) // 10 us to 2.6 s
	answerBuckets  = prometheus.ExponentialBuckets(2e-5, 2, 16) // 20 us to 0.66 s
	receiptBuckets = prometheus.ExponentialBuckets(1e-3, 2, 16) // 1 ms to 33 s
)

func newMeasures() *measures {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	counters := func(name, help, label string, values ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{label})
		for _, value := range values {
			v.WithLabelValues(value) // so that it is there before it happens
		}
		return v
	}
	histogram := func(name, help string, buckets []float64) prometheus.HistogramOpts {
		return prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}
	}
	return &measures{
		steps: prometheus.NewHistogramVec(histogram("dove_dpc_step_seconds",
			"How long the member took to decide what an event means, one at a time.", stepBuckets), []string{"event"}),
		answer: prometheus.NewHistogram(histogram("dove_dpc_answer_seconds",
			"From a request's arrival until its answer was ready to be sent.", answerBuckets)),
		questions: counters("dove_dpc_questions_answered_total", "Questions of dSwitches that were answered.", "status",
			statusNames[control.Found], statusNames[control.NoEndpoint], statusNames[control.Refused], statusNames[control.Retry]),
		told:     counters("dove_dpc_rows_told_total", "Rows that dSwitches held and were told anew because they changed.", "kind", kindPeer, kindPair),
		expected: counters("dove_dpc_rows_expected_total", "Rows that dSwitches were sent because they will need them, unasked.", "kind", kindPeer, kindPair),
		resumed:  counters("dove_dpc_rows_resumed_total", "Rows that dSwitches held when they opened a session: told anew because they differ, or kept.", "state", resumedTold, resumedKept),
		opened:   counter("dove_dpc_sessions_opened_total", "Sessions that dSwitches opened."),
		ended:    counters("dove_dpc_sessions_ended_total", "Sessions that ended.", "reason", endedClosed, endedRefused, endedElsewhere, endedSlow, endedInvalid),
		unopened: counters("dove_dpc_sessions_not_opened_total", "Connections of dSwitches that became no session.", "reason", unopenedOften, unopenedOvertaken, unopenedHello, unopenedLost),
		pauses:   counters("dove_dpc_session_pauses_total", "Times that a host said more than it may, and was not read for a while.", "said", saidQuestion, saidClaim, saidOther),
		denied:   counter("dove_dpc_claims_denied_total", "Claims of hosts to endpoints that are not theirs, but for what crossed the news of that."),
		loads:    counter("dove_dpc_world_loads_total", "Times that all documents were read from the store."),
		receipts: prometheus.NewHistogram(histogram("dove_dpc_receipt_seconds",
			"From a change's arrival until every host in session that it concerns had acknowledged it.", receiptBuckets)),
	}
}

func (m *measures) all() []prometheus.Collector {
	return []prometheus.Collector{m.steps, m.answer, m.questions, m.told, m.expected, m.resumed, m.opened, m.unopened, m.ended, m.pauses, m.denied, m.loads, m.receipts}
}

// step notes how long an event took, and what came of it.
func (m *measures) step(e Event, took time.Duration, effects []Effect) {
	m.steps.WithLabelValues(eventName(e)).Observe(took.Seconds())
	for _, effect := range effects {
		switch effect := effect.(type) {
		case Send:
			m.sent(effect.Messages)
		case Resumed:
			m.resumed.WithLabelValues(resumedTold).Add(float64(effect.Told))
			m.resumed.WithLabelValues(resumedKept).Add(float64(effect.Kept))
		case Denied:
			m.denied.Inc()
		}
	}
}

func (m *measures) sent(messages []control.Down) {
	for _, message := range messages {
		switch message := message.(type) {
		case *control.PolicyReply:
			for _, a := range message.Answers {
				m.questions.WithLabelValues(statusNames[a.Status]).Inc()
			}
		case *control.Expect:
			m.expected.WithLabelValues(kindPeer).Add(float64(len(message.Peers)))
			m.expected.WithLabelValues(kindPair).Add(float64(len(message.Pairs)))
		case *control.Update:
			m.told.WithLabelValues(kindPeer).Add(float64(len(message.Peers)))
			m.told.WithLabelValues(kindPair).Add(float64(len(message.Pairs)))
		}
	}
}

// settle observes receipts that have become complete and concerned somebody.
func (m *measures) settle(c *Core) {
	for r := range c.settled(m.settled) {
		m.settled = r.Revision
		if r.Told > 0 {
			m.receipts.Observe(r.Took.Seconds())
		}
	}
}

func eventName(e Event) string {
	switch e.(type) {
	case Changed:
		return "changed"
	case Opened:
		return "opened"
	case Received:
		return "received"
	case Continued:
		return "continued"
	case Flooded:
		return "flooded"
	case Paused:
		return "paused"
	case Closed:
		return "closed"
	case Asked:
		return "asked"
	case Polled:
		return "polled"
	case Ceased:
		return "ceased"
	case PeerOpened:
		return "peer-opened"
	case PeerReceived:
		return "peer-received"
	case PeerClosed:
		return "peer-closed"
	case Fresh:
		return "fresh"
	case Confirmed:
		return "confirmed"
	case Tick:
		return "tick"
	}
	panic(fmt.Sprintf("controller: event %T is not known", e))
}

// Alive returns nil if the member works: its Core reacts, or there is
// none because the store is being loaded.
func (m *Member) Alive(ctx context.Context) error {
	if !m.following.Load() {
		return nil
	}
	if err := m.ask(ctx, func() {}); err != nil && m.following.Load() {
		return fmt.Errorf("the member does not react: %w", err)
	}
	return nil
}

// Ready returns nil if the member can answer: it follows the store, and the
// store answers.
func (m *Member) Ready(ctx context.Context) error {
	if !m.following.Load() {
		return dove.Errorf(dove.Unavailable, "the documents are not loaded")
	}
	_, err := m.Read(ctx)
	return err
}

// collectWithin bounds how long a scrape waits for the store and for the Core.
const collectWithin = 2 * time.Second

// collector asks a member for its figures at each scrape.
type collector struct{ member *Member }

// Collector returns the member's metrics, dove_dpc_*.
func (m *Member) Collector() prometheus.Collector { return collector{m} }

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

var (
	descFollowing   = describe("dove_dpc_following", "1 if the member has loaded the documents and follows the store.")
	descStoreUp     = describe("dove_dpc_store_up", "1 if the store answered this scrape.")
	descRevision    = describe("dove_dpc_world_revision", "Revision of the documents that the member has applied.")
	descLag         = describe("dove_dpc_watch_lag_revisions", "Revisions of the store that the member has not applied yet.")
	descSessions    = describe("dove_dpc_sessions", "Sessions of dSwitches that are open.")
	descHeld        = describe("dove_dpc_held_rows", "Rows that the dSwitches in session hold, and are told of when they change.", "kind")
	descHosts       = describe("dove_dpc_hosts", "Hosts that have joined.")
	descUnconfirmed = describe("dove_dpc_hosts_unconfirmed", "Hosts that have endpoints and no session with any member: they enforce what they knew last.")
	descPending     = describe("dove_dpc_receipts_pending", "Changes that some host in session has not acknowledged.")
	descAge         = describe("dove_dpc_store_age_seconds", "How long ago all was applied that the store had then: answers are no older. Beyond three seconds there are none.")
	descReached     = describe("dove_dpc_members_reached", "Other members with which a stream is up.")
	descBehind      = describe("dove_dpc_sessions_behind_revisions", "Revisions that the slowest session has not acknowledged.")
	descOverdue     = describe("dove_dpc_receipts_overdue", "Changes that some host in session has not acknowledged for more than ten seconds.")
)

// Describe implements prometheus.Collector.
func (c collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		descFollowing, descStoreUp, descRevision, descLag, descSessions, descHeld, descHosts, descUnconfirmed, descPending, descOverdue,
		descAge, descReached, descBehind,
	} {
		out <- d
	}
	for _, m := range c.member.measures.all() {
		m.Describe(out)
	}
}

// Collect implements prometheus.Collector. What the store or the Core does not
// say in time is left out.
func (c collector) Collect(out chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	for _, m := range c.member.measures.all() {
		m.Collect(out)
	}
	ctx, cancel := context.WithTimeout(context.Background(), collectWithin)
	defer cancel()
	committed, err := c.member.store.Current(ctx)
	gauge(descStoreUp, truth(err == nil))
	gauge(descFollowing, truth(c.member.following.Load()))
	if !c.member.following.Load() {
		return
	}
	var f Figures
	if c.member.ask(ctx, func() { f = c.member.core.Figures(time.Now()) }) != nil {
		return
	}
	if err == nil {
		gauge(descLag, float64(max(0, committed-f.Revision)))
	}
	gauge(descRevision, float64(f.Revision))
	gauge(descSessions, float64(f.Sessions))
	gauge(descHeld, float64(f.Peers), kindPeer)
	gauge(descHeld, float64(f.Absent), kindAbsent)
	gauge(descHeld, float64(f.Pairs), kindPair)
	gauge(descHosts, float64(f.Hosts))
	gauge(descUnconfirmed, float64(f.Unconfirmed))
	gauge(descPending, float64(f.Pending))
	gauge(descOverdue, float64(f.Overdue))
	gauge(descAge, f.Age.Seconds())
	gauge(descReached, float64(f.Members))
	gauge(descBehind, float64(f.Behind))
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
