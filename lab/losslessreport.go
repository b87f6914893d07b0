package lab

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"dove.network/lab/bench"
)

// What the report tells of each flow, and of the whole.
var (
	sentKind    = bench.Kind{Name: "sent", Unit: "messages", Higher: true}
	lostKind    = bench.Kind{Name: "lost", Unit: "messages"}
	twiceKind   = bench.Kind{Name: "twice", Unit: "messages"}
	ownDrops    = bench.Kind{Name: "receiver_drops", Unit: "messages"}
	longestKind = bench.Kind{Name: "longest_way_ms", Unit: "ms"}
	silenceKind = bench.Kind{Name: "longest_silence_ms", Unit: "ms"} // between two that arrive
	againKind   = bench.Kind{Name: "retransmits", Unit: "segments"}
	sessionKind = bench.Kind{Name: "session_ms", Unit: "ms"} // of a dswitch that is started again
)

// firstsName is what the report calls first packets while a dswitch was restarted.
const firstsName = "first packets"

const (
	underWay   = 10 * time.Second // for what is under way in the end
	namedLoss  = 20               // losses that are named
	lateEnough = 0.9              // of what was to be sent must have been sent
)

// finish ends the traffic and finds what did not hold.
func (x *Lossless) finish(ctx context.Context, before map[string]int64) {
	flowed := time.Since(x.epoch)
	x.guard.close()
	if n := x.guard.arrived.Load(); n > 0 || x.guard.sent.Load() == 0 {
		x.fault("of %d datagrams that no policy allowed at any time %d arrived", x.guard.sent.Load(), n)
	}
	for _, f := range x.flows {
		close(f.stop)
	}
	end := time.Now().Add(underWay)
	for _, f := range x.flows {
		f.finish(end)
	}
	x.pauses.end()
	var lost, own int64
	for _, f := range x.flows {
		drops, err := f.drops()
		if err != nil {
			x.fault("%s: %v", f.name, err)
		}
		f.dropped = drops
		own += drops
		f.resent = f.retransmits()
	}
	for _, f := range x.flows { // two have one pair of sockets
		if err := f.close(); err != nil {
			x.fault("%s: close: %v", f.name, err)
		}
		lost += x.judge(f, flowed)
	}
	if own > 0 {
		x.fault("the run is invalid: receivers dropped %d messages themselves, as this machine is too busy for this rate", own)
	}
	if lost == 0 {
		return
	}
	after, err := x.lab.dropped(ctx)
	if err != nil {
		x.fault("ask who dropped them: %v", err)
		return
	}
	x.faults = append(x.faults, culprits(before, after)...)
}

// culprits tells who dropped what between two counts.
func culprits(before, after map[string]int64) []string {
	said := []string{"who dropped meanwhile: " + strings.Join(grown(before, after), "; ")}
	if n := after[backlogName] - before[backlogName]; n > 0 {
		said = append(said, fmt.Sprintf("the kernel dropped %d packets as it was too busy, of this lab or others: repeat when the machine is quiet", n))
	}
	return said
}

// judge holds one flow against what was meant and returns how much it lost.
func (x *Lossless) judge(f *flow, flowed time.Duration) int64 {
	for _, err := range f.faults {
		x.fault("%s: %v", f.name, err)
	}
	lost := int64(len(f.book.missing))
	for i, g := range f.book.gaps() {
		if i == namedLoss {
			x.fault("%s: and others", f.name)
			break
		}
		x.fault("%s: lost %d..%d, %s", f.name, g.first, g.last, x.story.when(g.at))
	}
	if f.book.twice > 0 {
		x.fault("%s: %d messages arrived twice", f.name, f.book.twice)
	}
	if f.source != nil { // a datagram that waits for a CPU is no fault; TCP stalls when it lost something
		for _, s := range f.stalls {
			if took := s.took - x.pauses.within(s); took > stallLimit {
				x.fault("%s: stood still for %.1f s, %s", f.name, took.Seconds(), x.story.when(s.sent))
				break // those behind it waited with it
			}
		}
	}
	if due := int64(flowed / f.every); float64(f.sent.Load()) < lateEnough*float64(due) {
		x.fault("the run is invalid: %s sent %d of %d, as this machine is too busy for this rate", f.name, f.sent.Load(), due)
	}
	return lost
}

func (x *Lossless) fault(format string, args ...any) {
	x.faults = append(x.faults, fmt.Sprintf(format, args...))
}

// Faults returns what did not hold, of a run that is over.
func (x *Lossless) Faults() []string { return x.faults }

// record writes the figures into a report.
func (x *Lossless) record(r *bench.Report) {
	r.Environment.Rounds, r.Environment.Measured = 1, len(x.story)
	for k, v := range map[string]int{"restarts": x.Restarts, "edits": x.Edits, "moves": x.Moves, "dpc_restarts": x.DPCRestarts, "rules": x.Rules, "large_edits": x.LargeEdits, "packets_per_s": x.Rate} {
		r.Environment.Settings[k] = fmt.Sprint(v)
	}
	for _, f := range x.flows {
		r.Record(sentKind, f.name, float64(f.sent.Load()))
		r.Record(lostKind, f.name, float64(len(f.book.missing)))
		r.Record(twiceKind, f.name, float64(f.book.twice))
		r.Record(ownDrops, f.name, float64(f.dropped))
		r.Record(longestKind, f.name, ms(f.book.delay))
		r.Record(silenceKind, f.name, ms(f.book.silence))
		if f.source != nil {
			r.Record(againKind, f.name, float64(f.resent))
		}
	}
	if x.Restarts > 0 {
		r.Record(sentKind, firstsName, float64(x.firsts))
		r.Record(lostKind, firstsName, float64(x.firstsLost))
	}
	for _, v := range x.session {
		r.Record(sessionKind, "dswitch", v)
	}
}

// Table tells the outcome of a run that is over.
func (x *Lossless) Table() error {
	t := tabwriter.NewWriter(x.Out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "flow\tsent\treceived\tlost\ttwice\tout of order\treceiver's drops\tlongest way\tlongest silence\tsent late by\tsent again\t")
	for _, f := range x.flows {
		again := "-"
		if f.source != nil {
			again = fmt.Sprint(f.resent)
		}
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%.0f ms\t%.0f ms\t%.0f ms\t%s\t\n", f.name, f.sent.Load(), f.book.received, len(f.book.missing), f.book.twice,
			f.book.late, f.dropped, ms(f.book.delay), ms(f.book.silence), ms(time.Duration(f.overdue.Load())), again)
	}
	if x.Restarts > 0 {
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t\t\t\t\t\t\t\t\n", firstsName, x.firsts, x.firsts-x.firstsLost, x.firstsLost)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(x.Out, "of %d datagrams that no policy allowed at any time %d arrived\n", x.guard.sent.Load(), x.guard.arrived.Load())
	return err
}
