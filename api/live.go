package api

import (
	"context"
	"sync"
	"time"

	"dove.network/control"
	"dove.network/dove"
	"dove.network/explain"
)

// WhyLive is what the switch of one end says of the flow.
type WhyLive struct {
	Host     dove.HostName `json:"host,omitempty"`
	Role     string        `json:"role" enum:"sender,receiver,both" doc:"Whose host it is: both, if both ends are on it."`
	State    string        `json:"state" enum:"answered,no-session,no-answer,not-bound,foreign" doc:"Only answered comes with the rest. foreign: the host runs no dSwitch."`
	Standing string        `json:"standing,omitempty" enum:"allow,deny,would-ask,no-endpoint,hidden,unassigned,not-active" doc:"What it would do with the first packet of the flow, by what is in force in it."`
	Rule     string        `json:"rule,omitempty"`
	Forth    string        `json:"forth,omitempty" doc:"The table in force from one to the other; missing if it holds none."`
	Back     string        `json:"back,omitempty"`
	Seen     dove.Revision `json:"seen,omitempty" doc:"The revision of the last message that it took."`
	Agrees   bool          `json:"agrees" doc:"It does what is intended: lets the flow pass by the same rule, or drops it. A switch that would ask agrees: it does as it is told then."`
	Detail   string        `json:"detail,omitempty" doc:"What is under way in the switch or fails, or why there is no answer."`
	Flow     *WhyFlow      `json:"flow,omitempty" doc:"The newest flow of that kind that it carries."`
}

// WhyFlow is a flow that a switch carries.
type WhyFlow struct {
	SrcPort uint16        `json:"srcPort,omitempty"`
	Rule    string        `json:"rule,omitempty" doc:"What allows it."`
	Idle    time.Duration `json:"idle" doc:"Since its last packet, in nanoseconds."`
	Packets uint64        `json:"packets"`
	Bytes   uint64        `json:"bytes"`
}

// live asks the switches of both ends at once; of what is sent to an address that
// nobody has, the sender's. Whatever they say, or do not,
// there is an answer.
func (s *server) live(ctx context.Context, a explain.Answer) []WhyLive {
	switch nobody := (dove.Endpoint{}); nobody {
	case a.From.Endpoint: // whose switch would be asked?
		return nil
	case a.To.Endpoint:
		return []WhyLive{s.inspect(ctx, a, a.From, "sender")}
	}
	if a.From.Host == a.To.Host && a.From.VNI == a.To.VNI {
		return []WhyLive{s.inspect(ctx, a, a.From, "both")}
	}
	out := make([]WhyLive, 2)
	var both sync.WaitGroup
	both.Go(func() { out[0] = s.inspect(ctx, a, a.From, "sender") })
	both.Go(func() { out[1] = s.inspect(ctx, a, a.To, "receiver") })
	both.Wait()
	return out
}

func (s *server) inspect(ctx context.Context, a explain.Answer, at explain.Place, role string) WhyLive {
	out := WhyLive{Host: at.Host, Role: role, State: "not-bound"}
	switch {
	case at.Host == "":
		return out
	case at.Foreign && a.From.Foreign && a.To.Foreign:
		out.State, out.Detail = "foreign", "it runs no dSwitch, nor does the other end's: nobody enforces the policy between them"
		return out
	case at.Foreign:
		out.State, out.Detail = "foreign", "it runs no dSwitch: the policy is enforced at the other end alone"
		return out
	}
	report, err := s.Backend.Inspect(ctx, at.Host, control.Tuple{
		VNI: at.VNI, Src: a.From.Addr, Dst: a.To.Addr, Protocol: a.Protocol, DstPort: a.Port,
	})
	switch {
	case dove.KindOf(err) == dove.NotFound:
		out.State = noSession
		return out
	case err != nil:
		out.State, out.Detail = "no-answer", err.Error()
		return out
	}
	f := report.Finding
	out.State, out.Seen = "answered", report.Seen
	out.Standing, out.Rule, out.Detail, out.Agrees = f.Standing.String(), f.Rule, f.Detail, agrees(a, f)
	if f.Forth != (control.Digest{}) {
		out.Forth = f.Forth.String()
	}
	if f.Back != (control.Digest{}) {
		out.Back = f.Back.String()
	}
	if f.Flow != nil {
		out.Flow = &WhyFlow{f.Flow.Tuple.SrcPort, f.Flow.Rule, f.Flow.Idle, f.Flow.Packets, f.Flow.Bytes}
	}
	return out
}

// agrees reports whether a switch does what is intended.
func agrees(a explain.Answer, f *control.Finding) bool {
	switch f.Standing {
	case control.StandingAllow:
		return a.Allowed && f.Rule == a.Rule
	case control.StandingDeny:
		return !a.Allowed && f.Rule == a.Rule
	case control.StandingAsk:
		return true
	}
	return !a.Reaches()
}
