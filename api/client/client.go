package client

import (
	"bytes"
	"cmp"
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"dove.network/api"
	"dove.network/auth"
	"dove.network/dove"
)

const (
	dialTimeout = 10 * time.Second
	answerMax   = 64 << 20 // bytes of one answer
)

// Client asks one DPC member.
type Client struct {
	base  *url.URL
	name  string // of base, or of all that base stands for
	token string
	// once is the id of what is written, "" for none.
	once string
	http http.Client
}

// New makes a client. It does not connect yet. Errors are of kind dove.Invalid
// or dove.Unauthorized.
func New(c Config) (*Client, error) {
	servers, err := c.servers()
	if err != nil {
		return nil, err
	}
	var names, addresses []string
	for _, u := range servers {
		names = append(names, u.String())
		addresses = append(addresses, net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), "443")))
	}
	token, err := auth.ParseAPIToken(c.Token)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode([]byte(c.CA))
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, dove.Errorf(dove.Invalid, "ca is not a certificate in PEM: copy what dpc init wrote")
	}
	authority, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, dove.Errorf(dove.Invalid, "ca is not a certificate that can be read: %v", err)
	}
	dial := c.DialContext
	if dial == nil {
		dial = (&net.Dialer{Timeout: dialTimeout}).DialContext
	}
	transport := &http.Transport{
		DialContext: first(addresses, dial), TLSClientConfig: auth.ClientTLS(authority), TLSHandshakeTimeout: dialTimeout,
		ForceAttemptHTTP2: true, IdleConnTimeout: time.Minute,
	}
	return &Client{base: servers[0], name: strings.Join(names, ","), token: token.Text(), http: http.Client{
		Transport: transport,
		// The API never redirects, and a token must not follow where it would.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// soon is how long the connection to one of several members may take.
const soon = 3 * time.Second

// dialer is net.Dialer.DialContext.
type dialer = func(ctx context.Context, network, address string) (net.Conn, error)

// first connects to the first member that can be reached, beginning with the one
// that was the last time. All show certificates for one name, so it does not matter
// which is asked for.
func first(addresses []string, dial dialer) dialer {
	if len(addresses) == 1 {
		return dial
	}
	var last atomic.Int64
	return func(ctx context.Context, network, _ string) (net.Conn, error) {
		var failed []error
		for i := range addresses {
			at := (int(last.Load()) + i) % len(addresses)
			its, cancel := context.WithTimeout(ctx, soon)
			conn, err := dial(its, network, addresses[at])
			cancel()
			if err == nil {
				last.Store(int64(at))
				return conn, nil
			}
			failed = append(failed, err)
		}
		return nil, errors.Join(failed...)
	}
}

// Close lets go of idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// WithRequestID returns a client that gives its write that id: the server
// carries out one write of an id and answers every repetition, within
// api.RequestKept, as it answered the first. Another write needs another
// id. Ids are 1 to 128 printable ASCII characters.
func (c *Client) WithRequestID(id string) *Client {
	named := *c
	named.once = id
	return &named
}

// Server returns the address that the client asks, or all that it tries.
func (c *Client) Server() string { return c.name }

// request is one call of the API.
type request struct {
	method  string
	path    []string // parts below /v1; each is a name
	query   url.Values
	ifMatch *dove.Revision
	text    []byte // a blueprint's text, or
	body    any    // a JSON body
}

// do sends the request and reads its answer as a T.
func do[T any](ctx context.Context, c *Client, r request) (T, error) {
	var answer T
	a, err := c.send(ctx, r)
	if err != nil {
		return answer, err
	}
	defer a.Body.Close()
	text, err := io.ReadAll(io.LimitReader(a.Body, answerMax+1))
	switch {
	case err != nil:
		return answer, c.unreachable(ctx, err)
	case len(text) > answerMax:
		return answer, dove.Errorf(dove.TooLarge, "the answer is longer than %d bytes", answerMax)
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		return answer, dove.Errorf(dove.Internal, "the answer of %s cannot be read: %v", c.name, err)
	}
	return answer, nil
}

// send sends the request. If there is no error, the answer is one of success and
// its body is still to be read, and closed.
func (c *Client) send(ctx context.Context, r request) (*http.Response, error) {
	for _, part := range r.path {
		// A part such as ".." would name another resource.
		if err := dove.CheckName(part); err != nil {
			return nil, dove.Errorf(dove.Invalid, "%v", err)
		}
	}
	u := c.base.JoinPath("v1").JoinPath(r.path...)
	u.RawQuery = r.query.Encode()
	content, contentType := r.text, "application/yaml"
	if r.body != nil {
		var err error
		if content, err = json.Marshal(r.body); err != nil {
			return nil, fmt.Errorf("write the request: %w", err)
		}
		contentType = "application/json"
	}
	q, err := http.NewRequestWithContext(ctx, r.method, u.String(), bytes.NewReader(content))
	if err != nil {
		return nil, fmt.Errorf("make the request: %w", err)
	}
	q.Header.Set("Authorization", "Bearer "+c.token)
	q.Header.Set("Accept", "application/json")
	if content != nil {
		q.Header.Set("Content-Type", contentType)
	}
	switch {
	case r.ifMatch == nil:
	case *r.ifMatch == 0:
		q.Header.Set("If-None-Match", "*")
	default:
		q.Header.Set("If-Match", strconv.Quote(strconv.FormatInt(int64(*r.ifMatch), 10)))
	}
	if c.once != "" && (r.method == http.MethodPut || r.method == http.MethodDelete) {
		q.Header.Set("Idempotency-Key", c.once)
	}
	a, err := c.http.Do(q)
	if err != nil {
		return nil, c.unreachable(ctx, err)
	}
	if a.StatusCode < 200 || a.StatusCode > 299 {
		defer a.Body.Close()
		text, err := io.ReadAll(io.LimitReader(a.Body, answerMax))
		if err != nil {
			return nil, c.unreachable(ctx, err)
		}
		return nil, refusal(a, text)
	}
	return a, nil
}

// unreachable says why there is no answer. A context that is done stays visible
// to errors.Is.
func (c *Client) unreachable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("no answer from %s: %w", c.name, context.Cause(ctx))
	}
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return dove.Errorf(dove.Unauthorized, "%s is not a DPC of the authority in ca: wrong server, wrong configuration, or somebody is in between", c.name)
	}
	if strings.Contains(err.Error(), "certificate required") { // the other side's alert has no type
		return dove.Errorf(dove.Unavailable, "%s asks for a host's certificate: it is a DPC's port for dswitch (7444), not for the API (7443)", c.name)
	}
	return dove.Errorf(dove.Unavailable, "no answer from %s: %v", c.name, err)
}

