package main

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"dove.network/agent"
	"dove.network/auth"
	"dove.network/config"
	"dove.network/daemon"
	"dove.network/dataplane"
	"dove.network/dove"
)

// apiPort is where a DPC member's API is when --api is not given.
const apiPort = "7443"

// settings are all that can be said to the program.
type settings struct {
	Host         string
	Underlay     netip.Addr
	DPC          []string
	State        string
	Pins         string
	NetNS        string
	Join         string
	API          string
	Flows        uint32
	FlowsPerPort uint32
	Rows         int
	DSCP         string
	Up           string
	VXLAN        string
	RemoveOnExit bool
	Metrics      string
}

func defaults() *settings {
	return &settings{
		State: "/var/lib/dswitch", Pins: "/sys/fs/bpf/dswitch",
		Flows: 65536, FlowsPerPort: 16384, Rows: agent.RowsMax, DSCP: "copy", Up: "dsw-up", VXLAN: "dsw-vx",
	}
}

func (s *settings) flags(f *pflag.FlagSet) {
	f.StringVar(&s.Host, "host", s.Host, "`NAME` of this host in DOVE (default: as its certificate says; to join, this machine's name)")
	f.TextVar(&s.Underlay, "underlay", s.Underlay, "underlay `ADDRESS` of this host, IPv4 or IPv6 as the fleet's are (default: as its certificate says)")
	f.StringSliceVar(&s.DPC, "dpc", s.DPC, "`HOST:PORT` of the control server of each DPC member, tried in turn")
	f.StringVar(&s.State, "state", s.State, "`FOLDER` for the host's key and certificate, what a restart needs, and the local socket")
	f.StringVar(&s.Pins, "pins", s.Pins, "`FOLDER` on a BPF file system for programs and maps, of this switch alone")
	f.StringVar(&s.NetNS, "netns", s.NetNS, "network namespace to work in, `NAME` or path (default: the present one)")
	f.StringVar(&s.Join, "join", s.Join, "join `TOKEN` to get a certificate with, if this host has none yet; - reads it from standard input")
	f.StringVar(&s.API, "api", s.API, "`HOST:PORT` of a DPC member's API, to join (default: the first of --dpc, port "+apiPort+")")
	f.Uint32Var(&s.Flows, "flows", s.Flows, "entries of the flow table, for IPv4 and for IPv6 each; changes when the pins are made anew")
	f.Uint32Var(&s.FlowsPerPort, "flows-per-port", s.FlowsPerPort, "flows that one guest may have")
	f.IntVar(&s.Rows, "rows", s.Rows, "answers of the DPC that are held at most")
	f.StringVar(&s.DSCP, "dscp", s.DSCP, "`DSCP` of the packets between hosts: copy, the guest's, or a number from 0 to 63")
	f.StringVar(&s.Up, "up-device", s.Up, "`NAME` of the device through which packets wait for answers")
	f.StringVar(&s.VXLAN, "vxlan-device", s.VXLAN, "`NAME` of the device that decapsulates for taps")
	f.BoolVar(&s.RemoveOnExit, "remove-on-exit", s.RemoveOnExit, "take everything down when stopped, instead of going on without an agent")
	f.StringVar(&s.Metrics, "metrics", s.Metrics, daemon.ListenFlag)
	config.Secret(f, "join")
}

// checkPlaces checks what every command needs.
func (s *settings) checkPlaces() config.Faults {
	var f config.Faults
	for _, x := range [][2]string{{"state", s.State}, {"pins", s.Pins}} {
		if !filepath.IsAbs(x[1]) {
			f.Add(x[0], "", "%q is not an absolute path", x[1])
		}
	}
	if s.Underlay.IsValid() && (s.Underlay.Is4In6() || s.Underlay.Zone() != "" || !s.Underlay.IsGlobalUnicast()) {
		f.Add("underlay", "give one such as 192.0.2.1 or 2001:db8::1", "%s is not an address of one host that others reach", s.Underlay)
	}
	if s.Host != "" {
		f.Check("host", "", dove.CheckName(s.Host))
	}
	for _, x := range [][2]string{{"up-device", s.Up}, {"vxlan-device", s.VXLAN}} {
		if x[1] == "" || len(x[1]) > 15 || strings.ContainsAny(x[1], "/ :") {
			f.Add(x[0], "1 to 15 characters without spaces, slashes and colons", "%q is no device name", x[1])
		}
	}
	if len(filepath.Join(s.State, socketName)) > 105 {
		f.Add("state", "at most 92 characters", "the path is too long for a socket in it")
	}
	return f
}

