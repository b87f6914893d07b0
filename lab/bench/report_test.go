package bench

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func sample() *Report {
	speed, wait := Kind{"speed", "Gbit/s", true}, Kind{"wait", "us", false}
	var r Report
	for i, v := range []float64{40, 42, 41} {
		r.Record(speed, "new", v)
		r.Record(speed, "bare", 50)
		r.Record(wait, "new", []float64{6, 9, 7}[i])
		r.Record(wait, "bare", 4.5)
	}
	return &r
}

func TestReport(t *testing.T) {
	want := []Metric{
		{"speed", "Gbit/s", "new", "higher", 41, []float64{40, 42, 41}},
		{"speed", "Gbit/s", "bare", "higher", 50, []float64{50, 50, 50}},
		{"wait", "us", "new", "lower", 7, []float64{6, 9, 7}},
		{"wait", "us", "bare", "lower", 4.5, []float64{4.5, 4.5, 4.5}},
	}
	r := sample()
	if diff := cmp.Diff(want, r.Metrics); diff != "" {
		t.Error(diff)
	}
	text, err := json.Marshal(r.Metrics[0])
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(text), `{"name":"speed","unit":"Gbit/s","subject":"new","better":"higher","median":41,"runs":[40,42,41]}`; got != want {
		t.Errorf("JSON of a metric is\n%s, want\n%s", got, want)
	}
}

func TestTable(t *testing.T) {
	var b strings.Builder
	if err := sample().Table(&b, []string{"bare", "new"}, "bare", "gone"); err != nil {
		t.Fatal(err)
	}
	want := `
speed   median       least..greatest  x bare  x gone
  bare  50.0 Gbit/s  50.0..50.0       1.00    -
  new   41.0 Gbit/s  40.0..42.0       0.82    -

wait    median       least..greatest  x bare  x gone
  bare  4.50 us      4.50..4.50       1.00    -
  new   7.00 us      6.00..9.00       1.56    -       runs lie far apart
`
	if diff := cmp.Diff(want, "\n"+b.String()); diff != "" {
		t.Error(diff)
	}
}

func TestOrder(t *testing.T) {
	for _, c := range []struct {
		values           []float64
		median, p50, p99 float64
	}{
		{nil, 0, 0, 0},
		{[]float64{3}, 3, 3, 3},
		{[]float64{4, 1, 3, 2}, 2.5, 2, 4},
		{[]float64{5, 1, 3}, 3, 3, 5},
	} {
		if m, p50, p99 := Median(c.values), Percentile(c.values, 50), Percentile(c.values, 99); m != c.median || p50 != c.p50 || p99 != c.p99 {
			t.Errorf("%v: median %v, percentiles %v and %v; want %v, %v and %v", c.values, m, p50, p99, c.median, c.p50, c.p99)
		}
	}
	many := make([]float64, 200)
	for i := range many {
		many[i] = float64(i + 1)
	}
	if got := Percentile(many, 99); got != 198 {
		t.Errorf("p99 of 1 to 200 is %v, want 198", got)
	}
}

func TestFigure(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 0.01234: "0.0123", 1.234: "1.23", 12.34: "12.3", 123.4: "123", 187654: "187654", 9.999: "10.00"} {
		if got := Figure(v); got != want {
			t.Errorf("Figure(%v) = %s, want %s", v, got, want)
		}
	}
}

func TestMachine(t *testing.T) {
	e, err := Here("test")
	if err != nil || e.Kernel == "" || e.CPU == "" || e.CPUs < 1 || e.MemoryMiB < 1 || e.Started.IsZero() {
		t.Errorf("%+v, %v", e, err)
	}
	if _, err := Quiet(t.Context(), 0); err != nil {
		t.Error(err)
	}
}
