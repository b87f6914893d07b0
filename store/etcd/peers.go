package etcd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver"

	"dove.network/dove"
)

// Peers is how the member inside this process and those inside others make one
// cluster. They speak over mutual TLS.
type Peers struct {
	Name      string // of this member; no other has it
	Listen    string // "host:port"
	Advertise string // "host:port" under which the others reach it
	// Files with this member's certificate, its key and the authority's
	// certificate, PEM. They are read anew for each connection.
	Cert, Key, CA string
	// ServerName is what the certificates of all members carry and no others of
	// the authority.
	ServerName string
	// Join are the addresses of members of a cluster that was told to Admit this
	// one. They matter at the first start; without them it is a cluster of its own.
	Join []string
	// Seed makes a cluster of its own different from all others.
	Seed string
}

// tls returns what etcd makes its configurations from.
func (p *Peers) tls() transport.TLSInfo {
	return transport.TLSInfo{
		CertFile: p.Cert, KeyFile: p.Key, TrustedCAFile: p.CA, ClientCertAuth: true,
		ServerName: p.ServerName, AllowedHostnames: []string{p.ServerName},
		SkipClientSANVerify: true, // it would look up where a connection came from
	}
}

func peerURL(address string) url.URL { return url.URL{Scheme: "https", Host: address} }

// configure makes the configuration of a member that has peers.
func (p *Peers) configure(ctx context.Context, c *embed.Config) error {
	listen, err := bind(p.Listen)
	if err != nil {
		return err
	}
	c.Name = p.Name
	c.ListenPeerUrls, c.AdvertisePeerUrls = []url.URL{peerURL(listen)}, []url.URL{peerURL(p.Advertise)}
	c.PeerTLSInfo, c.TlsMinVersion = p.tls(), "TLS1.3"
	c.InitialCluster = p.Name + "=" + c.AdvertisePeerUrls[0].String()
	c.InitialClusterToken = clusterToken + "-" + p.Seed
	if len(p.Join) == 0 || started(c) {
		return nil
	}
	nodes, err := p.ask(ctx)
	if err != nil {
		return err
	}
	c.ClusterState = embed.ClusterStateFlagExisting
	var initial []string
	for i, n := range nodes {
		switch {
		case n.Address == p.Advertise:
			n.Name = p.Name
		case n.Name == "": // it has not started yet
			n.Name = fmt.Sprintf("new-%d", i)
		}
		initial = append(initial, n.Name+"="+(&url.URL{Scheme: "https", Host: n.Address}).String())
	}
	c.InitialCluster = strings.Join(initial, ",")
	if !slices.ContainsFunc(nodes, func(n Node) bool { return n.Address == p.Advertise }) {
		return dove.Errorf(dove.Forbidden, "the cluster of %s does not know of a member at %s: join again, in an empty folder", strings.Join(p.Join, ", "), p.Advertise)
	}
	return nil
}

// bind returns the address to listen on as etcd wants it, with an IP address.
func bind(address string) (string, error) {
	at, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		return "", dove.Errorf(dove.Invalid, "nobody can listen on %q: %v", address, err)
	}
	if at.IP == nil { // all addresses of this machine
		at.IP = net.IPv6unspecified
		l, err := net.Listen("tcp6", "[::]:0")
		if err != nil {
			at.IP = net.IPv4zero
		} else if err := l.Close(); err != nil {
			return "", err
		}
	}
	return at.String(), nil
}

// started reports whether a member ran in the folder before.
func started(c *embed.Config) bool {
	_, err := os.Stat(filepath.Join(c.Dir, "member", "wal"))
	return err == nil
}

// ask asks the members of a cluster who its members are.
func (p *Peers) ask(ctx context.Context) ([]Node, error) {
	config, err := p.tls().ClientConfig()
	if err != nil {
		return nil, dove.Errorf(dove.Invalid, "the certificates for other members cannot be used: %v", err)
	}
	transport := &http.Transport{TLSClientConfig: config}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: callTimeout}
	var failed []error
	for _, address := range p.Join {
		nodes, err := askOne(ctx, client, address)
		if err == nil {
			return nodes, nil
		}
		failed = append(failed, fmt.Errorf("%s: %w", address, err))
	}
	return nil, dove.Errorf(dove.Unavailable, "none of the members to join answers: %v", errors.Join(failed...))
}

func askOne(ctx context.Context, client *http.Client, address string) ([]Node, error) {
	u := peerURL(address)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, u.JoinPath("members").String(), nil)
	if err != nil {
		return nil, err
	}
	answer, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	if err != nil {
		return nil, err
	}
	var members []struct {
		ID       uint64   `json:"id"`
		PeerURLs []string `json:"peerURLs"`
		Name     string   `json:"name"`
		Learner  bool     `json:"isLearner"`
	}
	if err := json.Unmarshal(text, &members); answer.StatusCode != http.StatusOK || err != nil {
		return nil, fmt.Errorf("it does not say who its members are: %s %w", answer.Status, err)
	}
	var nodes []Node
	for _, m := range members {
		nodes = append(nodes, node(m.ID, m.Name, m.PeerURLs, m.Learner))
	}
	return nodes, nil
}

// Node is a member of the etcd cluster.
type Node struct {
	ID      uint64
	Name    string // "" until it started for the first time
	Address string // "host:port" for other members
	Learner bool   // it is not counted on yet: it still loads what the others have
}

func node(id uint64, name string, urls []string, learner bool) Node {
	n := Node{ID: id, Name: name, Learner: learner}
	if len(urls) > 0 {
		n.Address = strings.TrimPrefix(strings.TrimPrefix(urls[0], "https://"), "http://")
	}
	return n
}

