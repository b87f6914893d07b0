package agent

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"dove.network/control"
	"dove.network/dataplane"
)

// measures are what an agent counts of its own work, in the goroutine that owns
// Core. Labels have few values, and none that a tenant can choose.
type measures struct {
	misses    *prometheus.CounterVec // by what is wanted
	questions prometheus.Counter
	answer    prometheus.Histogram
	apply     prometheus.Histogram
	refused   prometheus.Counter
	opened    prometheus.Counter
	failed    prometheus.Counter

	asked map[uint64]time.Time // requests that wait for the first reply, by id
	took  []time.Duration      // of the last answers, in a ring of tookMax
	next  int
}

// Bounds of histograms, seconds.
var (
	answerBuckets = prometheus.ExponentialBuckets(1e-4, 2, 14) // 0.1 ms to 0.8 s
	applyBuckets  = prometheus.ExponentialBuckets(2e-5, 3, 12) // 20 us to 3.5 s
)

var wantNames = [...]string{
	dataplane.WantPeer: "peer", dataplane.WantPair: "pair", dataplane.WantConfirm: "confirm", dataplane.WantFirst: "first", dataplane.WantTurn: "turn", dataplane.WantDenial: "denial",
}

func newMeasures() *measures {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets})
	}
	m := &measures{
		misses: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "dove_dswitch_misses_total", Help: "Packets that the kernel could not judge, by what it lacked.",
		}, []string{"want"}),
		questions: counter("dove_dswitch_questions_total", "Questions that the DPC was asked."),
		answer:    histogram("dove_dswitch_answer_seconds", "From a request to the DPC until its first answer.", answerBuckets),
		apply:     histogram("dove_dswitch_apply_seconds", "How long the kernel's tables took to change, for all that changed together.", applyBuckets),
		refused:   counter("dove_dswitch_apply_failures_total", "Changes of the kernel's tables of which some part failed, and is tried again."),
		opened:    counter("dove_dswitch_sessions_opened_total", "Sessions that a DPC member welcomed."),
		failed:    counter("dove_dswitch_session_failures_total", "Sessions that broke or were refused, and attempts to open one that failed."),
		asked:     map[uint64]time.Time{},
	}
	for _, want := range wantNames {
		if want == "" {
			continue // claims are no misses
		}
		m.misses.WithLabelValues(want) // so that it is there before it happens
	}
	return m
}

func (m *measures) all() []prometheus.Collector {
	return []prometheus.Collector{m.misses, m.questions, m.answer, m.apply, m.refused, m.opened, m.failed}
}

func (m *measures) missed(events []Event) {
	for _, e := range events {
		if e, ok := e.(Missed); ok {
			m.misses.WithLabelValues(wantNames[e.Miss.Want]).Inc()
		}
	}
}

// sent notes questions.
func (m *measures) sent(message control.Up, now time.Time) {
	if r, ok := message.(*control.PolicyRequest); ok {
		m.questions.Add(float64(len(r.Questions)))
		if len(m.asked) < QuestionsMax {
			m.asked[r.ID] = now
		}
	}
}

// heard notes answers and the begin of a session.
func (m *measures) heard(message control.Down, now time.Time) {
	switch message := message.(type) {
	case *control.Welcome:
		m.opened.Inc()
	case *control.PolicyReply:
		if at, ok := m.asked[message.ID]; ok {
			delete(m.asked, message.ID)
			m.answer.Observe(now.Sub(at).Seconds())
			m.remember(now.Sub(at))
		}
	}
}

// tookMax is of how many answers AnswerTimes speaks.
const tookMax = 256

func (m *measures) remember(d time.Duration) {
	if len(m.took) < tookMax {
		m.took = append(m.took, d)
		return
	}
	m.took[m.next] = d
	m.next = (m.next + 1) % tookMax
}

// answers says how long the last answers took.
func (m *measures) answers() AnswerTimes {
	sorted := slices.Sorted(slices.Values(m.took))
	n := len(sorted)
	if n == 0 {
		return AnswerTimes{}
	}
	return AnswerTimes{Count: n, P50: sorted[(n-1)/2], P99: sorted[(99*n-1)/100]}
}

// ended notes that a session is over, or that none could be opened.
func (m *measures) ended(err error) {
	clear(m.asked)
	if err != nil {
		m.failed.Inc()
	}
}

func (m *measures) applied(took time.Duration, err error) {
	m.apply.Observe(took.Seconds())
	if err != nil {
		m.refused.Inc()
	}
}

// Alive returns nil if the agent reacts.
func (a *Agent) Alive(ctx context.Context) error {
	if err := a.call(ctx, func() {}); err != nil {
		return fmt.Errorf("the agent does not react: %w", err)
	}
	return nil
}

// Ready returns nil if the agent is in session with the DPC and was told all
// that concerns the host. Without, what is held stays in force.
func (a *Agent) Ready(ctx context.Context) error {
	var why error
	err := a.call(ctx, func() {
		switch s := &a.core.session; {
		case s.member == "" && s.refusal != nil:
			why = fmt.Errorf("no session with the DPC: %s", s.refusal.Message)
		case s.member == "":
			why = fmt.Errorf("no session with the DPC: %s", cmp.Or(a.trouble, "it has not answered yet"))
		case !s.swept:
			why = fmt.Errorf("%s has not yet said all that concerns this host", s.member)
		}
	})
	if err != nil {
		return fmt.Errorf("the agent does not react: %w", err)
	}
	return why
}

// collectWithin bounds how long a scrape waits for the agent.
const collectWithin = 2 * time.Second

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

