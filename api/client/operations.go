package client

import (
	"context"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"dove.network/api"
	"dove.network/dove"
)

// Tenants lists tenants by name.
func (c *Client) Tenants(ctx context.Context, filter api.TenantFilter) ([]api.Tenant, error) {
	return list[api.Tenant](ctx, c, queryOf(filter), "tenants")
}

// PutTenant makes a tenant.
func (c *Client) PutTenant(ctx context.Context, t dove.Tenant, ifMatch *dove.Revision) (api.Tenant, error) {
	return put[api.Tenant](ctx, c, ifMatch, nil, "tenants", string(t))
}

// DeleteTenant deletes a tenant that owns nothing.
func (c *Client) DeleteTenant(ctx context.Context, t dove.Tenant, ifMatch *dove.Revision) (dove.Revision, error) {
	return remove(ctx, c, ifMatch, "tenants", string(t))
}

// Networks lists a tenant's networks by name.
func (c *Client) Networks(ctx context.Context, t dove.Tenant, filter api.NetworkFilter) ([]api.Network, error) {
	return list[api.Network](ctx, c, queryOf(filter), "tenants", string(t), "networks")
}

// Network reads a network.
func (c *Client) Network(ctx context.Context, n dove.Network) (api.Network, error) {
	return get[api.Network](ctx, c, "tenants", string(n.Tenant), "networks", n.Name)
}

// PutNetwork makes a network by itself, or changes it.
func (c *Client) PutNetwork(ctx context.Context, n dove.Network, spec api.NetworkSpec, ifMatch *dove.Revision) (api.Network, error) {
	return put[api.Network](ctx, c, ifMatch, spec, "tenants", string(n.Tenant), "networks", n.Name)
}

// DeleteNetwork deletes a network that nobody is on.
func (c *Client) DeleteNetwork(ctx context.Context, n dove.Network, ifMatch *dove.Revision) (dove.Revision, error) {
	return remove(ctx, c, ifMatch, "tenants", string(n.Tenant), "networks", n.Name)
}

// Routers lists a tenant's routers by name.
func (c *Client) Routers(ctx context.Context, t dove.Tenant, filter api.RouterFilter) ([]api.Router, error) {
	return list[api.Router](ctx, c, queryOf(filter), "tenants", string(t), "routers")
}

// Router reads a router.
func (c *Client) Router(ctx context.Context, r dove.Router) (api.Router, error) {
	return get[api.Router](ctx, c, "tenants", string(r.Tenant), "routers", r.Name)
}

// PutRouter makes a router by itself, or changes it as a whole.
func (c *Client) PutRouter(ctx context.Context, r dove.Router, spec api.RouterSpec, ifMatch *dove.Revision) (api.Router, error) {
	return put[api.Router](ctx, c, ifMatch, spec, "tenants", string(r.Tenant), "routers", r.Name)
}

// DeleteRouter deletes a router that no policy needs.
func (c *Client) DeleteRouter(ctx context.Context, r dove.Router, ifMatch *dove.Revision) (dove.Revision, error) {
	return remove(ctx, c, ifMatch, "tenants", string(r.Tenant), "routers", r.Name)
}

// Blueprints lists a tenant's blueprints by name, without their text.
func (c *Client) Blueprints(ctx context.Context, t dove.Tenant, filter api.BlueprintFilter) ([]api.Blueprint, error) {
	return list[api.Blueprint](ctx, c, queryOf(filter), "tenants", string(t), "blueprints")
}

// Blueprint reads a blueprint with its text.
func (c *Client) Blueprint(ctx context.Context, t dove.Tenant, name string) (api.Blueprint, error) {
	return get[api.Blueprint](ctx, c, "tenants", string(t), "blueprints", name)
}

// Validate checks a blueprint's text as applying it would.
func (c *Client) Validate(ctx context.Context, t dove.Tenant, text []byte) (api.Valid, error) {
	return do[api.Valid](ctx, c, request{method: http.MethodPost, path: []string{"tenants", string(t), "validate"}, text: text})
}

