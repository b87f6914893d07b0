package daemon

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

func get(t *testing.T, address, path string) (int, string) {
	t.Helper()
	r, err := http.Get("http://" + address + path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(body)
}

// broken is a collector half of which fails.
type broken struct{}

var descBroken = prometheus.NewDesc("test_broken", "Cannot be collected.", nil, nil)

func (broken) Describe(out chan<- *prometheus.Desc) { out <- descBroken }
func (broken) Collect(out chan<- prometheus.Metric) {
	out <- prometheus.NewInvalidMetric(descBroken, errors.New("out of order"))
}

func TestServe(t *testing.T) {
	l, err := Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	health := Health{
		Alive: func(context.Context) error { return nil },
		Ready: func(context.Context) error { return errors.New("no session with the DPC") },
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(broken{})
	registry.MustRegister(Facts("dove_test", "v1", time.Unix(1700000000, 0))...)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- Serve(ctx, l, health.Handler(registry, slog.New(slog.NewTextHandler(t.Output(), nil))))
	}()

	if code, body := get(t, address, "/healthz"); code != 200 || body != "ok\n" {
		t.Errorf("/healthz: %d %s", code, body)
	}
	if code, body := get(t, address, "/readyz"); code != 503 || !strings.Contains(body, "no session with the DPC") {
		t.Errorf("/readyz: %d %s", code, body)
	}
	code, body := get(t, address, "/metrics")
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(body))
	if err != nil || code != 200 {
		t.Fatalf("/metrics: %d %v", code, err)
	}
	if v := families["dove_test_certificate_expiry_timestamp_seconds"].GetMetric()[0].GetGauge().GetValue(); v != 1700000000 {
		t.Errorf("what works beside a broken collector is %v", v)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	http.DefaultClient.CloseIdleConnections()
	if _, err := http.Get("http://" + address + "/healthz"); err == nil {
		t.Error("it still serves")
	}
	if err := Serve(ctx, nil, nil); err != nil {
		t.Errorf("without a listener: %v", err)
	}
}

func TestCheckListen(t *testing.T) {
	for address, good := range map[string]bool{"": true, "127.0.0.1:9000": true, ":0": true, "[::1]:1": true, "9000": false, "host:": false} {
		if err := CheckListen(address); (err == nil) != good {
			t.Errorf("%q: %v", address, err)
		}
	}
	if _, err := Listen("192.0.2.77:1"); err == nil || !strings.Contains(err.Error(), "--metrics") {
		t.Errorf("an address of somebody else: %v", err)
	}
	if l, err := Listen(""); l != nil || err != nil {
		t.Errorf("no address: %v %v", l, err)
	}
}
