package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// ovsSchema is where Debian puts the schema of Open vSwitch's database.
const ovsSchema = "/usr/share/openvswitch/vswitch.ovsschema"

// ovsFlows is what the filter of the bridges does, as Open vSwitch says it: what
// began may go on, members may begin anything with members.
const ovsFlows = `table=0,priority=10,arp,in_port=1,actions=output:2
table=0,priority=10,arp,in_port=2,actions=output:1
table=0,priority=10,ip,actions=ct(zone=1,table=1)
table=1,priority=20,ct_state=+trk+est,in_port=1,ip,actions=output:2
table=1,priority=20,ct_state=+trk+est,in_port=2,ip,actions=output:1
table=1,priority=10,ct_state=+trk+new,in_port=1,ip,nw_src=10.0.0.0/16,nw_dst=10.0.0.0/16,actions=ct(commit,zone=1),output:2
table=1,priority=10,ct_state=+trk+new,in_port=2,ip,nw_src=10.0.0.0/16,nw_dst=10.0.0.0/16,actions=ct(commit,zone=1),output:1
`

// ovsSubject is two hosts with an Open vSwitch each, whose switching is in user
// space, joined by its VXLAN. It finishes no checksum and cuts no segments on the way
// into a tunnel, so guests do that themselves.
func (l *Lab) ovsSubject(ctx context.Context, s *subject) error {
	hosts, err := l.hostsOf(s)
	if err != nil {
		return err
	}
	for i, h := range hosts {
		if err := s.join(i, h, "p0"); err != nil {
			return err
		}
		if err := runCmd(s.guests[i].Command(ctx, "ethtool", "-K", "eth0", "tx", "off", "tso", "off", "gso", "off")); err != nil {
			return err
		}
		if err := h.IP("link set p0 up", fmt.Sprintf("addr del %s/24 dev w0", benchNet[i])); err != nil {
			return err
		}
		if err := l.runOVS(ctx, s, i, h); err != nil {
			return fmt.Errorf("host %d with Open vSwitch: %w", i+1, err)
		}
	}
	return s.address()
}

// runOVS starts the two daemons on a host and gives them bridges, ports and flows.
func (l *Lab) runOVS(ctx context.Context, s *subject, i int, h *Namespace) error {
	dir := filepath.Join(l.dir, fmt.Sprintf("ovs%d", i+1))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	env := []string{"env", "OVS_RUNDIR=" + dir, "OVS_LOGDIR=" + dir, "OVS_DBDIR=" + dir}
	db, flows := filepath.Join(dir, "db.sock"), filepath.Join(dir, "flows")
	if err := errors.Join(os.WriteFile(flows, []byte(ovsFlows), 0o600), run("ovsdb-tool", "create", filepath.Join(dir, "conf.db"), ovsSchema)); err != nil {
		return err
	}
	daemon := func(name string, args ...string) error {
		p, err := start(h, filepath.Join(dir, name+".log"), env[0], append(append(env[1:len(env):len(env)], name), args...)...)
		if err == nil {
			s.procs = append(s.procs, p)
		}
		return err
	}
	vsctl := func(args ...string) error {
		return runCmd(h.Command(ctx, env[0], append(append(env[1:len(env):len(env)], "ovs-vsctl", "--timeout=10", "--db=unix:"+db), args...)...))
	}
	if err := daemon("ovsdb-server", filepath.Join(dir, "conf.db"), "--remote=punix:"+db, "--unixctl="+filepath.Join(dir, "db.ctl")); err != nil {
		return err
	}
	if err := eventually(ctx, setUpTimeout, func() error { _, err := os.Stat(db); return err }); err != nil {
		return err
	}
	if err := vsctl("--no-wait", "init"); err != nil {
		return err
	}
	if err := daemon("ovs-vswitchd", "unix:"+db, "--unixctl="+filepath.Join(dir, "switch.ctl")); err != nil {
		return err
	}
	if err := vsctl("add-br", "phy", "--", "set", "bridge", "phy", "datapath_type=netdev", "--", "add-port", "phy", "w0"); err != nil {
		return err
	}
	if err := h.IP(fmt.Sprintf("addr add %s/24 dev phy", benchNet[i]), fmt.Sprintf("link set phy mtu %d up", s.mtu)); err != nil {
		return err
	}
	err := vsctl(strings.Fields("add-br int -- set bridge int datapath_type=netdev fail_mode=secure " +
		"-- add-port int p0 -- set interface p0 ofport_request=1 " +
		"-- add-port int vx -- set interface vx type=vxlan ofport_request=2 options:key=100 options:remote_ip=" + benchNet[1-i].String())...)
	if err != nil {
		return err
	}
	return runCmd(h.Command(ctx, "ovs-ofctl", "-O", "OpenFlow13", "add-flows", "unix:"+filepath.Join(dir, "int.mgmt"), flows))
}