// Plan asks what applying the text of a blueprint, or of several, would change.
func (c *Client) Plan(ctx context.Context, t dove.Tenant, text []byte) (api.Plan, error) {
	return c.plan(ctx, t, text, nil)
}

// PlanLive is Plan, and asks the hosts how many live flows that is about.
func (c *Client) PlanLive(ctx context.Context, t dove.Tenant, text []byte) (api.Plan, error) {
	return c.plan(ctx, t, text, url.Values{"live": {"true"}})
}

func (c *Client) plan(ctx context.Context, t dove.Tenant, text []byte, query url.Values) (api.Plan, error) {
	return do[api.Plan](ctx, c, request{method: http.MethodPost, path: []string{"tenants", string(t), "plan"}, query: query, text: text})
}

// Import translates policy in another language, kubernetes or openstack, into blueprints.
func (c *Client) Import(ctx context.Context, t dove.Tenant, language string, names api.ImportNames, text []byte) (api.Import, error) {
	return do[api.Import](ctx, c, request{
		method: http.MethodPost, path: []string{"tenants", string(t), "imports", language}, query: queryOf(names), text: text,
	})
}

// PutBlueprint applies a blueprint's text, which must have that name.
func (c *Client) PutBlueprint(ctx context.Context, t dove.Tenant, name string, text []byte, ifMatch *dove.Revision) (api.Blueprint, error) {
	return c.putBlueprint(ctx, t, request{text: text, ifMatch: ifMatch}, name)
}

// PutPlanned applies the text of a plan of one blueprint, while the plan is true.
func (c *Client) PutPlanned(ctx context.Context, t dove.Tenant, p api.Plan, text []byte, ifMatch *dove.Revision) (api.Blueprint, error) {
	return c.putBlueprint(ctx, t, request{text: text, ifMatch: ifMatch, query: url.Values{"plan": {p.Token}}}, p.Documents[0].Blueprint)
}

// PutBlueprints applies a text of several blueprints as one, and if it is given the
// token of a plan, only while that is true.
func (c *Client) PutBlueprints(ctx context.Context, t dove.Tenant, text []byte, token string) (api.Blueprints, error) {
	query := url.Values{}
	if token != "" {
		query.Set("plan", token)
	}
	return do[api.Blueprints](ctx, c, request{method: http.MethodPost, path: []string{"tenants", string(t), "blueprints"}, query: query, text: text})
}

func (c *Client) putBlueprint(ctx context.Context, t dove.Tenant, r request, name string) (api.Blueprint, error) {
	r.method, r.path = http.MethodPut, []string{"tenants", string(t), "blueprints", name}
	return do[api.Blueprint](ctx, c, r)
}

// DeleteBlueprint deletes a blueprint and the networks that it makes.
func (c *Client) DeleteBlueprint(ctx context.Context, t dove.Tenant, name string, ifMatch *dove.Revision) (dove.Revision, error) {
	return remove(ctx, c, ifMatch, "tenants", string(t), "blueprints", name)
}

// Endpoints lists a tenant's endpoints by id.
func (c *Client) Endpoints(ctx context.Context, t dove.Tenant, filter api.EndpointFilter) ([]api.Endpoint, error) {
	return list[api.Endpoint](ctx, c, queryOf(filter), "tenants", string(t), "endpoints")
}

func endpointPath(e dove.Endpoint, more ...string) []string {
	return append([]string{"tenants", string(e.Tenant), "endpoints", string(e.ID)}, more...)
}

// Endpoint reads an endpoint.
func (c *Client) Endpoint(ctx context.Context, e dove.Endpoint) (api.Endpoint, error) {
	return get[api.Endpoint](ctx, c, endpointPath(e)...)
}

// PutEndpoint makes an endpoint, or changes it.
func (c *Client) PutEndpoint(ctx context.Context, e dove.Endpoint, spec api.EndpointSpec, ifMatch *dove.Revision) (api.Endpoint, error) {
	return put[api.Endpoint](ctx, c, ifMatch, spec, endpointPath(e)...)
}

