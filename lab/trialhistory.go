package lab

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"

	"dove.network/api"
	"dove.network/api/client"
	"dove.network/dove"
)

// Writing and reading during a trial.
const (
	historyKeys    = 6 // endpoints that are written and read
	historyWorkers = 4
	historyPause   = 40 * time.Millisecond // of each worker after each operation
	attemptWithin  = 2 * time.Second       // one attempt with one member
	checkWithin    = 2 * time.Minute       // for the check of the whole history
	withID         = 9                     // of ten writes have an id and are repeated until they are answered
)

// asked is an operation on a document, and came what it brought.
type asked struct {
	key   string
	write bool
	match dove.Revision // that the document must be at, 0 for any
	value string        // that is written
}

type came struct {
	revision dove.Revision
	value    string
	refused  bool // as the document was not at that revision
	unknown  bool // there was no answer: it may have happened, or may happen yet
}

// register is a document: what it says, and since which revision. Where that is not
// known, as nobody was told, it is later than revision.
type register struct {
	value    string
	revision dove.Revision
	untold   bool
}

// registers says what a document may do. It is linearizable: each operation takes
// effect at one moment between its call and its return.
var registers = porcupine.Model{
	Partition: func(all []porcupine.Operation) (parts [][]porcupine.Operation) {
		at := map[string]int{}
		for _, o := range all {
			key := o.Input.(asked).key
			if _, ok := at[key]; !ok {
				at[key] = len(parts)
				parts = append(parts, nil)
			}
			parts[at[key]] = append(parts[at[key]], o)
		}
		return parts
	},
	Init: func() any { return register{} },
	Step: func(state, input, output any) (bool, any) {
		is, in, out := state.(register), input.(asked), output.(came)
		// Who knows the revision of a document read it, so where nobody was told of the
		// last write it is another one.
		matches := in.match == 0 || !is.untold && in.match == is.revision
		switch {
		case !in.write && is.untold:
			return out.revision > is.revision && out.value == is.value, register{value: is.value, revision: out.revision}
		case !in.write:
			return out.revision == is.revision && out.value == is.value, is
		case out.refused:
			return !matches, is
		case out.unknown && matches:
			return true, register{value: in.value, revision: is.revision, untold: true}
		case out.unknown:
			return true, is
		}
		return matches && out.revision > is.revision, register{value: in.value, revision: out.revision}
	},
	DescribeOperation: func(input, output any) string {
		in, out := input.(asked), output.(came)
		var said string
		switch {
		case out.unknown:
			said = "no answer"
		case out.refused:
			said = "refused"
		default:
			said = fmt.Sprintf("revision %d", out.revision)
		}
		switch {
		case !in.write:
			return fmt.Sprintf("read %s: %q, %s", in.key, out.value, said)
		case in.match > 0:
			return fmt.Sprintf("write %s = %q if at %d: %s", in.key, in.value, in.match, said)
		}
		return fmt.Sprintf("write %s = %q: %s", in.key, in.value, said)
	},
	DescribeState: func(state any) string { return fmt.Sprintf("%+v", state) },
}

// history writes and reads endpoints through all members at once and keeps what
// came of it.
type history struct {
	members []*client.Client // one for each
	epoch   time.Time
	tenant  dove.Tenant
	group   string
	hosts   []dove.HostName // to which writes bind

	mu     sync.Mutex
	all    []porcupine.Operation
	faults []string
}

// work is one worker, until ctx is done.
func (h *history) work(ctx context.Context, worker int, r *rand.Rand) {
	seen := map[string]dove.Revision{}
	for n := 0; ctx.Err() == nil; n++ {
		in := asked{key: fmt.Sprintf("register-%d", r.IntN(historyKeys))}
		if in.write = r.IntN(2) == 0; in.write {
			in.value = fmt.Sprintf("%d-%d", worker, n)
			if r.IntN(2) == 0 {
				in.match = seen[in.key]
			}
		}
		called := time.Since(h.epoch)
		var out came
		if in.write {
			out = h.write(ctx, in, r)
		} else {
			out = h.read(ctx, in, r)
		}
		if in.write || !out.unknown {
			h.keep(worker, in, out, called)
		}
		if out.revision > 0 {
			seen[in.key] = out.revision
		}
		select {
		case <-ctx.Done():
		case <-time.After(historyPause):
		}
	}
}

// keep adds an operation. One without an answer may happen at any time.
func (h *history) keep(worker int, in asked, out came, called time.Duration) {
	returned := int64(time.Since(h.epoch))
	if out.unknown {
		returned = math.MaxInt64
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all = append(h.all, porcupine.Operation{ClientId: worker, Input: in, Call: int64(called), Output: out, Return: returned})
}

func (h *history) fault(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.faults) < 10 {
		h.faults = append(h.faults, fmt.Sprintf(format, args...))
	}
}

