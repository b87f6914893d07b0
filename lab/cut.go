package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// dpcNode is the name of the DPC's first member among the nodes of the underlay.
const dpcNode = "dpc"

// Cut drops every frame from one node of the underlay to another, and back, on
// its way through the fabric. Nodes are hosts and members by name, and "dpc", the first
// member. Neither end
// can tell it from a broken cable.
func (l *Lab) Cut(ctx context.Context, a, b string) error {
	return errors.Join(l.deafen(ctx, a, b), l.deafen(ctx, b, a))
}

// Heal ends a Cut.
func (l *Lab) Heal(ctx context.Context, a, b string) error {
	return errors.Join(l.undeafen(ctx, a, b), l.undeafen(ctx, b, a))
}

// undeafen ends a deafen. Of several, all must end.
func (l *Lab) undeafen(ctx context.Context, from, to string) error {
	way := [2]string{from, to}
	if l.deaf[way]--; l.deaf[way] > 0 {
		return nil
	}
	delete(l.deaf, way)
	return l.filter(ctx, "del", from, to)
}

// deafen drops what comes from one node for another's MAC.
func (l *Lab) deafen(ctx context.Context, from, to string) error {
	n, err := l.node(to)
	if err != nil {
		return err
	}
	if l.deaf[[2]string{from, to}]++; l.deaf[[2]string{from, to}] > 1 {
		return nil // it is already
	}
	var device link
	if err := n.ns.Do(func() (err error) {
		device, err = linkByName("u0")
		return err
	}); err != nil {
		return err
	}
	// A classic BPF program: if the destination's last four bytes and its first
	// two are the MAC's, return TC_ACT_SHOT (2), else TC_ACT_UNSPEC.
	high, low := binary.BigEndian.Uint16(device.mac), binary.BigEndian.Uint32(device.mac[2:])
	program := fmt.Sprintf("6,32 0 0 2,21 0 3 %d,40 0 0 0,21 0 1 %d,6 0 0 2,6 0 0 4294967295", low, high)
	return l.filter(ctx, "add", from, to, "bpf", "bytecode", program, "direct-action")
}

// filter adds or deletes the filter on a node's port of the fabric that is
// about another node.
func (l *Lab) filter(ctx context.Context, op, at, about string, rule ...string) error {
	n, err := l.node(about)
	if err != nil {
		return err
	}
	args := []string{"filter", op, "dev", at, "ingress", "protocol", "all", "pref", fmt.Sprint(n.number)}
	return runCmd(l.fabric.Command(ctx, "tc", append(args, rule...)...))
}

// stuck returns an error while TCP to or from the DPC's control port holds
// bytes that were not acknowledged: after a Heal, TCP waits before it tries
// again, the longer the longer the link was cut.
func (n *Namespace) stuck(ctx context.Context) error {
	out, err := n.Command(ctx, "ss", "-tnH", "state", "established").Output()
	if err != nil {
		return fmt.Errorf("look at the connections in %s: %w", n.Name, err)
	}
	for line := range strings.Lines(string(out)) {
		words := strings.Fields(line) // received, not read; sent, not acknowledged; here; there
		control := fmt.Sprintf(":%d", controlPort)
		if len(words) >= 4 && words[1] != "0" && (strings.HasSuffix(words[2], control) || strings.HasSuffix(words[3], control)) {
			return fmt.Errorf("%s bytes from %s to %s wait to be sent again", words[1], words[2], words[3])
		}
	}
	return nil
}

// node is who has an address of the underlay: its namespace, and the last byte of
// its address.
type node struct {
	ns     *Namespace
	number int
}

func (l *Lab) node(name string) (node, error) {
	for i, h := range l.hosts {
		if h.Name == name {
			return node{h.ns, i + 1}, nil
		}
	}
	if name == deskNode && l.desk != nil {
		return node{l.desk, deskNumber}, nil
	}
	for i, m := range l.members {
		if m.node == name {
			return node{m.ns, dpcNumber - i}, nil
		}
	}
	return node{}, fmt.Errorf("there is no node %q in the lab", name)
}