// PutEndpoints makes endpoints of a tenant, or changes them, at most api.PageMax at
// once.
func (c *Client) PutEndpoints(ctx context.Context, t dove.Tenant, all []api.NamedEndpointSpec) (api.Endpoints, error) {
	return do[api.Endpoints](ctx, c, request{method: http.MethodPost, path: []string{"tenants", string(t), "endpoints"}, body: api.EndpointsSpec{Items: all}})
}

// BindEndpoint binds an endpoint to a host.
func (c *Client) BindEndpoint(ctx context.Context, e dove.Endpoint, host dove.HostName, ifMatch *dove.Revision) (api.Endpoint, error) {
	return put[api.Endpoint](ctx, c, ifMatch, api.Binding{Host: host}, endpointPath(e, "binding")...)
}

// UnbindEndpoint takes an endpoint from its host.
func (c *Client) UnbindEndpoint(ctx context.Context, e dove.Endpoint, ifMatch *dove.Revision) (api.Endpoint, error) {
	return do[api.Endpoint](ctx, c, request{method: http.MethodDelete, path: endpointPath(e, "binding"), ifMatch: ifMatch})
}

// PrepareEndpoint prepares the move of an endpoint to a host.
func (c *Client) PrepareEndpoint(ctx context.Context, e dove.Endpoint, host dove.HostName, ifMatch *dove.Revision) (api.Endpoint, error) {
	return do[api.Endpoint](ctx, c, request{method: http.MethodPut, path: endpointPath(e, "bindings", string(host)), ifMatch: ifMatch})
}

// ActivateEndpoint makes an endpoint's standby binding to a host the active
// one. Forced, it does so before that is prepared, or without some hosts.
func (c *Client) ActivateEndpoint(ctx context.Context, e dove.Endpoint, host dove.HostName, force api.Force, ifMatch *dove.Revision) (api.Endpoint, error) {
	return do[api.Endpoint](ctx, c, request{method: http.MethodPost, path: endpointPath(e, "bindings", string(host), "activate"), query: queryOf(force), ifMatch: ifMatch})
}

// FinishEndpoint takes an endpoint's standby binding to a host away. Forced, it
// does so before all hosts, or some, know where the endpoint is.
func (c *Client) FinishEndpoint(ctx context.Context, e dove.Endpoint, host dove.HostName, force api.Force, ifMatch *dove.Revision) (api.Endpoint, error) {
	return do[api.Endpoint](ctx, c, request{method: http.MethodDelete, path: endpointPath(e, "bindings", string(host)), query: queryOf(force), ifMatch: ifMatch})
}

// endpointPause is how long WaitEndpoint waits before it asks again.
const endpointPause = 20 * time.Millisecond

// WaitEndpoint returns an endpoint once it is as it should be, or as it stands
// when ctx is done.
func (c *Client) WaitEndpoint(ctx context.Context, name dove.Endpoint, should func(api.Endpoint) bool) (api.Endpoint, error) {
	var last api.Endpoint
	for {
		e, err := c.Endpoint(ctx, name)
		switch {
		case err != nil && ctx.Err() != nil && last.ID != "":
			return last, nil
		case err != nil || should(e):
			return e, err
		}
		last = e
		select {
		case <-ctx.Done():
			return last, nil
		case <-time.After(endpointPause):
		}
	}
}

// DeleteEndpoint deletes an endpoint.
func (c *Client) DeleteEndpoint(ctx context.Context, e dove.Endpoint, ifMatch *dove.Revision) (dove.Revision, error) {
	return remove(ctx, c, ifMatch, endpointPath(e)...)
}

// Hosts lists hosts by name.
func (c *Client) Hosts(ctx context.Context, filter api.HostFilter) ([]api.Host, error) {
	return list[api.Host](ctx, c, queryOf(filter), "hosts")
}

