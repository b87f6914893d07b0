package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"dove.network/agent"
	"dove.network/api"
	"dove.network/daemon"
	"dove.network/dove"
)

// Ports of the lab's DPC, and those where the daemons tell their metrics, each
// on the underlay address of its node.
const (
	apiPort           = 7443
	controlPort       = 7444
	dpcMetricsPort    = 7445
	switchMetricsPort = 7446
)

// startTimeout bounds how long a program may take until it is of use.
const startTimeout = 60 * time.Second

func (l *Lab) program(name string) string { return filepath.Join(l.opt.Bin, name) }

// startSwitch admits a host with a join token and runs its dswitch until the
// DPC knows it.
func (l *Lab) startSwitch(ctx context.Context, h *Host) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	addr := l.opt.addr(dpcNumber)
	if _, err := l.api.PutHost(ctx, dove.HostName(h.Name), api.HostSpec{VTEP: h.VTEP}, nil); err != nil {
		return err
	}
	token, err := l.api.CreateJoinToken(ctx, dove.HostName(h.Name), time.Hour)
	if err != nil {
		return err
	}
	h.args = []string{"--state", h.dir, "--pins", filepath.Join(l.bpf(), h.Name), "--host", h.Name,
		"--underlay", h.VTEP.String(), "--dpc", netip.AddrPortFrom(addr, controlPort).String()}
	h.args = append(h.args, h.options...)
	if err := runCmd(h.ns.Command(ctx, l.program("dswitch"), append([]string{"join", token.Token,
		"--api", netip.AddrPortFrom(addr, apiPort).String()}, h.args...)...)); err != nil {
		return err
	}
	if h.keeper, err = daemon.NewKeeper(filepath.Join(h.dir, "notify.sock"), nil); err != nil {
		return err
	}
	if err := h.run(l); err != nil {
		return err
	}
	return l.waitSession(ctx, h)
}

// waitSession waits until the host's dswitch has a session with the DPC.
func (l *Lab) waitSession(ctx context.Context, h *Host) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	return h.sw.until(ctx, func() error {
		s, err := h.sock.Status(ctx)
		if err != nil {
			return err
		}
		return unless(s.Session == "open", "the session of %s is %s: %s%s", h.Name, s.Session, s.Refusal, s.Trouble)
	})
}

// run starts the host's dswitch over the state that is there.
func (h *Host) run(l *Lab) (err error) {
	h.sw, err = startBy(h.keeper.Start, h.ns, filepath.Join(h.dir, "dswitch.log"), l.program("dswitch"), append([]string{"run", "--metrics", h.metrics().String()}, h.args...)...)
	return err
}

// metrics is where the host's dswitch tells its metrics.
func (h *Host) metrics() netip.AddrPort { return netip.AddrPortFrom(h.VTEP, switchMetricsPort) }

// Status asks the host's dswitch.
func (h *Host) Status(ctx context.Context) (agent.Status, error) { return h.sock.Status(ctx) }

// waitPort waits until the guest's port is open on its host, or no longer is.
func (l *Lab) waitPort(ctx context.Context, g *Guest, open bool) error {
	h, ok := l.Host(g.Host)
	if !ok {
		return fmt.Errorf("guest %s: no host %q", g.Name(), g.Host)
	}
	return eventually(ctx, answerTimeout, func() error {
		s, err := h.sock.Status(ctx)
		if err != nil {
			return err
		}
		if !open {
			return unless(portState(s, g) != "active", "port of %s on %s is still active", g.Name(), h.Name)
		}
		return h.open(s, g)
	})
}

// notAssigned is the state of a port whose endpoint the host does not know.
const notAssigned = "not assigned"

// portState is the state of a guest's port.
func portState(s agent.Status, g *Guest) string {
	for _, p := range s.Ports {
		if p.Endpoint == g.Name() {
			return strings.TrimSpace(p.State + " " + p.Detail)
		}
	}
	return notAssigned
}

// open returns an error unless the guest's port on the host is open, and both
// ends of its device send.
func (h *Host) open(s agent.Status, g *Guest) error {
	if state := portState(s, g); state != "active" {
		return fmt.Errorf("port of %s on %s is %s %v", g.Name(), h.Name, state, s.Faults)
	}
	if g.parent != nil {
		return g.ns.sends(g.nic)
	}
	return errors.Join(g.ns.sends(g.nic), h.ns.sends(g.Device))
}

// sends says whether a device of the namespace sends. The kernel drops what is
// sent through a device ("noop") until it has noticed that the other end is up
// too, up to a second later.
func (n *Namespace) sends(device string) error {
	out, err := exec.Command("ip", "-n", n.Name, "-j", "link", "show", "dev", device).Output()
	if err != nil {
		return fmt.Errorf("look at device %s in %s: %w", device, n.Name, err)
	}
	var links []struct {
		Qdisc string   `json:"qdisc"`
		Flags []string `json:"flags"`
	}
	if err := json.Unmarshal(out, &links); err != nil || len(links) != 1 {
		return fmt.Errorf("look at device %s in %s: %q", device, n.Name, out)
	}
	return unless(links[0].Qdisc != "noop" && slices.Contains(links[0].Flags, "LOWER_UP"), "device %s in %s does not send yet", device, n.Name)
}

// WaitReceipt waits until a revision is enforced by every host.
func (l *Lab) WaitReceipt(ctx context.Context, rev dove.Revision) (api.Receipt, error) {
	r, err := l.receipt(ctx, rev)
	if err == nil && !r.Complete {
		err = fmt.Errorf("revision %d is not enforced after %v: pending %v, unconfirmed %v, unknown %v, not said by members %v", rev, answerTimeout, r.Pending, r.Unconfirmed, r.Unknown, r.Members)
	}
	return r, err
}

func (l *Lab) receipt(ctx context.Context, rev dove.Revision) (api.Receipt, error) {
	return l.api.Receipt(ctx, rev, answerTimeout)
}

// eventually calls f every few milliseconds until it returns nil; the last
// error is returned when the time is over.
func eventually(ctx context.Context, within time.Duration, f func() error) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	for {
		err := f()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("after %v: %w", within, err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// split reads "tenant/id" as a dswitch names an endpoint; "" gives the zero value.
func split(name string) dove.Endpoint {
	tenant, id, _ := strings.Cut(name, "/")
	return dove.Endpoint{Tenant: dove.Tenant(tenant), ID: dove.EndpointID(id)}
}
