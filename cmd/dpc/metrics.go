package main

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"dove.network/control/stream"
	"dove.network/controller"
	"dove.network/daemon"
	"dove.network/dove"
	"dove.network/store/etcd"
)

// meter is what the program measures besides what its parts do.
type meter struct {
	seconds  *prometheus.HistogramVec // of requests to the store
	failures *prometheus.CounterVec
	requests *prometheus.CounterVec // to the API
	waiting  prometheus.Gauge
	refused  *prometheus.CounterVec // connections
}

func newMeter() *meter {
	m := &meter{
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "dove_dpc_store_request_seconds", Help: "How long requests to the store took.",
			Buckets: prometheus.ExponentialBuckets(1e-4, 3, 11), // 0.1 ms to 5.9 s
		}, []string{"operation"}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "dove_dpc_store_errors_total",
			Help: "Requests to the store that failed, by kind of error; a commit's conflict is tried again.",
		}, []string{"operation", "kind"}),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "dove_dpc_api_requests_total", Help: "Requests to the API that were answered.",
		}, []string{"code", "method"}),
		waiting: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "dove_dpc_api_requests_in_flight", Help: "Requests to the API that are being answered, those that wait for something too.",
		}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "dove_dpc_connections_refused_total",
			Help: "Connections that were not let in, and for the API those that asked nothing and made room for others, by reason.",
		}, []string{"port", "reason"}),
	}
	m.refused.WithLabelValues(apiPort, string(stream.Crowded))
	for _, port := range []string{controlPort, peerPort} {
		for _, reason := range stream.Reasons() {
			m.refused.WithLabelValues(port, string(reason))
		}
	}
	for _, operation := range []string{loading, watching, committing, asking} {
		m.failures.WithLabelValues(operation, dove.Unavailable.String()) // so that it is there before it happens
	}
	return m
}

// Values of the label port.
const (
	apiPort     = "api"
	controlPort = "control"
	peerPort    = "peer"
)

// refusedAt counts connections that are not let in at a port.
func (m *meter) refusedAt(port string) func(stream.Reason) {
	return func(r stream.Reason) { m.refused.WithLabelValues(port, string(r)).Inc() }
}

// gatherer collects all metrics of the program. The etcd member inside the
// process keeps its own in the default registry, with those of the Go runtime.
func (m *meter) gatherer(member *controller.Member, store *etcd.Store, facts []prometheus.Collector, etcdInside bool) prometheus.Gatherer {
	registry := prometheus.NewRegistry()
	registry.MustRegister(facts...)
	registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "dove_dpc_store_full_ratio", Help: "How full the store is, of what it can become: from 0.85 on tenants can add nothing.",
	}, func() float64 { return float64(store.Noted().Full()) / 100 }))
	registry.MustRegister(member.Collector(), m.seconds, m.failures, m.requests, m.waiting, m.refused)
	if etcdInside {
		return prometheus.Gatherers{registry, prometheus.DefaultGatherer}
	}
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return registry
}

// handler counts what the API answers.
func (m *meter) handler(h http.Handler) http.Handler {
	return promhttp.InstrumentHandlerInFlight(m.waiting, promhttp.InstrumentHandlerCounter(m.requests, h))
}

// Operations of a store.
const (
	loading    = "load"
	watching   = "watch"
	committing = "commit"
	asking     = "current"
)

// measured is a store whose requests are timed and whose errors are counted.
type measured struct {
	controller.Store
	meter *meter
}

func (s measured) note(ctx context.Context, operation string, began time.Time, err error) {
	if operation != watching { // which lasts as long as all goes well
		s.meter.seconds.WithLabelValues(operation).Observe(time.Since(began).Seconds())
	}
	if err != nil && ctx.Err() == nil && !errors.Is(err, context.Canceled) {
		s.meter.failures.WithLabelValues(operation, dove.KindOf(err).String()).Inc()
	}
}

func (s measured) Load(ctx context.Context, prefix string, page func([]dove.Doc) error) (dove.Revision, error) {
	began := time.Now()
	revision, err := s.Store.Load(ctx, prefix, page)
	s.note(ctx, loading, began, err)
	return revision, err
}

func (s measured) Watch(ctx context.Context, prefix string, after dove.Revision, each func(dove.Revision, []dove.Doc) error) error {
	err := s.Store.Watch(ctx, prefix, after, each)
	s.note(ctx, watching, time.Time{}, err)
	return err
}

func (s measured) Commit(ctx context.Context, txn dove.Txn) (dove.Revision, error) {
	began := time.Now()
	revision, err := s.Store.Commit(ctx, txn)
	s.note(ctx, committing, began, err)
	return revision, err
}

func (s measured) Current(ctx context.Context) (dove.Revision, error) {
	began := time.Now()
	revision, err := s.Store.Current(ctx)
	s.note(ctx, asking, began, err)
	return revision, err
}

// health says how a member is.
func health(m *controller.Member) daemon.Health { return daemon.Health{Alive: m.Alive, Ready: m.Ready} }