func (h *history) endpoint(key string) dove.Endpoint {
	return dove.Endpoint{Tenant: h.tenant, ID: dove.EndpointID(key)}
}

// read asks one member after the other until one answers.
func (h *history) read(ctx context.Context, in asked, r *rand.Rand) came {
	for _, at := range r.Perm(len(h.members)) {
		within, cancel := context.WithTimeout(ctx, attemptWithin)
		e, err := h.members[at].Endpoint(within, h.endpoint(in.key))
		cancel()
		switch {
		case err == nil:
			return came{revision: e.Revision, value: e.Labels["value"]}
		case dove.KindOf(err) == dove.NotFound:
			return came{}
		case !passing(err):
			h.fault("read %s: %v", in.key, err)
		}
	}
	return came{unknown: true}
}

// write sends a write. One with an id is sent to one member after the other until it
// is answered, and happens once all the same.
func (h *history) write(ctx context.Context, in asked, r *rand.Rand) came {
	spec := api.EndpointSpec{Groups: []string{h.group}, Labels: map[string]string{"value": in.value}, Host: h.hosts[r.IntN(len(h.hosts))]}
	var match *dove.Revision
	if in.match > 0 {
		match = &in.match
	}
	again := r.IntN(10) < withID
	for at := r.IntN(len(h.members)); ; at++ {
		c := h.members[at%len(h.members)]
		if again {
			c = c.WithRequestID("trial-" + in.key + "-" + in.value)
		}
		within, cancel := context.WithTimeout(ctx, attemptWithin)
		e, err := c.PutEndpoint(within, h.endpoint(in.key), spec, match)
		cancel()
		switch {
		case err == nil && e.Labels["value"] != in.value:
			h.fault("the answer to a write of %s with value %q says %q", in.key, in.value, e.Labels["value"])
			return came{unknown: true}
		case err == nil:
			return came{revision: e.Revision, value: in.value}
		case match != nil && dove.KindOf(err) == dove.Conflict:
			return came{refused: true}
		case !passing(err):
			h.fault("write %s: %v", in.key, err)
			return came{unknown: true}
		case !again || ctx.Err() != nil:
			return came{unknown: true}
		}
		select {
		case <-ctx.Done():
		case <-time.After(historyPause):
		}
	}
}

// passing reports whether an error is one that a member may answer while others are
// away: try again.
func passing(err error) bool {
	return dove.KindOf(err) == dove.Unavailable || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}

// check holds the history against the model. It is to be called once nothing works
// on it any more.
func (h *history) check() {
	switch porcupine.CheckOperationsTimeout(registers, h.all, checkWithin) {
	case porcupine.Unknown:
		h.fault("the history of %d operations could not be checked within %v", len(h.all), checkWithin)
	case porcupine.Illegal:
		for _, part := range registers.Partition(h.all) {
			if !porcupine.CheckOperations(registers, part) {
				h.fault("the history of %s is not linearizable: %s", part[0].Input.(asked).key, wrong(part))
			}
		}
	}
}

// wrong tells the operations around the first that cannot be explained.
func wrong(part []porcupine.Operation) string {
	slices.SortFunc(part, func(a, b porcupine.Operation) int { return int(a.Return - b.Return) })
	bad := len(part)
	for n := range part {
		// What had not returned by then may have happened, and may not.
		so := slices.Clone(part[:n+1])
		for _, o := range part[n+1:] {
			if in := o.Input.(asked); in.write && o.Call < part[n].Return {
				o.Output, o.Return = came{unknown: true}, math.MaxInt64
				so = append(so, o)
			}
		}
		if !porcupine.CheckOperations(registers, so) {
			bad = n
			break
		}
	}
	var text strings.Builder
	for _, o := range part[max(0, bad-8):min(bad+1, len(part))] {
		fmt.Fprintf(&text, "\n    %.3f..%.3f s: %s", time.Duration(o.Call).Seconds(), time.Duration(o.Return).Seconds(), registers.DescribeOperation(o.Input, o.Output))
	}
	return text.String()
}

// counts are how many operations were answered, refused and not answered.
func (h *history) counts() (answered, refused, unknown int) {
	for _, o := range h.all {
		switch out := o.Output.(came); {
		case out.unknown:
			unknown++
		case out.refused:
			refused++
		default:
			answered++
		}
	}
	return answered, refused, unknown
}
