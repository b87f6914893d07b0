package ebpf

import (
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"dove.network/dataplane"
	"dove.network/packet"
)

func TestExpire(t *testing.T) { lifetimes(t, Options{}) }

// lifetimes makes flows look old: they must not pass an answer any more, and be
// forgotten.
func lifetimes(t testing.TB, o Options) {
	s := newLone(t, o)
	for _, c := range []struct {
		name   string
		lives  time.Duration
		answer []byte
		frames [][]byte
	}{
		{"TCP that opens", 30 * time.Second, answer, [][]byte{syn}},
		{"TCP that nobody went on with", 30 * time.Second, answer, [][]byte{syn, synAck, syn}},
		{"TCP", 2 * time.Hour, answer, [][]byte{syn, synAck, ack}},
		{"TCP in its midst", 2 * time.Hour, answer, [][]byte{ack, answer}},
		{"TCP that closes", 120 * time.Second, answer, [][]byte{syn, synAck, ack, packet.TCP(back, 80, 1, packet.FIN|packet.ACK, nil)}},
		{"TCP that is closed", 10 * time.Second, answer, [][]byte{packet.TCP(out, 1, 80, packet.FIN, nil), packet.TCP(back, 80, 1, packet.FIN|packet.ACK, nil)}},
		{"TCP that is reset", 10 * time.Second, answer, [][]byte{syn, packet.TCP(back, 80, 1, packet.RST, nil)}},
		{"UDP", 30 * time.Second, packet.UDP(back, 53, 1, nil), [][]byte{packet.UDP(out, 1, 53, nil), packet.UDP(out, 1, 53, nil)}},
		{"UDP that is answered", 120 * time.Second, packet.UDP(back, 53, 1, nil), [][]byte{packet.UDP(out, 1, 53, nil), packet.UDP(back, 53, 1, nil)}},
		{"echo", 30 * time.Second, packet.EchoReply(back, 1, 1, nil), [][]byte{packet.EchoRequest(out, 1, 1, nil)}},
	} {
		for _, f := range c.frames {
			if o := sends(t, s, f); o.Action != dataplane.Tunneled && o.Action != dataplane.Delivered {
				t.Fatalf("%s: %+v", c.name, o)
			}
		}
		for _, step := range []struct {
			age   time.Duration
			flows int
		}{{c.lives - time.Second, 1}, {c.lives + time.Second, 0}} {
			age(t, s, step.age)
			if step.flows == 0 {
				if o := sends(t, s, c.answer); o.Action != dataplane.Missed || o.Want != dataplane.WantPair {
					t.Errorf("%s, after %v: an answer is %+v", c.name, step.age, o)
				}
				if err := s.forgetTurns(); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := s.Expire(); err != nil {
				t.Fatal(err)
			}
			if sizes, err := s.Sizes(); err != nil || sizes.Flows != step.flows {
				t.Errorf("%s, after %v: %+v, %v, want %d flows", c.name, step.age, sizes, err, step.flows)
			}
		}
	}
	// Who was called and calls back on the same ports needs leave of his own.
	for _, f := range [][]byte{syn, synAck, ack} {
		sends(t, s, f)
	}
	if o := sends(t, s, packet.TCP(back, 80, 1, packet.SYN, nil)); o.Action != dataplane.Missed || o.Want != dataplane.WantPair {
		t.Errorf("a SYN of the responder is %+v", o)
	}
}

var (
	syn    = packet.TCP(out, 1, 80, packet.SYN, nil)
	synAck = packet.TCP(back, 80, 1, packet.SYN|packet.ACK, nil)
	ack    = packet.TCP(out, 1, 80, packet.ACK, nil)
	answer = packet.TCP(back, 80, 1, packet.ACK, nil)
)

// age has every flow's last packet lie so long back.
func age(t testing.TB, s *Switch, d time.Duration) {
	t.Helper()
	ageIn[dswitchFlow4Key](t, s.maps.Flows4, d)
	ageIn[dswitchFlow6Key](t, s.maps.Flows6, d)
}

func ageIn[K any](t testing.TB, flows *ebpf.Map, d time.Duration) {
	t.Helper()
	var key K
	var f dswitchFlow
	entries := flows.Iterate()
	for entries.Next(&key, &f) {
		f.Last = uint32((monotonic() - uint64(d)) / tick)
		if err := flows.Update(key, f, ebpf.UpdateExist); err != nil {
			t.Fatal(err)
		}
	}
	if err := entries.Err(); err != nil {
		t.Fatal(err)
	}
}

func TestStamps(t *testing.T) { stamps(t, Options{}) }

// stamps sends packets of one flow for four ticks: its entry says when the last
// one passed, to a tick.
func stamps(t testing.TB, o Options) {
	s := newLone(t, o)
	for began := monotonic() / tick; monotonic()/tick < began+4; {
		before := monotonic() / tick
		sends(t, s, packet.UDP(out, 1, 53, nil))
		after := monotonic() / tick
		var key dswitchFlow4Key
		var f dswitchFlow
		entries := s.maps.Flows4.Iterate()
		if !entries.Next(&key, &f) {
			t.Fatalf("no flow: %v", entries.Err())
		}
		if last := uint64(f.Last); last+1 < before || last > after {
			t.Fatalf("a packet passed in tick %d, and not between %d and %d", last, before, after)
		}
	}
}
