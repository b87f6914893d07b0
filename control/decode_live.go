package control

import (
	"time"

	"dove.network/control/controlpb"
	"dove.network/dove"
)

// tuple is in the field of that name.
func (d *door) tuple(field string, t *controlpb.Tuple) Tuple {
	if d.err != nil {
		return Tuple{}
	}
	out := Tuple{
		VNI: d.vni("vni", t.GetVni()), Src: d.addr("src", t.GetSrc()), Dst: d.addr("dst", t.GetDst()),
		Protocol: dove.Protocol(d.number("protocol", t.GetProtocol(), 0, 255)),
		SrcPort:  uint16(d.number("src_port", t.GetSrcPort(), 0, 65535)),
		DstPort:  uint16(d.number("dst_port", t.GetDstPort(), 0, 65535)),
	}
	if out.Src.Is4() != out.Dst.Is4() {
		d.fail("dst", "%s and %s are not of one family", out.Src, out.Dst)
	}
	d.within(field)
	return out
}

func (d *door) inspect(m *controlpb.Inspect) *Inspect {
	out := &Inspect{ID: m.GetId()}
	switch ask := m.GetAsk().(type) {
	case *controlpb.Inspect_Probe:
		out.Probe = new(d.tuple("probe", ask.Probe))
	case *controlpb.Inspect_FlowsOf:
		out.FlowsOf = dove.Tenant(d.name("flows_of", ask.FlowsOf))
	case *controlpb.Inspect_Observe:
		out.Observe = dove.Tenant(d.name("observe", ask.Observe))
	case *controlpb.Inspect_ShadowsOf:
		out.ShadowsOf = dove.Tenant(d.name("shadows_of", ask.ShadowsOf))
	case *controlpb.Inspect_Stop:
		if out.Stop = ask.Stop; !ask.Stop {
			d.fail("stop", "false asks for nothing")
		}
	default:
		d.fail("ask", "it asks for nothing that is known here")
	}
	return out
}

func (d *door) report(m *controlpb.Report) *Report {
	out := &Report{
		ID: m.GetId(), Seen: d.revision("seen", m.GetSeen()), More: m.GetMore(), Lost: m.GetLost(),
		Refused: d.text("refused", m.GetRefused()),
	}
	if n := len(m.GetEvents()); n > EventsMax {
		d.tooLarge("events", "%d elements, at most %d are allowed", n, EventsMax)
	}
	out.Flows = list(d, "flows", m.GetFlows(), d.flowReport)
	out.Events = list(d, "events", m.GetEvents(), d.flowEvent)
	if n := len(m.GetShadows()); n > ShadowsMax {
		d.tooLarge("shadows", "%d elements, at most %d are allowed", n, ShadowsMax)
	}
	out.Shadows = list(d, "shadows", m.GetShadows(), d.shadowReport)
	if f := m.GetFinding(); f != nil && d.err == nil {
		out.Finding = d.finding(f)
		d.within("finding")
	}
	return out
}

func (d *door) finding(f *controlpb.Finding) *Finding {
	out := &Finding{
		Standing: Standing(d.number("standing", uint32(f.GetStanding()), uint32(StandingAllow), uint32(StandingNotActive))),
		Rule:     d.text("rule", f.GetRule()),
		Forth:    d.digest(f.GetForth()), Back: d.digest(f.GetBack()),
		Detail: d.text("detail", f.GetDetail()),
	}
	if f.Flow != nil && d.err == nil {
		out.Flow = new(d.flowReport(f.Flow))
		d.within("flow")
	}
	return out
}

func (d *door) flowReport(f *controlpb.FlowReport) FlowReport {
	out := FlowReport{
		Tuple: d.tuple("tuple", f.GetTuple()), Rule: d.text("rule", f.GetRule()),
		Packets: f.GetPackets(), Bytes: f.GetBytes(),
	}
	if f.GetIdleMs() > IdleMax {
		d.fail("idle_ms", "%d is more than %d", f.GetIdleMs(), uint64(IdleMax))
	}
	out.Idle = time.Duration(f.GetIdleMs()) * time.Millisecond
	return out
}

func (d *door) shadowReport(s *controlpb.ShadowReport) ShadowReport {
	out := ShadowReport{Rule: d.text("rule", s.GetRule()), Allow: s.GetAllow(), Deny: s.GetDeny(), Same: s.GetSame()}
	if s.GetAgeMs() > IdleMax {
		d.fail("age_ms", "%d is more than %d", s.GetAgeMs(), uint64(IdleMax))
	}
	out.Age = time.Duration(s.GetAgeMs()) * time.Millisecond
	if n := len(s.GetExamples()); n > ExamplesMax {
		d.tooLarge("examples", "%d elements, at most %d are allowed", n, ExamplesMax)
	}
	out.Examples = list(d, "examples", s.GetExamples(), d.flowEvent)
	return out
}

func (d *door) flowEvent(e *controlpb.FlowEvent) FlowEvent {
	out := FlowEvent{
		What:  What(d.number("what", uint32(e.GetWhat()), uint32(FlowBegun), uint32(FlowLogged))),
		Tuple: d.tuple("tuple", e.GetTuple()), Rule: d.text("rule", e.GetRule()),
		Packets: e.GetPackets(), Bytes: e.GetBytes(),
	}
	if out.What == FlowDenied || e.GetReason() != "" {
		out.Reason = d.name("reason", e.GetReason())
	}
	return out
}
