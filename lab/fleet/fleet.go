package fleet

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"dove.network/api"
	"dove.network/auth"
	"dove.network/control"
	"dove.network/dove"
)

// The world of the fleet: one tenant, whose one network is one domain. Groups are tiers,
// each of which may talk to the next.
const (
	network = "net"
	groups  = 16

	tenant dove.Tenant = "acme"
)

// How the world is made.
const (
	loadPart  = 120 // endpoints in one request
	loadersAt = 2   // requests at once
	joinersAt = 32
	openersAt = 64

	openAgain  = 200 * time.Millisecond
	openWithin = 5 * time.Minute // all sessions, or what fails is said
)

// fleet is all hosts, and the endpoints on them.
type fleet struct {
	dpc   *dpc
	hosts []*host
	vni   dove.VNI
	made  int // endpoints
	pin   auth.Pin
}

// endpoint returns the name, the address and the group of the nth endpoint.
func (f *fleet) endpoint(n int) (dove.Endpoint, netip.Addr, int) {
	n += 2 // the first two of the subnet are not for endpoints
	addr := netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)})
	return dove.Endpoint{Tenant: tenant, ID: dove.EndpointID(fmt.Sprintf("e%07d", n-2))}, addr, (n - 2) / len(f.hosts) % groups
}

// at returns the host that the nth endpoint is made on.
func (f *fleet) at(n int) int { return n % len(f.hosts) }

// intent is the tenant's blueprint; each edition opens another port.
func intent(edition int) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "apiVersion: dove/v1\nkind: Blueprint\nname: shop\nnetworks: {%s: {subnets: [10.0.0.0/8]}}\ngroups:\n", network)
	for g := range groups {
		fmt.Fprintf(&b, "  g%d: {network: %s}\n", g, network)
	}
	fmt.Fprintln(&b, "policies:")
	for g := range groups {
		fmt.Fprintf(&b, "  - {name: p%d, from: g%d, to: g%d, allow: [tcp/443, tcp/8000-8100, udp/53, icmp]}\n", g, g, (g+1)%groups)
	}
	fmt.Fprintf(&b, "  - {name: edition, from: g0, to: g1, allow: [tcp/%d]}\n", 10000+edition%1000)
	return b.Bytes()
}

