package controller

import (
	"time"

	"dove.network/control"
	"dove.network/dove"
)

// How much a host may say. Beyond that nothing is refused: what it says next is read later.
const (
	saidEvery = 60 * time.Microsecond // until it may say one thing more
	saidBurst = 1 << 16               // things that it may say at once

	// A question counts as so many things, and so does a claim: the member may have to tell others.
	questionIs = 16
	// flowsAre so many flows, or events, count as one.
	flowsAre = 16

	// pauseLeast is how long nothing is read at least: who says too much is not listened to
	// one by one.
	pauseLeast = 20 * time.Millisecond
)

// pace is until when what somebody did counts; the zero value: nothing does.
type pace struct{ until time.Time }

// charge has what was done count for a while longer.
func (p *pace) charge(now time.Time, longer time.Duration) {
	p.until = now.Add(p.counts(now) + longer)
}

// counts returns how much longer what was done counts.
func (p *pace) counts(now time.Time) time.Duration { return max(0, p.until.Sub(now)) }

// said counts a message of a host, in whichever session, and returns how long nothing more
// of it is to be read.
func (o *openings) said(host dove.HostName, now time.Time, m control.Up) time.Duration {
	o.mu.Lock()
	defer o.mu.Unlock()
	said := &o.of(host, now).said
	said.charge(now, time.Duration(things(m))*saidEvery)
	if over := said.counts(now) - saidBurst*saidEvery; over > 0 {
		return over + pauseLeast
	}
	return 0
}

// things returns what a message counts as.
func things(m control.Up) int {
	switch m := m.(type) {
	case *control.PolicyRequest:
		return questionIs * max(1, len(m.Questions))
	case *control.Claim:
		return questionIs
	case *control.Release:
		return 1 + len(m.Peers) + len(m.Pairs)
	case *control.Carry:
		return 1 + len(m.Flows)/flowsAre
	case *control.Report:
		return 1 + (len(m.Flows)+len(m.Events))/flowsAre
	}
	return 1
}

// What is counted of who is not read for a while: what it said last.
const (
	saidQuestion = "question"
	saidClaim    = "claim"
	saidOther    = "other"
)

func saidWhat(m control.Up) string {
	switch m.(type) {
	case *control.PolicyRequest:
		return saidQuestion
	case *control.Claim:
		return saidClaim
	}
	return saidOther
}
