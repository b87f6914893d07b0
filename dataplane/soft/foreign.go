package soft

import (
	"dove.network/dataplane"
	"dove.network/packet"
)

// answerBack tells who asks from behind a foreign VTEP the MAC of a local port,
// through the tunnel: what is there asks everybody, and nobody else answers.
func (s *Switch) answerBack(t *transit, vtep dataplane.SetVTEP) (dataplane.Outcome, []byte) {
	target, ok := s.find(t.outer.VNI, t.Dst)
	if !ok || target.where != local || target.routed {
		return s.drop(t, dataplane.NotHere, "")
	}
	t.port = s.ports[target.port]
	request := t.Packet
	if t.Kind == packet.Solicit && t.Src.IsLinkLocalUnicast() {
		return s.drop(t, dataplane.SourceMismatch, "")
	}
	src, ok := s.find(t.outer.VNI, t.Src)
	switch {
	case !ok:
		return s.unknown(t, t.Src)
	case src.where == router:
		return s.drop(t, dataplane.SourceMismatch, "")
	case src.where == hidden:
		return s.drop(t, dataplane.Hidden, "")
	case src.where != remote || src.vtep != t.outer.Src || src.routed:
		return s.miss(t, dataplane.WantConfirm)
	}
	request.SrcMAC = src.mac
	outer := packet.Outer{
		Src: s.config.VTEP, Dst: t.outer.Src, SrcPort: t.SourcePort(), VNI: t.outer.VNI, Class: target.class,
		TOS: s.config.DSCP.TOS(0),
	}
	if vtep.Plain {
		outer.Class = packet.NoClass
	}
	return dataplane.Outcome{Action: dataplane.Answered, Port: target.port}, outer.Encap(packet.Answer(request, target.mac))
}