// newFleet gives a dpc that runs a tenant, and has hosts join it.
func newFleet(ctx context.Context, d *dpc, hosts int) (*fleet, error) {
	f := &fleet{dpc: d, hosts: make([]*host, hosts)}
	if _, err := d.client.PutTenant(ctx, tenant, nil); err != nil {
		return nil, err
	}
	if _, err := d.client.PutBlueprint(ctx, tenant, "shop", intent(0), nil); err != nil {
		return nil, err
	}
	n, err := d.client.Network(ctx, dove.Network{Tenant: tenant, Name: network})
	if err != nil {
		return nil, err
	}
	f.vni = n.VNI
	first, err := d.client.CreateJoinToken(ctx, "h0", 0)
	if err != nil {
		return nil, err
	}
	token, err := auth.ParseToken(auth.JoinToken, first.Token)
	if err != nil {
		return nil, err
	}
	f.pin = token.Pin
	transport := &http.Transport{TLSClientConfig: auth.PinnedTLS(f.pin), ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	over := &http.Client{Transport: transport}
	return f, each(ctx, hosts, joinersAt, func(ctx context.Context, i int) (err error) {
		f.hosts[i], err = f.join(ctx, over, i)
		return err
	})
}

// join admits a host, as dswitch join does, over a connection that many share.
func (f *fleet) join(ctx context.Context, over *http.Client, n int) (*host, error) {
	h := &host{name: dove.HostName(fmt.Sprintf("h%d", n)), vtep: netip.AddrFrom4([4]byte{172, 16 + byte(n>>16), byte(n >> 8), byte(n)})}
	h.vtep = h.vtep.Next()
	token, err := f.dpc.client.CreateJoinToken(ctx, h.name, 0)
	if err != nil {
		return nil, err
	}
	key, request, err := auth.NewHostKey(h.name, h.vtep)
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(auth.JoinRequest{Token: token.Token, Host: string(h.name), VTEP: h.vtep, Request: string(request)})
	if err != nil {
		return nil, err
	}
	post, err := http.NewRequestWithContext(ctx, http.MethodPost, f.dpc.client.Server()+auth.JoinPath, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	post.Header.Set("Content-Type", "application/json")
	answer, err := over.Do(post)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("join %s: %s %s %w", h.name, answer.Status, text, err)
	}
	var reply auth.JoinReply
	if err := json.Unmarshal(text, &reply); err != nil {
		return nil, err
	}
	h.credentials, err = auth.NewHostCredentials(key, []byte(reply.Certificate), []byte(reply.Authority))
	return h, err
}

// grow makes endpoints until there are so many, and calls progress now and then.
func (f *fleet) grow(ctx context.Context, until int, progress func(made int)) error {
	begin := f.made
	var made atomic.Int64
	made.Store(int64(begin))
	var told sync.Mutex
	last := time.Now()
	err := each(ctx, (until-begin+loadPart-1)/loadPart, loadersAt, func(ctx context.Context, i int) error {
		part := make([]api.NamedEndpointSpec, 0, loadPart)
		for n := begin + i*loadPart; n < min(until, begin+(i+1)*loadPart); n++ {
			part = append(part, f.spec(n, f.at(n)))
		}
		_, err := f.dpc.client.PutEndpoints(ctx, tenant, part)
		made.Add(int64(len(part)))
		told.Lock()
		defer told.Unlock()
		if time.Since(last) > 5*time.Second {
			last = time.Now()
			progress(int(made.Load()))
		}
		return err
	})
	f.made = until
	return err
}

// spec is the nth endpoint as it is asked for on a host.
func (f *fleet) spec(n, host int) api.NamedEndpointSpec {
	name, addr, group := f.endpoint(n)
	return api.NamedEndpointSpec{ID: name.ID, EndpointSpec: api.EndpointSpec{
		Groups: []string{fmt.Sprintf("shop/g%d", group)}, Addresses: []string{addr.String()}, Host: f.hosts[host].name,
	}}
}

// open opens the sessions of all hosts, and returns how long that took until each had
// acknowledged all that it was told.
func (f *fleet) open(ctx context.Context) (time.Duration, error) {
	begun := time.Now()
	err := each(ctx, len(f.hosts), openersAt, func(_ context.Context, i int) error {
		for {
			// On a busy machine a connection may take longer than a host waits: it tries again.
			err := f.hosts[i].open(ctx, f.dpc.control)
			if dove.KindOf(err) != dove.Unavailable || time.Since(begun) > openWithin {
				return err
			}
			select {
			case <-time.After(openAgain):
			case <-ctx.Done():
				return err
			}
		}
	})
	return time.Since(begun), err
}

// close ends all sessions.
func (f *fleet) close() {
	var all sync.WaitGroup
	for _, h := range f.hosts {
		all.Go(h.close)
	}
	all.Wait()
}

// question asks from the nth endpoint, of the host that it was made on, about another.
func (f *fleet) question(from, to int) control.Question {
	_, local, _ := f.endpoint(from)
	_, peer, _ := f.endpoint(to)
	return control.Question{VNI: f.vni, Local: local, Peer: peer, Outgoing: true}
}

// onHost returns an endpoint that was made on a host, by chance.
func (f *fleet) onHost(random *rand.Rand, host int) int {
	return host + len(f.hosts)*random.IntN((f.made-host+len(f.hosts)-1)/len(f.hosts))
}

// peer returns by chance an endpoint that the nth may talk to; any where the fleet has
// few.
func (f *fleet) peer(random *rand.Rand, n int) int {
	rows := f.made / len(f.hosts) // all endpoints of a row are of one group
	if rows < groups {
		return random.IntN(f.made)
	}
	row := (n/len(f.hosts)+1)%groups + groups*random.IntN(rows/groups)
	return row*len(f.hosts) + random.IntN(len(f.hosts))
}
