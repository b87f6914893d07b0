package control

import (
	"time"

	"dove.network/control/controlpb"
)

func encodeTuple(t Tuple) *controlpb.Tuple {
	return &controlpb.Tuple{
		Vni: uint32(t.VNI), Src: t.Src.AsSlice(), Dst: t.Dst.AsSlice(),
		Protocol: uint32(t.Protocol), SrcPort: uint32(t.SrcPort), DstPort: uint32(t.DstPort),
	}
}

func encodeInspect(m *Inspect) *controlpb.Inspect {
	out := &controlpb.Inspect{Id: m.ID}
	switch {
	case m.Probe != nil:
		out.Ask = &controlpb.Inspect_Probe{Probe: encodeTuple(*m.Probe)}
	case m.FlowsOf != "":
		out.Ask = &controlpb.Inspect_FlowsOf{FlowsOf: string(m.FlowsOf)}
	case m.Observe != "":
		out.Ask = &controlpb.Inspect_Observe{Observe: string(m.Observe)}
	case m.ShadowsOf != "":
		out.Ask = &controlpb.Inspect_ShadowsOf{ShadowsOf: string(m.ShadowsOf)}
	case m.Stop:
		out.Ask = &controlpb.Inspect_Stop{Stop: true}
	}
	return out
}

func encodeReport(m *Report) *controlpb.Report {
	out := &controlpb.Report{
		Id: m.ID, Seen: int64(m.Seen), More: m.More, Lost: m.Lost, Refused: printable(m.Refused),
		Flows:  each(m.Flows, encodeFlowReport),
		Events: each(m.Events, encodeFlowEvent),
		Shadows: each(m.Shadows, func(s ShadowReport) *controlpb.ShadowReport {
			return &controlpb.ShadowReport{
				Rule: printable(s.Rule), AgeMs: uint64(min(max(s.Age/time.Millisecond, 0), IdleMax)),
				Allow: s.Allow, Deny: s.Deny, Same: s.Same, Examples: each(s.Examples, encodeFlowEvent),
			}
		}),
	}
	if f := m.Finding; f != nil {
		out.Finding = &controlpb.Finding{
			Standing: controlpb.Finding_Standing(f.Standing), Rule: printable(f.Rule),
			Forth: encodeDigest(f.Forth), Back: encodeDigest(f.Back), Detail: printable(f.Detail),
		}
		if f.Flow != nil {
			out.Finding.Flow = encodeFlowReport(*f.Flow)
		}
	}
	return out
}

func encodeFlowEvent(e FlowEvent) *controlpb.FlowEvent {
	return &controlpb.FlowEvent{
		What: controlpb.FlowEvent_What(e.What), Tuple: encodeTuple(e.Tuple), Rule: printable(e.Rule),
		Reason: e.Reason, Packets: e.Packets, Bytes: e.Bytes,
	}
}

func encodeFlowReport(f FlowReport) *controlpb.FlowReport {
	return &controlpb.FlowReport{
		Tuple: encodeTuple(f.Tuple), Rule: printable(f.Rule), Packets: f.Packets, Bytes: f.Bytes,
		IdleMs: uint64(min(max(f.Idle/time.Millisecond, 0), IdleMax)),
	}
}
