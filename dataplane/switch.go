package dataplane

// Switch is what the agent drives: the kernel's (dataplane/ebpf) or the one in
// memory (dataplane/soft). Its methods may be called from several goroutines.
type Switch interface {
	// Apply makes the changes in order. It returns once they are in force for
	// every later packet, flows included. An error joins one OpError for each
	// op that failed; the others are in force.
	Apply(ops []Op) error

	// Inject gives a missed packet back. It is judged as if it had just arrived;
	// if it would miss again for the same want, it is dropped (NoEndpoint for
	// WantPeer, Policy with verdict.DefaultDeny for WantPair, SourceMismatch for WantConfirm,
	// Fragment for WantFirst, Policy with the rule for WantDenial). When Inject returns, those behind it may go.
	Inject(m Miss) error

	// Discard counts a held packet that is not given back.
	Discard(m Miss, r Reason)

	// Carried reads what is carried of a port's live flows when its endpoint moves.
	Carried(port PortID) ([]FlowState, error)

	// Adopt takes over flows of a port that another host has carried, unless they
	// are over, or another port here, not on standby, has begun them: its own carrier brings
	// those. Each is judged again at its first packet. A live one that has had a
	// packet here is left as it is. An error joins one for each flow that is
	// refused, and one if there is no room for some; the others are there.
	Adopt(port PortID, flows []FlowState) error

	// Counts, Shadows, Flows and Sizes read what the switch holds.
	Counts() ([]Count, error)
	Shadows() ([]Shadow, error)
	Flows() ([]Flow, error)
	Sizes() (Sizes, error)
}

// FlowsError says why so many flows were refused by Adopt.
type FlowsError struct {
	Flows int
	Err   error
}

func (e *FlowsError) Error() string { return e.Err.Error() }
func (e *FlowsError) Unwrap() error { return e.Err }

// Refused counts the flows that an error of Adopt is about: each of what is
// joined in it is about one, unless it is a FlowsError.
func Refused(err error) int {
	switch e := err.(type) {
	case nil:
		return 0
	case *FlowsError:
		return e.Flows
	case interface{ Unwrap() []error }:
		n := 0
		for _, one := range e.Unwrap() {
			n += Refused(one)
		}
		return n
	default:
		return 1
	}
}

// OpError says which op failed. Closed says that nothing passes by what the op
// was to change, until it or another one succeeds: what is not in force is only
// what it would have allowed.
type OpError struct {
	Op     Op
	Err    error
	Closed bool
}

func (e *OpError) Error() string { return e.Err.Error() }
func (e *OpError) Unwrap() error { return e.Err }
