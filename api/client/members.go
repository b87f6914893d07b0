package client

import (
	"context"
	"io"
	"net/http"
	"time"

	"dove.network/api"
	"dove.network/dove"
)

// Members returns the DPC members.
func (c *Client) Members(ctx context.Context) ([]api.Member, error) {
	return list[api.Member](ctx, c, nil, "members")
}

// Member reads a DPC member.
func (c *Client) Member(ctx context.Context, name string) (api.Member, error) {
	return get[api.Member](ctx, c, "members", name)
}

// DrainMember says whether a DPC member takes sessions of hosts.
func (c *Client) DrainMember(ctx context.Context, name string, draining bool, ifMatch *dove.Revision) (api.Member, error) {
	method := http.MethodPut
	if !draining {
		method = http.MethodDelete
	}
	return do[api.Member](ctx, c, request{method: method, ifMatch: ifMatch, path: []string{"members", name, "drain"}})
}

// RemoveMember removes a DPC member, not the one that is asked, for good.
func (c *Client) RemoveMember(ctx context.Context, name string, ifMatch *dove.Revision) (dove.Revision, error) {
	return remove(ctx, c, ifMatch, "members", name)
}

// CreateMemberToken makes a token that admits the DPC member once, within the
// given time (whole seconds; 0 is the server's default).
func (c *Client) CreateMemberToken(ctx context.Context, name string, good time.Duration) (api.MemberToken, error) {
	return do[api.MemberToken](ctx, c, request{
		method: http.MethodPost, path: []string{"members", name, "token"}, body: api.MemberTokenSpec{Seconds: int(good / time.Second)},
	})
}

// Backup writes a backup to a writer. It is one only if backup.Read says so.
func (c *Client) Backup(ctx context.Context, to io.Writer) error {
	a, err := c.send(ctx, request{method: http.MethodGet, path: []string{"backup"}})
	if err != nil {
		return err
	}
	defer a.Body.Close()
	if _, err := io.Copy(to, a.Body); err != nil {
		return dove.Errorf(dove.Unavailable, "the backup did not come to its end: %v", err)
	}
	return nil
}
