package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"syscall"

	"dove.network/dove"
)

// Client calls a dswitch on its local socket.
type Client struct {
	socket string
	http   http.Client
}

// NewClient makes a Client for a socket's path. It connects when it is used.
func NewClient(socket string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}
	return &Client{socket, http.Client{Transport: &http.Transport{DialContext: dial, MaxIdleConnsPerHost: 4}}}
}

// Close lets go of idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

func (c *Client) do(ctx context.Context, method, path string, body, into any) error {
	var text strings.Builder
	if body != nil {
		if err := json.NewEncoder(&text).Encode(body); err != nil {
			return err
		}
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://dswitch"+path, strings.NewReader(text.String()))
	if err != nil {
		return err
	}
	response, err := c.http.Do(request)
	if err != nil {
		return c.unreachable(err)
	}
	defer response.Body.Close()
	decoder := json.NewDecoder(response.Body)
	if response.StatusCode == http.StatusOK {
		if err := decoder.Decode(into); err != nil {
			return fmt.Errorf("read the dswitch's answer: %w", err)
		}
		return nil
	}
	var failure struct{ Error string }
	if err := decoder.Decode(&failure); err != nil {
		return fmt.Errorf("the dswitch answers %s", response.Status)
	}
	kind := dove.Internal
	for k, status := range statusOf {
		if status == response.StatusCode {
			kind = k
		}
	}
	return &dove.Error{Kind: kind, Message: failure.Error}
}

// unreachable says why a dswitch did not answer.
func (c *Client) unreachable(err error) error {
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err // it is a file that is asked, no URL
	}
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return dove.Errorf(dove.Unavailable, "no dswitch runs with the state folder %s: start it, or say with --state where the one that runs has it", filepath.Dir(c.socket))
	case errors.Is(err, fs.ErrPermission):
		return dove.Errorf(dove.Forbidden, "who runs the dswitch with the state folder %s may ask it, and nobody else: use sudo", filepath.Dir(c.socket))
	}
	return fmt.Errorf("ask the dswitch: %w", err)
}

func ask[T any](ctx context.Context, c *Client, path string) (T, error) {
	var into T
	return into, c.do(ctx, http.MethodGet, path, nil, &into)
}

// Status asks what the dswitch holds and waits for.
func (c *Client) Status(ctx context.Context) (Status, error) {
	return ask[Status](ctx, c, "/v1/status")
}

// Held asks for the held rows.
func (c *Client) Held(ctx context.Context) (HeldRows, error) {
	return ask[HeldRows](ctx, c, "/v1/held")
}

// Counts asks for the counts of drops.
func (c *Client) Counts(ctx context.Context) ([]CountRecord, error) {
	return ask[[]CountRecord](ctx, c, "/v1/counts")
}

// Flows asks for the flow table.
func (c *Client) Flows(ctx context.Context) ([]FlowRecord, error) {
	return ask[[]FlowRecord](ctx, c, "/v1/flows")
}

// Drops asks for the kept drops after number since. With follow it waits, for
// at most FollowFor, until there is one.
func (c *Client) Drops(ctx context.Context, since uint64, follow bool) (Drops, error) {
	return ask[Drops](ctx, c, fmt.Sprintf("/v1/drops?since=%d&follow=%t", since, follow))
}

// Plug names the device of an endpoint; "" goes back to what the DPC or the
// default says.
func (c *Client) Plug(ctx context.Context, e dove.Endpoint, device string) (PlugReply, error) {
	var into PlugReply
	return into, c.do(ctx, http.MethodPost, "/v1/plug", PlugRequest{e.String(), device}, &into)
}

// Unplug closes an endpoint's port until the next Plug.
func (c *Client) Unplug(ctx context.Context, e dove.Endpoint) (PlugReply, error) {
	var into PlugReply
	return into, c.do(ctx, http.MethodPost, "/v1/unplug", PlugRequest{Endpoint: e.String()}, &into)
}
