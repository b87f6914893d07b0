package bench

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"text/tabwriter"
)

// Metric is what one subject showed in every run, in the order of the runs.
type Metric struct {
	Name    string    `json:"name"`
	Unit    string    `json:"unit"`
	Subject string    `json:"subject"`
	Better  string    `json:"better"` // "higher" or "lower"
	Median  float64   `json:"median"`
	Runs    []float64 `json:"runs"`
}

// Kind is what a metric is, whoever is measured.
type Kind struct {
	Name, Unit string
	Higher     bool // higher is better
}

// Report is the outcome of a benchmark.
type Report struct {
	Environment Environment `json:"environment"`
	Metrics     []Metric    `json:"metrics"`
}

// Record adds one run. Metrics stay in the order of their first runs.
func (r *Report) Record(k Kind, subject string, value float64) {
	m := r.find(k.Name, subject)
	if m == nil {
		better := "lower"
		if k.Higher {
			better = "higher"
		}
		r.Metrics = append(r.Metrics, Metric{Name: k.Name, Unit: k.Unit, Subject: subject, Better: better})
		m = &r.Metrics[len(r.Metrics)-1]
	}
	m.Runs = append(m.Runs, value)
	m.Median = Median(m.Runs)
}

func (r *Report) find(name, subject string) *Metric {
	i := slices.IndexFunc(r.Metrics, func(m Metric) bool { return m.Name == name && m.Subject == subject })
	if i < 0 {
		return nil
	}
	return &r.Metrics[i]
}

// Median returns the median of values, 0 of none.
func Median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(values))
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}

// Percentile returns the smallest of values that at least p percent of them do
// not exceed, 0 of none.
func Percentile(values []float64, p float64) float64 {
	if len(values) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(values))
	return s[max(0, int(math.Ceil(p/100*float64(len(s))))-1)]
}

// wide is how far runs may lie apart, as a part of their median, until Table says so.
const wide = 0.25

// Table prints metric by metric the subjects in the given order: median, the
// least and the greatest run, and the ratio to each baseline.
func (r *Report) Table(w io.Writer, subjects []string, baselines ...string) error {
	var names []string
	for _, m := range r.Metrics {
		if !slices.Contains(names, m.Name) {
			names = append(names, m.Name)
		}
	}
	var text strings.Builder
	t := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	for i, name := range names {
		if i > 0 {
			fmt.Fprintln(t, strings.Repeat("\t", 4+len(baselines)))
		}
		fmt.Fprintf(t, "%s\tmedian\tleast..greatest\t", name)
		for _, b := range baselines {
			fmt.Fprintf(t, "x %s\t", b)
		}
		fmt.Fprintln(t)
		for _, s := range subjects {
			m := r.find(name, s)
			if m == nil {
				continue
			}
			least, greatest := slices.Min(m.Runs), slices.Max(m.Runs)
			fmt.Fprintf(t, "  %s\t%s %s\t%s..%s\t", s, Figure(m.Median), m.Unit, Figure(least), Figure(greatest))
			for _, b := range baselines {
				fmt.Fprintf(t, "%s\t", ratio(m, r.find(name, b)))
			}
			if greatest-least > wide*m.Median {
				fmt.Fprint(t, "runs lie far apart")
			}
			fmt.Fprintln(t)
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for line := range strings.Lines(text.String()) {
		if _, err := fmt.Fprintln(w, strings.TrimRight(line, " \n")); err != nil {
			return err
		}
	}
	return nil
}

func ratio(m, to *Metric) string {
	if to == nil || to.Median == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", m.Median/to.Median)
}

// Figure writes a value with three significant digits, and not in powers of ten.
func Figure(v float64) string {
	if v == 0 {
		return "0"
	}
	digits := max(0, 2-int(math.Floor(math.Log10(math.Abs(v)))))
	return fmt.Sprintf("%.*f", digits, v)
}
