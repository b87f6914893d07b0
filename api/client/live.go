package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"net/http"
	"net/url"
	"slices"

	"dove.network/api"
	"dove.network/dove"
)

// lineMax is the longest line of a watch, bytes: one transaction, as JSON.
const lineMax = 8 << 20

// Why asks what would become of a flow between two of the tenant's endpoints,
// and what the switches of both do now.
func (c *Client) Why(ctx context.Context, t dove.Tenant, f api.Flow) (api.Why, error) {
	return c.why(ctx, t, queryOf(f))
}

// WhyIntended is Why without the switches: Live is empty.
func (c *Client) WhyIntended(ctx context.Context, t dove.Tenant, f api.Flow) (api.Why, error) {
	query := queryOf(f)
	query.Set("live", "false")
	return c.why(ctx, t, query)
}

func (c *Client) why(ctx context.Context, t dove.Tenant, query url.Values) (api.Why, error) {
	return do[api.Why](ctx, c, request{method: http.MethodGet, path: []string{"tenants", string(t), "why"}, query: query})
}

// Flows lists the flows that the tenant's hosts carry now. Unanswered are the
// hosts that did not tell theirs.
func (c *Client) Flows(ctx context.Context, t dove.Tenant, filter api.FlowFilter) (api.Flows, error) {
	query := queryOf(filter)
	all := api.Flows{Items: []api.LiveFlow{}, Unanswered: []dove.HostName{}}
	for {
		part, err := do[api.Flows](ctx, c, request{method: http.MethodGet, path: []string{"tenants", string(t), "flows"}, query: query})
		if err != nil {
			return api.Flows{}, err
		}
		all.Revision, all.Foreign, all.Lost = part.Revision, part.Foreign, max(all.Lost, part.Lost)
		all.Items = append(all.Items, part.Items...)
		all.Unanswered = append(all.Unanswered, part.Unanswered...)
		all.NoSession = append(all.NoSession, part.NoSession...)
		if part.Next == "" {
			slices.Sort(all.Unanswered)
			slices.Sort(all.NoSession)
			all.Unanswered, all.NoSession = slices.Compact(all.Unanswered), slices.Compact(all.NoSession)
			return all, nil
		}
		query.Set("after", part.Next)
	}
}

// Shadows asks what the tenant's policies in shadow would change.
func (c *Client) Shadows(ctx context.Context, t dove.Tenant, filter api.ShadowFilter) (api.Shadows, error) {
	return do[api.Shadows](ctx, c, request{method: http.MethodGet, path: []string{"tenants", string(t), "shadows"}, query: queryOf(filter)})
}

// WatchFlows yields what happens to the tenant's flows from now on, until ctx is
// done or the loop ends. The last item may be an error: why there is no more. If
// ctx is done, errors.Is tells so.
func (c *Client) WatchFlows(ctx context.Context, t dove.Tenant, filter api.FlowFilter) iter.Seq2[api.FlowEvent, error] {
	return lines[api.FlowEvent](ctx, c, request{
		method: http.MethodGet, path: []string{"tenants", string(t), "flows", "watch"}, query: queryOf(filter),
	})
}

// lines sends the request and reads each line of its answer as a T. A line that
// is {"error": PROBLEM} is the last.
func lines[T any](ctx context.Context, c *Client, r request) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		var none T
		a, err := c.send(ctx, r)
		if err != nil {
			yield(none, err)
			return
		}
		defer a.Body.Close()
		scanner := bufio.NewScanner(a.Body)
		scanner.Buffer(nil, lineMax)
		for scanner.Scan() {
			var item T
			var last struct{ Error *api.Problem }
			if err = json.Unmarshal(scanner.Bytes(), &last); err == nil && last.Error == nil {
				err = json.Unmarshal(scanner.Bytes(), &item)
			}
			switch {
			case err != nil:
				yield(none, dove.Errorf(dove.Internal, "a line of %s cannot be read: %v", c.base, err))
				return
			case last.Error != nil:
				yield(none, errorOf(*last.Error))
				return
			case !yield(item, nil):
				return
			}
		}
		if err = scanner.Err(); err == nil {
			err = io.EOF
		}
		if errors.Is(err, bufio.ErrTooLong) {
			err = dove.Errorf(dove.TooLarge, "a line of %s is longer than %d bytes", c.base, lineMax)
		} else if ctx.Err() != nil || !errors.Is(err, io.EOF) {
			err = c.unreachable(ctx, err)
		} else {
			err = dove.Errorf(dove.Unavailable, "%s ended the watch", c.base)
		}
		yield(none, err)
	}
}
