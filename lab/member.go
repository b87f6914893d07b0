package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"dove.network/api/client"
	"golang.org/x/sys/unix"
)

// MembersMax is how many members the lab's DPC has at most.
const MembersMax = 7

// Member is a member of the lab's DPC, a machine of its own. Member n has the n-1st
// address below that of the first.
type Member struct {
	Name string
	Addr netip.Addr

	node  string // among those of the underlay
	ns    *Namespace
	state string
	log   string
	dpc   *process
	cable *relay // to the fabric, if the lab has relays
}

// Members returns the members in the order in which they joined.
func (l *Lab) Members() []*Member { return l.members }

// AddMember makes the DPC, or has another member join it, runs it until it serves, and
// lets the lab's own client ask it too.
func (l *Lab) AddMember(ctx context.Context) (_ *Member, err error) {
	number := len(l.members) + 1
	if number > MembersMax {
		return nil, fmt.Errorf("a lab's DPC has at most %d members", MembersMax)
	}
	m := &Member{Name: fmt.Sprintf("dpc-%d", number), Addr: l.opt.addr(dpcNumber - byte(number-1))}
	m.node = m.Name
	if number == 1 {
		m.node = dpcNode
	}
	m.state, m.log = filepath.Join(l.dir, m.node), filepath.Join(l.dir, m.node+".log")
	if m.ns, err = l.namespace(m.node); err != nil {
		return nil, err
	}
	l.members = append(l.members, m)
	if l.opt.Relays {
		m.cable, err = l.connectBy(m.ns, m.node, m.Addr)
	} else {
		err = l.connect(m.ns, m.node, m.Addr)
	}
	if err != nil {
		return nil, err
	}
	if l.opt.DiskMiB > 0 {
		if err := errors.Join(os.Mkdir(m.state, 0o700), unix.Mount("disk", m.state, "tmpfs", 0, fmt.Sprintf("mode=700,size=%dm", l.opt.DiskMiB))); err != nil {
			return nil, fmt.Errorf("make a disk of %d MiB for %s: %w", l.opt.DiskMiB, m.Name, err)
		}
	}
	if number == 1 {
		return m, l.init(ctx, m)
	}
	return m, l.Join(ctx, m)
}

// init makes the DPC with its first member, and runs that until it serves.
func (l *Lab) init(ctx context.Context, m *Member) (err error) {
	if err := runCmd(m.ns.Command(ctx, l.program("dpc"), "init", "--state", m.state, "--name", m.Name,
		"--advertise", netip.AddrPortFrom(m.Addr, apiPort).String())); err != nil {
		return err
	}
	if err := l.RunMember(ctx, m); err != nil {
		return err
	}
	l.api, err = l.client(m.Addr)
	return err
}

// Join has a member join, whose folder must be empty, and runs it until it serves.
func (l *Lab) Join(ctx context.Context, m *Member) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	token, err := l.api.CreateMemberToken(ctx, m.Name, time.Minute)
	if err != nil {
		return err
	}
	join := m.ns.Command(ctx, l.program("dpc"), "join", "-", "--state", m.state, "--name", m.Name, "--advertise", m.Addr.String(),
		"--server", netip.AddrPortFrom(l.running()[0], apiPort).String())
	join.Stdin = strings.NewReader(token.Token)
	if err := runCmd(join); err != nil {
		return err
	}
	if err := l.RunMember(ctx, m); err != nil {
		return err
	}
	config, err := l.admin(l.running()...)
	if err == nil {
		err = config.Save(l.adminFile()) // dovectl asks them too
	}
	if err != nil {
		return err
	}
	l.api.Close()
	l.api, err = client.New(config)
	return err
}

// running are the addresses of the members that run.
func (l *Lab) running() []netip.Addr {
	var all []netip.Addr
	for _, m := range l.members {
		if m.runs() {
			all = append(all, m.Addr)
		}
	}
	return all
}

func (l *Lab) adminFile() string { return filepath.Join(l.dir, "dpc", "admin.yaml") }

// runs reports whether the member's dpc was started and has not ended.
func (m *Member) runs() bool { return m.dpc != nil && !m.dpc.ended() }

// client asks members as the administrator, the first that can be reached.
func (l *Lab) client(members ...netip.Addr) (*client.Client, error) {
	config, err := l.admin(members...)
	if err != nil {
		return nil, err
	}
	return client.New(config)
}

// admin is the configuration of that.
func (l *Lab) admin(members ...netip.Addr) (client.Config, error) {
	config, err := client.Load(l.adminFile())
	if err != nil {
		return config, err
	}
	var servers []string
	for _, a := range members {
		servers = append(servers, netip.AddrPortFrom(a, apiPort).String())
	}
	config.Server, config.DialContext = strings.Join(servers, ","), l.members[0].ns.DialContext
	return config, nil
}

// start starts a member over the state that it has.
func (l *Lab) start(m *Member) (err error) {
	m.dpc, err = start(m.ns, m.log, l.program("dpc"), "run", "--state", m.state, "--metrics", netip.AddrPortFrom(m.Addr, dpcMetricsPort).String())
	return err
}

// RunMember runs a member over the state that it has, until it serves.
func (l *Lab) RunMember(ctx context.Context, m *Member) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := l.start(m); err != nil {
		return err
	}
	own, err := l.client(m.Addr)
	if err != nil {
		return err
	}
	defer own.Close()
	return m.dpc.until(ctx, func() error {
		_, err := own.Status(ctx)
		return err
	})
}

// KillMember kills a member with SIGKILL.
func (l *Lab) KillMember(name string) error {
	i := slices.IndexFunc(l.members, func(m *Member) bool { return m.Name == name })
	if i < 0 {
		return fmt.Errorf("there is no member %q", name)
	}
	return l.members[i].dpc.kill()
}

// The desk is where operators sit: a machine of the underlay that is no host.
const (
	deskNode   = "desk"
	deskNumber = 240
)

// openDesk makes the desk.
func (l *Lab) openDesk() (err error) {
	if l.desk, err = l.namespace(deskNode); err != nil {
		return err
	}
	return l.connect(l.desk, deskNode, l.opt.addr(deskNumber))
}

// fromDesk asks one member from the desk, as the administrator.
func (l *Lab) fromDesk(m *Member) (*client.Client, error) {
	config, err := l.admin(m.Addr)
	if err != nil {
		return nil, err
	}
	config.DialContext = l.desk.DialContext
	return client.New(config)
}