// refusal reads a problem document.
func refusal(a *http.Response, text []byte) error {
	var p api.Problem
	media, _, _ := mime.ParseMediaType(a.Header.Get("Content-Type"))
	if media != "application/problem+json" || json.Unmarshal(text, &p) != nil || p.Detail == "" {
		return dove.Errorf(dove.Internal, "the server answered %s, and not as a DPC does: is the address right?", a.Status)
	}
	return errorOf(p)
}

// errorOf is what a problem document tells.
func errorOf(p api.Problem) error {
	e := &dove.Error{Kind: dove.Internal, Message: p.Detail, Faults: p.Errors}
	for k := dove.Internal; k <= dove.Unavailable; k++ {
		if k.String() == p.Kind {
			e.Kind = k
		}
	}
	return e
}

// queryOf returns the query that a filter of the API stands for.
func queryOf(filter any) url.Values {
	query := url.Values{}
	v := reflect.ValueOf(filter)
	for field, value := range v.Fields() {
		if !value.IsZero() {
			query.Set(field.Tag.Get("query"), fmt.Sprint(value.Interface()))
		}
	}
	return query
}

// list reads all parts of a list.
func list[T any](ctx context.Context, c *Client, query url.Values, path ...string) ([]T, error) {
	if query == nil {
		query = url.Values{}
	}
	items := []T{}
	for {
		part, err := do[api.List[T]](ctx, c, request{method: http.MethodGet, path: path, query: query})
		if err != nil {
			return nil, err
		}
		items = append(items, part.Items...)
		if part.Next == "" {
			return items, nil
		}
		query.Set("after", part.Next)
	}
}

func get[T any](ctx context.Context, c *Client, path ...string) (T, error) {
	return do[T](ctx, c, request{method: http.MethodGet, path: path})
}

func put[T any](ctx context.Context, c *Client, ifMatch *dove.Revision, body any, path ...string) (T, error) {
	return do[T](ctx, c, request{method: http.MethodPut, path: path, ifMatch: ifMatch, body: body})
}

// remove returns the revision at which the resource was gone.
func remove(ctx context.Context, c *Client, ifMatch *dove.Revision, path ...string) (dove.Revision, error) {
	done, err := do[api.Done](ctx, c, request{method: http.MethodDelete, path: path, ifMatch: ifMatch})
	return done.Revision, err
}