// Nodes returns the members of the cluster that this process's is in; none if
// the cluster is elsewhere.
func (s *Store) Nodes(ctx context.Context) ([]Node, error) {
	if s.member == nil {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	all, err := s.client.MemberList(ctx)
	if err != nil {
		return nil, said("listing members", err)
	}
	var nodes []Node
	for _, m := range all.Members {
		nodes = append(nodes, node(m.ID, m.Name, m.PeerURLs, m.IsLearner))
	}
	return nodes, nil
}

// Admit makes place for a member at an address and returns those of the others.
// Once it has started and loaded what there is, Tend makes it count. One that was
// admitted at the address before, and never started, is forgotten. With a cluster
// elsewhere there is nothing to admit, and it returns none.
func (s *Store) Admit(ctx context.Context, address string) ([]string, error) {
	if s.member == nil {
		return nil, nil
	}
	if s.member.peers == nil {
		return nil, dove.Errorf(dove.Conflict, "this member is alone and advertises no address to others: restart it with --advertise-etcd HOST:PORT first")
	}
	if address == "" {
		return nil, dove.Errorf(dove.Invalid, "members keep documents in etcd members inside their processes: say where others reach the new one, --advertise-etcd HOST:PORT")
	}
	nodes, err := s.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	var others []string
	for _, n := range nodes {
		switch {
		case n.Address != address && n.Learner:
			return nil, configured("admitting a member", rpctypes.ErrTooManyLearners)
		case n.Address != address:
			others = append(others, n.Address)
		case n.Name != "" || !n.Learner:
			return nil, dove.Errorf(dove.Conflict, "%s is the address of etcd member %q: remove that one first, or choose another address", address, n.Name)
		default:
			if err := s.dismiss(ctx, n); err != nil {
				return nil, err
			}
		}
	}
	u := peerURL(address)
	return others, configure(ctx, "admitting a member", func(ctx context.Context) error {
		_, err := s.client.MemberAddAsLearner(ctx, []string{u.String()})
		return err
	})
}

// Dismiss takes the member at an address out of the cluster for good; nothing
// happens if there is none. It is Conflict if the rest would not be able to write.
func (s *Store) Dismiss(ctx context.Context, address string) error {
	nodes, err := s.Nodes(ctx)
	if err != nil {
		return err
	}
	for _, n := range nodes {
		if n.Address == address {
			return s.dismiss(ctx, n)
		}
	}
	return nil
}

func (s *Store) dismiss(ctx context.Context, n Node) error {
	if err := configure(ctx, "removing a member", func(ctx context.Context) error {
		_, err := s.client.MemberRemove(ctx, n.ID)
		if errors.Is(err, rpctypes.ErrMemberNotFound) {
			return nil
		}
		return err
	}); err != nil {
		return err
	}
	// It may have led: what is written before another does would be lost.
	tick := time.NewTicker(time.Second / 20)
	defer tick.Stop()
	for s.member.server.Leader() == types.ID(n.ID) || s.member.server.Leader() == 0 {
		select {
		case <-tick.C:
		case <-s.Stopped():
			return dove.Errorf(dove.Unavailable, "the etcd member inside this process stopped")
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// configure changes the cluster. Etcd wants its members to have been connected for
// some seconds before it believes that they are there, so it is tried for as long.
func configure(ctx context.Context, doing string, change func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	for deadline := time.Now().Add(etcdserver.HealthInterval + 2*time.Second); ; {
		err := change(ctx)
		again := errors.Is(err, rpctypes.ErrUnhealthy) || errors.Is(err, rpctypes.ErrMemberNotFound) // the id is that of one that was just removed: it has the time in it
		if !again || time.Now().After(deadline) {
			return configured(doing, err)
		}
		select {
		case <-time.After(etcdserver.HealthInterval / 10):
		case <-ctx.Done():
			return configured(doing, err)
		}
	}
}

// configured turns an error about a change of the cluster into one of ours.
func configured(doing string, err error) error {
	switch {
	case errors.Is(err, rpctypes.ErrTooManyLearners):
		return dove.Errorf(dove.Conflict, "%s: another one was admitted and is not up to date yet: start it and wait, or remove it", doing)
	case errors.Is(err, rpctypes.ErrUnhealthy), errors.Is(err, rpctypes.ErrMemberNotEnoughStarted):
		return dove.Errorf(dove.Conflict, "%s: too few of the others are in reach, and the store could not be written: start those that are down, or remove one of them first", doing)
	}
	return said(doing, err)
}

// counts waits until the member counts, and then says where it is, if that has changed.
func (m *member) counts(ctx context.Context, p *Peers) error {
	tick := time.NewTicker(time.Second / 10)
	defer tick.Stop()
	for m.server.IsLearner() {
		select {
		case <-tick.C:
		case <-m.server.StopNotify():
			return dove.Errorf(dove.Unavailable, "etcd stopped while it loaded what the others have; its member may have been removed")
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	own := m.server.Cluster().Member(m.server.MemberID())
	u := peerURL(p.Advertise)
	if own != nil && slices.Equal(own.PeerURLs, []string{u.String()}) {
		return nil
	}
	c := m.client()
	defer c.Close()
	return configure(ctx, "telling the others the address "+p.Advertise, func(ctx context.Context) error {
		_, err := c.MemberUpdate(ctx, uint64(m.server.MemberID()), []string{u.String()})
		return err
	})
}