// dscp reads what --dscp says.
func (s *settings) dscp() (dataplane.DSCP, error) {
	if s.DSCP == "copy" {
		return dataplane.DSCP{}, nil
	}
	n, err := strconv.ParseUint(s.DSCP, 10, 6)
	if err != nil {
		return dataplane.DSCP{}, fmt.Errorf("%q is neither copy nor a number from 0 to 63", s.DSCP)
	}
	return dataplane.DSCP{Fixed: true, Value: uint8(n)}, nil
}

func (s *settings) checkRun() error {
	f := s.checkPlaces()
	if len(s.DPC) == 0 {
		f.Add("dpc", "--dpc HOST:PORT", "no DPC member is named")
	}
	for _, addr := range s.DPC {
		f.Check("dpc", "", dove.CheckAddress(addr, false))
	}
	if s.Flows < 64 || s.Flows > 1<<24 {
		f.Add("flows", "", "%d is not between 64 and %d", s.Flows, 1<<24)
	}
	if s.FlowsPerPort < 1 {
		f.Add("flows-per-port", "", "0 lets no guest talk")
	}
	if s.Rows < 64 || s.Rows > agent.RowsMax {
		f.Add("rows", "", "%d is not between 64 and %d", s.Rows, agent.RowsMax)
	}
	_, err := s.dscp()
	f.Check("dscp", "", err)
	f.Check("metrics", "", daemon.CheckListen(s.Metrics))
	if s.Join != "" {
		s.checkToken(&f)
	}
	return f.Err()
}

func (s *settings) checkJoin() error {
	f := s.checkPlaces()
	if s.Join == "" {
		f.Add("join", "dovectl host token HOST makes one", "the join token is missing")
	} else {
		s.checkToken(&f)
	}
	return f.Err()
}

func (s *settings) checkRemove() error { return s.checkPlaces().Err() }

// checkToken checks what joining needs.
func (s *settings) checkToken(f *config.Faults) {
	if s.Join != "-" {
		_, err := auth.ParseToken(auth.JoinToken, s.Join)
		f.Check("join", "", err)
	}
	if !s.Underlay.IsValid() {
		f.Add("underlay", "to join, say this host's underlay address", "it is missing")
	}
	if s.API != "" {
		f.Check("api", "", dove.CheckAddress(s.API, false))
	} else if len(s.DPC) == 0 {
		f.Add("api", "--api HOST:PORT", "no DPC member is named")
	}
}

// api is where to join.
func (s *settings) api() string {
	if s.API != "" {
		return s.API
	}
	host, _, err := net.SplitHostPort(s.DPC[0])
	if err != nil {
		panic(fmt.Sprintf("dswitch: address %q passed the check: %v", s.DPC[0], err))
	}
	return net.JoinHostPort(host, apiPort)
}

// token reads the join token.
func (s *settings) token() (auth.Token, error) {
	text := s.Join
	if text == "-" {
		b, err := io.ReadAll(io.LimitReader(os.Stdin, 1024))
		if err != nil {
			return auth.Token{}, fmt.Errorf("read the join token: %w", err)
		}
		text = strings.TrimSpace(string(b))
	}
	return auth.ParseToken(auth.JoinToken, text)
}

// host is the name to join under.
func (s *settings) host() (dove.HostName, error) {
	if s.Host != "" {
		return dove.HostName(s.Host), nil
	}
	name, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("name of this machine: %w", err)
	}
	name, _, _ = strings.Cut(strings.ToLower(name), ".")
	if err := dove.CheckName(name); err != nil {
		return "", fmt.Errorf("this machine's name cannot be a host's (give --host): %w", err)
	}
	return dove.HostName(name), nil
}
