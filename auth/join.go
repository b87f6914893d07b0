package auth

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"

	"dove.network/dove"
)

// JoinPath is where the API takes a JoinRequest (POST, no bearer token).
const JoinPath = "/v1/join"

// replyMax bounds what a host reads of an answer, in bytes.
const replyMax = 64 << 10

// JoinRequest is what a new host sends. The join token says which host it is.
type JoinRequest struct {
	Token   string     `json:"token" doc:"The join token as it was printed." maxLength:"256"`
	Host    string     `json:"host" doc:"The host's name, as the token was made for." maxLength:"63"`
	VTEP    netip.Addr `json:"vtep" doc:"The host's underlay address."`
	Request string     `json:"request" doc:"A PKCS #10 certificate request (PEM) for an ECDSA P-256 key, with the URI dove://host/NAME and the underlay address as alternative names." maxLength:"16384"`
}

// JoinReply is what the host gets.
type JoinReply struct {
	Certificate string        `json:"certificate" doc:"The host's certificate (PEM)."`
	Authority   string        `json:"authority" doc:"The authority's certificate (PEM)."`
	Revision    dove.Revision `json:"revision" doc:"The revision that made the certificate valid."`
}

// Join asks a DPC member's API at server ("https://host:port" or "host:port")
// to admit this machine under the host name and the underlay address. It
// believes only a server of the authority that the token names. The token is
// used up if Join succeeds; the caller saves the credentials. A refusal is a
// *dove.Error with the kind that the member gave it.
func Join(ctx context.Context, server string, token Token, host dove.HostName, vtep netip.Addr) (*HostCredentials, error) {
	key, request, err := NewHostKey(host, vtep)
	if err != nil {
		return nil, err
	}
	var reply JoinReply
	body := JoinRequest{Token: token.Text(), Host: string(host), VTEP: vtep, Request: string(request)}
	if err := postJoin(ctx, server, token.Pin, JoinPath, body, &reply); err != nil {
		return nil, err
	}
	credentials, err := NewHostCredentials(key, []byte(reply.Certificate), []byte(reply.Authority))
	if err != nil {
		return nil, fmt.Errorf("join at %s: %w", server, err)
	}
	switch {
	case PinOf(credentials.Authority) != token.Pin:
		return nil, fmt.Errorf("join at %s: the answer names another authority than the token", server)
	case credentials.Identity.Host != host || credentials.Identity.VTEP != vtep:
		return nil, fmt.Errorf("join at %s: the certificate is for host %s at %s", server, credentials.Identity.Host, credentials.Identity.VTEP)
	}
	return credentials, nil
}

// postJoin sends a request to join and reads the reply, from a server of the
// authority with the pin.
func postJoin(ctx context.Context, server string, pin Pin, path string, request, reply any) error {
	body, err := json.Marshal(request)
	if err != nil {
		return fmt.Errorf("join: %w", err)
	}
	server = "https://" + strings.TrimPrefix(server, "https://")
	if strings.Contains(server[len("https://"):], "://") {
		return fmt.Errorf("join at %s: the address must be host:port or https://host:port", server)
	}
	post, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(server, "/")+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("join at %s: %w", server, err)
	}
	post.Header.Set("Content-Type", "application/json")
	transport := &http.Transport{TLSClientConfig: PinnedTLS(pin), ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	answer, err := (&http.Client{Transport: transport}).Do(post)
	if err != nil {
		return fmt.Errorf("join (is this the API of a DPC member, port 7443?): %w", err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, replyMax))
	if err != nil {
		return fmt.Errorf("join at %s: %w", server, err)
	}
	if answer.StatusCode != http.StatusOK {
		return refusal(server, answer.Status, text)
	}
	if err := json.Unmarshal(text, reply); err != nil {
		return fmt.Errorf("join at %s: the answer cannot be read: %w", server, err)
	}
	return nil
}

// refusal reads a problem document.
func refusal(server, status string, text []byte) error {
	var problem struct {
		Kind, Detail string
		Errors       []dove.Fault
	}
	if json.Unmarshal(text, &problem) != nil || problem.Detail == "" {
		return fmt.Errorf("join at %s: %s: what answers is no DPC member", server, status)
	}
	kind := dove.Internal
	for k := range dove.Unavailable + 1 {
		if k.String() == problem.Kind {
			kind = k
		}
	}
	return &dove.Error{Kind: kind, Message: fmt.Sprintf("join at %s: %s: %s", server, status, problem.Detail), Faults: problem.Errors}
}