var (
	descSession   = describe("dove_dswitch_session_open", "1 if a DPC member has welcomed this host and the session lasts.")
	descSeen      = describe("dove_dswitch_seen_revision", "Revision of the newest that a DPC member has said.")
	descHeld      = describe("dove_dswitch_held_rows", "Answers of the DPC that are held.", "kind")
	descVTEPs     = describe("dove_dswitch_vteps", "Other hosts of the fleet that are known.")
	descPorts     = describe("dove_dswitch_ports", "Endpoints that are assigned to this host, by what became of them.", "state")
	descQuestions = describe("dove_dswitch_questions_waiting", "Questions without an answer.")
	descPackets   = describe("dove_dswitch_packets_waiting", "Packets that are held until an answer comes.")
	descFaults    = describe("dove_dswitch_faults", "Entries of the kernel's tables that could not be changed; while there are any, no change is acknowledged.")
	descClosed    = describe("dove_dswitch_closed_pairs", "Pairs of classes whose rules did not fit, so that all of their packets are denied; of domains that have any.", "domain")
	descFlows     = describe("dove_dswitch_flows", "Entries of the flow table.")
	descDropped   = describe("dove_dswitch_dropped_packets_total", "Packets that were refused since the agent started.", "reason")
	descShadow    = describe("dove_dswitch_shadow_judged", "What was judged where a policy in shadow would decide, since there is one: it would allow what was denied, deny what was allowed, or decide the same.", "would")
	descBytes     = describe("dove_dswitch_dropped_bytes_total", "Bytes of packets that were refused since the agent started.", "reason")
)

// collector asks an agent and its switch for their figures at each scrape.
type collector struct {
	agent *Agent
	base  [dataplane.Reasons]dataplane.Count // what was counted before
}

// Collector returns the agent's metrics, dove_dswitch_*. Drops are counted from
// now on: the switch may have counted some that it forgets in between, and a
// counter must not go back.
func (a *Agent) Collector() (prometheus.Collector, error) {
	base, err := sums(a.options.Switch)
	return &collector{a, base}, err
}

// sums adds up drops by reason.
func sums(s dataplane.Switch) ([dataplane.Reasons]dataplane.Count, error) {
	var sums [dataplane.Reasons]dataplane.Count
	counts, err := s.Counts()
	for _, c := range counts {
		if int(c.Reason) < len(sums) {
			sums[c.Reason].Packets += c.Packets
			sums[c.Reason].Bytes += c.Bytes
		}
	}
	return sums, err
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		descSession, descSeen, descHeld, descVTEPs, descPorts, descQuestions, descPackets, descFaults, descClosed, descFlows, descDropped, descBytes, descShadow,
	} {
		out <- d
	}
	for _, m := range c.agent.measures.all() {
		m.Describe(out)
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	for _, m := range c.agent.measures.all() {
		m.Collect(out)
	}
	c.drops(out)
	if sizes, err := c.agent.options.Switch.Sizes(); err != nil {
		out <- prometheus.NewInvalidMetric(descFlows, err)
	} else {
		out <- prometheus.MustNewConstMetric(descFlows, prometheus.GaugeValue, float64(sizes.Flows))
	}
	c.shadows(out)
	ctx, cancel := context.WithTimeout(context.Background(), collectWithin)
	defer cancel()
	var s Status
	if err := c.agent.call(ctx, func() { s = c.agent.core.Status() }); err != nil {
		out <- prometheus.NewInvalidMetric(descSession, err)
		return
	}
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	open := 0.0
	if s.Session == "open" {
		open = 1
	}
	gauge(descSession, open)
	gauge(descSeen, float64(s.Seen))
	gauge(descHeld, float64(s.Held.Peers), "peer")
	gauge(descHeld, float64(s.Held.Absent), "absent")
	gauge(descHeld, float64(s.Held.Pairs), "pair")
	gauge(descVTEPs, float64(s.Held.VTEPs))
	gauge(descQuestions, float64(s.Waiting.Questions))
	gauge(descPackets, float64(s.Waiting.Packets))
	gauge(descFaults, float64(len(s.Faults)))
	for domain, n := range s.Closed {
		gauge(descClosed, float64(n), domain)
	}
	states := map[string]int{"waiting": 0, "opening": 0, "active": 0, "failed": 0}
	for _, p := range s.Ports {
		states[p.State]++
	}
	for state, n := range states {
		gauge(descPorts, float64(n), state)
	}
}

// shadows tells the counts of rules in shadow: a gauge, for they are forgotten with the
// last table that has the rule.
func (c *collector) shadows(out chan<- prometheus.Metric) {
	all, err := c.agent.options.Switch.Shadows()
	if err != nil {
		out <- prometheus.NewInvalidMetric(descShadow, err)
		return
	}
	var sum dataplane.Shadow
	for _, s := range all {
		sum.Allow, sum.Deny, sum.Same = sum.Allow+s.Allow, sum.Deny+s.Deny, sum.Same+s.Same
	}
	for would, n := range map[string]uint64{"allow": sum.Allow, "deny": sum.Deny, "same": sum.Same} {
		out <- prometheus.MustNewConstMetric(descShadow, prometheus.GaugeValue, float64(n), would)
	}
}

func (c *collector) drops(out chan<- prometheus.Metric) {
	now, err := sums(c.agent.options.Switch)
	if err != nil {
		out <- prometheus.NewInvalidMetric(descDropped, err)
		return
	}
	counter := func(d *prometheus.Desc, value, base uint64, reason dataplane.Reason) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(value-min(value, base)), reason.String())
	}
	for i := 1; i < dataplane.Reasons; i++ { // 0 is not dropped
		counter(descDropped, now[i].Packets, c.base[i].Packets, dataplane.Reason(i))
		counter(descBytes, now[i].Bytes, c.base[i].Bytes, dataplane.Reason(i))
	}
}
