package fleet

import (
	"slices"
	"testing"
	"time"
)

// TestBetween has questions wait for their answers before, in, all through and after a span of
// time: who hears nothing all the while is not left out.
func TestBetween(t *testing.T) {
	begun := time.Unix(100, 0)
	at := func(seconds int) time.Time { return begun.Add(time.Duration(seconds) * time.Second) }
	p := &prober{more: make(chan struct{})}
	for _, asked := range []struct{ from, to int }{{0, 2}, {2, 7}, {7, 8}, {8, 9}} {
		p.all = append(p.all, probed{at(asked.from).UnixNano(), int64(at(asked.to).Sub(at(asked.from)))})
	}
	for _, c := range []struct {
		from, to int
		want     []float64
	}{
		{0, 2, []float64{2e6}},
		{3, 5, []float64{5e6}},
		{2, 7, []float64{5e6}},
		{1, 8, []float64{2e6, 5e6, 1e6}},
	} {
		if us, err := p.between(at(c.from), at(c.to)); err != nil || !slices.Equal(us, c.want) {
			t.Errorf("from %d to %d s: %v us, want %v: %v", c.from, c.to, us, c.want, err)
		}
	}
}
