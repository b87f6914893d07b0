package sim

import "time"

// Underlay is how the network between hosts treats a frame: it may take up to Lag,
// so that frames overtake each other, and is lost or comes twice in so many of 1000 cases.
type Underlay struct {
	Lag         time.Duration
	Lost, Twice int
}

// across carries a frame to another host.
func (s *Sim) across(arrive func()) {
	u := s.Underlay
	if u == (Underlay{}) {
		s.soon(arrive)
		return
	}
	copies := 1
	switch n := s.random.IntN(1000); {
	case n < u.Lost:
		s.lose("on the underlay")
		return
	case n < u.Lost+u.Twice:
		copies = 2
	}
	for range copies {
		s.at(s.now.Add(time.Duration(s.random.Int64N(int64(u.Lag)+1))), arrive)
	}
}
