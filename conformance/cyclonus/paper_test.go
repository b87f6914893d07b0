package main

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/mattfenwick/cyclonus/pkg/worker"
	"github.com/sirupsen/logrus"
	v1 "k8s.io/api/core/v1"

	"dove.network/blueprint"
	"dove.network/dove"
	"dove.network/imports"
	"dove.network/oracle"
	"dove.network/policy"
)

// paper is a world without packets: what is compiled of the translated policies
// stands for the DPC, and the oracle, which reads the blueprints, for the packet.
type paper struct {
	v6    bool
	used  int
	pods  map[string]paperPod
	texts []*blueprint.Blueprint
	all   *policy.Domain
}

type paperPod struct {
	addr   netip.Addr
	labels map[string]string
	ports  map[string]dove.Port
}

func (w *paper) start(_ context.Context, pod *v1.Pod, labels map[string]string) error {
	w.used++
	p := paperPod{addr: netip.AddrFrom4([4]byte{10, 0, byte(w.used % 3), byte(8 * (1 + w.used/3))}), labels: labels, ports: map[string]dove.Port{}}
	if w.v6 {
		p.addr = netip.MustParseAddr(fmt.Sprintf("fd00::%x:%x", w.used%3, 8*(1+w.used/3)))
	}
	for _, c := range pod.Spec.Containers {
		for _, x := range c.Ports {
			port, err := dove.ParsePort(fmt.Sprintf("%s/%d", strings.ToLower(string(x.Protocol)), x.ContainerPort))
			if err != nil {
				return err
			}
			p.ports[x.Name] = port
		}
	}
	pod.Status.PodIP = p.addr.String()
	w.pods[pod.Namespace+"/"+pod.Name] = p
	return nil
}

func (w *paper) relabel(_ context.Context, pod v1.Pod, labels map[string]string) error {
	p := w.pods[pod.Namespace+"/"+pod.Name]
	p.labels = labels
	w.pods[pod.Namespace+"/"+pod.Name] = p
	return nil
}

func (w *paper) stop(_ context.Context, pod v1.Pod) error {
	delete(w.pods, pod.Namespace+"/"+pod.Name)
	return nil
}

func (w *paper) enforce(_ context.Context, documents []imports.Document) error {
	w.texts = nil
	for _, d := range documents {
		w.texts = append(w.texts, d.Blueprint)
	}
	w.all = policy.Compile(w.texts, time.Time{})
	return nil
}

func (w *paper) ask(_ context.Context, from string, questions []worker.Request) ([]answer, error) {
	var all []answer
	for _, q := range questions {
		addr, err := netip.ParseAddr(q.Host)
		if err != nil {
			return nil, err
		}
		src, dst := w.pods[from], paperPod{}
		for _, p := range w.pods {
			if p.addr == addr {
				dst = p
			}
		}
		protocol, err := dove.ParseProtocol(strings.ToLower(string(q.Protocol)))
		if err != nil {
			return nil, err
		}
		signature := func(p paperPod) policy.Signature {
			return w.all.Signature(policy.Member{Labels: p.labels, Ports: p.ports}, p.addr)
		}
		table := w.all.Table(signature(src), signature(dst))
		verdict := table.Lookup(protocol, uint16(q.Port))
		obvious := oracle.Decide(w.texts, time.Time{}, oracle.Packet{Protocol: protocol, Port: uint16(q.Port),
			Src: oracle.End{Addr: src.addr, Labels: src.labels, Ports: src.ports}, Dst: oracle.End{Addr: dst.addr, Labels: dst.labels, Ports: dst.ports}})
		all = append(all, answer{loop: src.addr == dst.addr, packet: said{allowed: obvious.Allow, detail: obvious.Rule}, dpc: &said{allowed: verdict.Allow, detail: table.Name(verdict)}})
	}
	return all, nil
}

// TestPaper plays every case, whatever its tags, on paper.
func TestPaper(t *testing.T) {
	logrus.SetLevel(logrus.ErrorLevel)
	for _, v6 := range []bool{false, true} {
		c := newCluster(t.Context(), &paper{v6: v6, pods: map[string]paperPod{}})
		resources, last, err := newResources(c)
		if err != nil {
			t.Fatal(err)
		}
		interpreter := newInterpreter(c, resources)
		tests, _ := choose(last, nil, 0)
		var got tally
		for _, test := range tests {
			before := got.Wrong
			var lines []string
			if err := play(c, interpreter, test, &got, func(s string) { lines = append(lines, s) }); err != nil {
				t.Fatal(err)
			}
			if got.Wrong > before {
				t.Errorf("%s: %d cells are wrong, such as\n%s", test.Description, got.Wrong-before, lines[0])
			}
		}
		t.Logf("%d cases, %d steps, %d cells, %d wrong", got.Cases, got.steps, got.Cells, got.Wrong)
		if got.Cases < 230 || got.Cells < 109_000 {
			t.Errorf("only %d cases and %d cells", got.Cases, got.Cells)
		}
	}
}
