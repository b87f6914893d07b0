package lab

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"dove.network/api/client"
)

// MembersMax is how many members the lab's DPC has at most.
const MembersMax = 7

// Member is a further member of the lab's DPC, a machine of its own. Member n has
// the n-1st address below that of the first.
type Member struct {
	Name string
	Addr netip.Addr

	ns    *Namespace
	state string
	dpc   *process
}

// Members returns the members beside the first.
func (l *Lab) Members() []*Member { return l.members }

// AddMember has another member join the DPC, runs it until it serves, and lets
// the lab's own client ask it too.
func (l *Lab) AddMember(ctx context.Context) (_ *Member, err error) {
	number := len(l.members) + 2
	if number > MembersMax {
		return nil, fmt.Errorf("a lab's DPC has at most %d members", MembersMax)
	}
	m := &Member{Name: fmt.Sprintf("dpc-%d", number), Addr: l.opt.addr(dpcNumber - byte(number-1))}
	m.state = filepath.Join(l.dir, m.Name)
	if m.ns, err = l.namespace(m.Name); err != nil {
		return nil, err
	}
	l.members = append(l.members, m)
	if err := l.connect(m.ns, m.Name, m.Addr); err != nil {
		return nil, err
	}
	return m, l.Join(ctx, m)
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

// running are the addresses of the members that run, the first first.
func (l *Lab) running() []netip.Addr {
	var all []netip.Addr
	if !l.dpc.ended() {
		all = append(all, l.opt.addr(dpcNumber))
	}
	for _, m := range l.members {
		if m.dpc != nil && !m.dpc.ended() {
			all = append(all, m.Addr)
		}
	}
	return all
}

func (l *Lab) adminFile() string { return filepath.Join(l.dir, "dpc", "admin.yaml") }

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
	config.Server, config.DialContext = strings.Join(servers, ","), l.dpcNS.DialContext
	return config, nil
}

// RunMember runs a member over the state that it has, until it serves.
func (l *Lab) RunMember(ctx context.Context, m *Member) (err error) {
	if m.dpc, err = start(m.ns, filepath.Join(l.dir, m.Name+".log"), l.program("dpc"), "run", "--state", m.state,
		"--metrics", netip.AddrPortFrom(m.Addr, dpcMetricsPort).String()); err != nil {
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

// KillMember kills a member with SIGKILL: the first, by its name, or another.
func (l *Lab) KillMember(name string) error {
	p := l.memberProcess(name)
	if p == nil {
		return fmt.Errorf("there is no member %q", name)
	}
	return p.kill()
}

func (l *Lab) memberProcess(name string) *process {
	if name == "dpc-1" {
		return l.dpc
	}
	if i := slices.IndexFunc(l.members, func(m *Member) bool { return m.Name == name }); i >= 0 {
		return l.members[i].dpc
	}
	return nil
}