// Host reads a host.
func (c *Client) Host(ctx context.Context, h dove.HostName) (api.Host, error) {
	return get[api.Host](ctx, c, "hosts", string(h))
}

// PutHost makes a host, or changes its underlay address.
func (c *Client) PutHost(ctx context.Context, h dove.HostName, spec api.HostSpec, ifMatch *dove.Revision) (api.Host, error) {
	return put[api.Host](ctx, c, ifMatch, spec, "hosts", string(h))
}

// CreateJoinToken makes a token that admits the host once, within the given time
// (whole seconds; 0 is the server's default).
func (c *Client) CreateJoinToken(ctx context.Context, h dove.HostName, good time.Duration) (api.JoinToken, error) {
	return do[api.JoinToken](ctx, c, request{
		method: http.MethodPost, path: []string{"hosts", string(h), "token"}, body: api.JoinTokenSpec{Seconds: int(good / time.Second)},
	})
}

// DeleteHost deletes a host to which no endpoint is bound.
func (c *Client) DeleteHost(ctx context.Context, h dove.HostName, ifMatch *dove.Revision) (dove.Revision, error) {
	return remove(ctx, c, ifMatch, "hosts", string(h))
}

// Tokens lists tokens by id.
func (c *Client) Tokens(ctx context.Context) ([]api.Token, error) {
	return list[api.Token](ctx, c, nil, "tokens")
}

// CreateToken makes another token: an administrator's, or of a tenant that is not "".
func (c *Client) CreateToken(ctx context.Context, t dove.Tenant) (api.APIToken, error) {
	query := url.Values{}
	if t != "" {
		query.Set("tenant", string(t))
	}
	return do[api.APIToken](ctx, c, request{method: http.MethodPost, path: []string{"tokens"}, query: query})
}

// DeleteToken deletes a token; the last administrator's cannot be deleted.
func (c *Client) DeleteToken(ctx context.Context, id string) (dove.Revision, error) {
	return remove(ctx, c, nil, "tokens", id)
}

// Resolve asks what the DPC would answer if the dSwitch of one endpoint asked
// about another.
func (c *Client) Resolve(ctx context.Context, t dove.Tenant, who api.Resolving) (api.Resolution, error) {
	return do[api.Resolution](ctx, c, request{
		method: http.MethodGet, path: []string{"tenants", string(t), "resolutions"}, query: queryOf(who),
	})
}

// Watch yields the changes after a revision as they happen, of one tenant or, if
// t is "", of everything; after is 0 for those from now on. It begins with the
// revision that it is at, and repeats it while nothing changes. The last item
// may be an error: why there is no more. If ctx is done, errors.Is tells so.
func (c *Client) Watch(ctx context.Context, t dove.Tenant, after dove.Revision) iter.Seq2[api.WatchLine, error] {
	r := request{method: http.MethodGet, path: []string{"watch"}, query: url.Values{}}
	if t != "" {
		r.path = []string{"tenants", string(t), "watch"}
	}
	if after > 0 {
		r.query.Set("after", strconv.FormatInt(int64(after), 10))
	}
	return lines[api.WatchLine](ctx, c, r)
}

// Receipt says how far a revision got. With wait (at most api.WaitMax) the
// answer comes once it is complete, or as it is when that time is over.
func (c *Client) Receipt(ctx context.Context, rev dove.Revision, wait time.Duration) (api.Receipt, error) {
	r := request{method: http.MethodGet, path: []string{"receipts", strconv.FormatInt(int64(rev), 10)}}
	if wait > 0 {
		r.query = url.Values{"wait": {wait.String()}}
	}
	return do[api.Receipt](ctx, c, r)
}

// Status asks the member what it knows of itself.
func (c *Client) Status(ctx context.Context) (api.Status, error) {
	return get[api.Status](ctx, c, "status")
}

// Version asks the member which program it is.
func (c *Client) Version(ctx context.Context) (api.Version, error) {
	return get[api.Version](ctx, c, "version")
}
