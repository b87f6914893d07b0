// Package daemontest looks in tests at a program as those who run it do. It
// reads metrics the way Prometheus does (parses the text, holds names and help
// against Prometheus' conventions, and gives the values by name and labels), and has
// systemd judge units. It knows no metric and no unit itself. It gives programs addresses to listen at.
package daemontest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// Values are samples by name and labels, as "name" or "name{label=value}" with
// the labels in order. Of a histogram it is the count, and with "_sum" the sum.
type Values map[string]float64

// Gather collects from a registry of its own.
func Gather(t testing.TB, collectors ...prometheus.Collector) Values {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(collectors...)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(&text, f); err != nil {
			t.Fatal(err)
		}
	}
	return parse(t, &text, "")
}

// Scrape asks http://ADDRESS/metrics. Only families whose names begin with
// prefix are held against the conventions: etcd's and Go's are their own.
func Scrape(t testing.TB, c *http.Client, address, prefix string) Values {
	t.Helper()
	request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://"+address+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := c.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		t.Fatalf("metrics: %s", answer.Status)
	}
	return parse(t, answer.Body, prefix)
}

func parse(t testing.TB, r io.Reader, prefix string) Values {
	t.Helper()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(r)
	if err != nil {
		t.Fatal(err)
	}
	values := Values{}
	for name, f := range families {
		if strings.HasPrefix(name, prefix) {
			problems, err := promlint.NewWithMetricFamilies([]*dto.MetricFamily{f}).Lint()
			if err != nil {
				t.Error(err)
			}
			for _, p := range problems {
				t.Errorf("metric %s: %s", p.Metric, p.Text)
			}
		}
		for _, m := range f.Metric {
			values.add(name, m)
		}
	}
	return values
}

func (v Values) add(name string, m *dto.Metric) {
	var labels []string
	for _, l := range m.Label {
		labels = append(labels, l.GetName()+"="+l.GetValue())
	}
	suffix := ""
	if len(labels) > 0 {
		suffix = "{" + strings.Join(labels, ",") + "}"
	}
	switch {
	case m.Gauge != nil:
		v[name+suffix] = m.Gauge.GetValue()
	case m.Counter != nil:
		v[name+suffix] = m.Counter.GetValue()
	case m.Untyped != nil:
		v[name+suffix] = m.Untyped.GetValue()
	case m.Histogram != nil:
		v[name+suffix] = float64(m.Histogram.GetSampleCount())
		v[name+"_sum"+suffix] = m.Histogram.GetSampleSum()
	case m.Summary != nil:
		v[name+suffix] = float64(m.Summary.GetSampleCount())
	}
}

// Want fails the test for each sample that is missing or another.
func (v Values) Want(t testing.TB, want Values) {
	t.Helper()
	for name, value := range want {
		if got, ok := v[name]; !ok || got != value {
			t.Errorf("%s is %v (there: %v), not %v", name, got, ok, value)
		}
	}
}

// Documented fails the test for each metric with the prefix that the file does
// not name, and for each that it names and that is not there, but for those that are
// there only at times.
func (v Values) Documented(t testing.TB, prefix, file string, atTimes ...string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	there := map[string]bool{}
	for name := range v {
		base, _, _ := strings.Cut(name, "{")
		there[strings.TrimSuffix(base, "_sum")] = strings.HasPrefix(name, prefix)
	}
	named := map[string]bool{}
	for _, name := range regexp.MustCompile(prefix+"[a-z_]+").FindAllString(string(text), -1) {
		named[strings.TrimSuffix(name, "_sum")] = true
	}
	for name, ours := range there {
		if ours && !named[name] {
			t.Errorf("%s does not name %s", file, name)
		}
	}
	for name := range named {
		if !there[name] && !slices.Contains(atTimes, name) {
			t.Errorf("%s names %s, which is not there", file, name)
		}
	}
}

// Unit holds a systemd unit against systemd's own list of hardenings: its
// exposure, which is from 0 (best) to 100, must not be above the limit. Without
// systemd-analyze the test is skipped, where CI=true it fails.
func Unit(t *testing.T, path string, limit int) {
	t.Helper()
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil && os.Getenv("CI") == "true" {
		t.Fatal("systemd-analyze is missing: make setup")
	} else if err != nil {
		t.Skip("systemd-analyze is not installed: make setup")
	}
	out, err := exec.CommandContext(t.Context(), analyze, "security", "--offline=true", fmt.Sprintf("--threshold=%d", limit), path).CombinedOutput()
	if err != nil {
		t.Errorf("%s: %v\n%s", path, err, out)
	}
}

// Ports of FreeAddress: below those that Linux gives who asks for none.
const (
	portFirst = 16 << 10
	portLast  = 32<<10 - 1
)

// FreeAddress returns an address of the loopback device on which nothing listens, nor on its
// port elsewhere. Until the test ends nobody else is given it: neither tests that ask here, of
// whatever process, nor connections that go out.
func FreeAddress(t testing.TB) string {
	t.Helper()
	for range 1000 {
		port := portFirst + rand.IntN(portLast-portFirst+1)
		address := fmt.Sprintf("127.0.0.1:%d", port)
		taken, err := net.ListenPacket("udp", address) // says to others that it is given
		if err != nil {
			continue
		}
		l, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
		if err != nil {
			_ = taken.Close()
			continue
		}
		_ = l.Close()
		t.Cleanup(func() { _ = taken.Close() })
		return address
	}
	t.Fatal("no port is free")
	return ""
}
