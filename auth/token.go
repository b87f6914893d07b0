package auth

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"io"
	"strings"

	"dove.network/dove"
)

// TokenKind says what a token is for. It heads the token's text.
type TokenKind string

// The kinds of token.
const (
	AdminToken  TokenKind = "dove-admin"  // dove-admin.ID.SECRET: uses the API as an administrator
	TenantToken TokenKind = "dove-tenant" // dove-tenant.ID.SECRET: uses the API for one tenant
	JoinToken   TokenKind = "dove-join"   // dove-join.ID.SECRET.PIN: admits one host, once
	MemberToken TokenKind = "dove-member" // dove-member.ID.SECRET.PIN: admits one DPC member, once
)

const (
	tokenIDBytes     = 6
	tokenSecretBytes = 20
	tokenTextMax     = 256 // longer text is no token
)

// pinned reports whether tokens name the authority: whoever joins does not know it.
func (k TokenKind) pinned() bool { return k != AdminToken }

// Token is what a person, a new host or a new DPC member shows. Its text is secret.
type Token struct {
	Kind   TokenKind
	ID     string // lower-case hexadecimal; not secret
	Secret string // lower-case hexadecimal, 160 bits
	Pin    Pin    // of the authority; not in administrators' tokens
}

// NewToken draws a token. Those who join keep the pin.
func NewToken(kind TokenKind, pin Pin, random io.Reader) (Token, error) {
	var b [tokenIDBytes + tokenSecretBytes]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return Token{}, fmt.Errorf("draw a token: %w", err)
	}
	t := Token{Kind: kind, ID: hex.EncodeToString(b[:tokenIDBytes]), Secret: hex.EncodeToString(b[tokenIDBytes:])}
	if kind.pinned() {
		t.Pin = pin
	}
	return t, nil
}

// ParseAPIToken reads the text of a token that is good for the API: an AdminToken
// or a TenantToken. Its errors are those of ParseToken.
func ParseAPIToken(text string) (Token, error) {
	text = strings.TrimSpace(text)
	if strings.HasPrefix(text, string(TenantToken)+".") {
		return ParseToken(TenantToken, text)
	}
	return ParseToken(AdminToken, text)
}

// ParseToken reads a token's text and requires it to be of the given kind. Its
// errors are of kind dove.Unauthorized and never repeat the secret.
func ParseToken(kind TokenKind, text string) (Token, error) {
	bad := func(why string) (Token, error) {
		return Token{}, dove.Errorf(dove.Unauthorized, "this is no %s token: %s", kind, why)
	}
	if len(text) > tokenTextMax {
		return bad(fmt.Sprintf("it is longer than %d bytes", tokenTextMax))
	}
	parts := strings.Split(text, ".")
	want := 3
	if kind.pinned() {
		want = 4
	}
	switch {
	case parts[0] != string(kind):
		return bad(fmt.Sprintf("it does not start with %q", string(kind)+"."))
	case len(parts) != want:
		return bad(fmt.Sprintf("it has %d parts between dots, not %d; copy the whole token", len(parts), want))
	case !isHex(parts[1], tokenIDBytes) || !isHex(parts[2], tokenSecretBytes):
		return bad("its id or secret has the wrong length or characters; copy the whole token")
	}
	t := Token{Kind: kind, ID: parts[1], Secret: parts[2]}
	if kind.pinned() {
		pin, err := ParsePin(parts[3])
		if err != nil {
			return bad("its last part is not the digest of an authority; copy the whole token")
		}
		t.Pin = pin
	}
	return t, nil
}

// Text returns the token as it is handed to its bearer.
func (t Token) Text() string {
	s := string(t.Kind) + "." + t.ID + "." + t.Secret
	if t.Kind.pinned() {
		s += "." + t.Pin.String()
	}
	return s
}

// String names the token without its secret, for logs.
func (t Token) String() string { return string(t.Kind) + "." + t.ID }

// Digest returns the SHA-256 of the secret: what a store keeps.
func (t Token) Digest() []byte {
	sum := sha256.Sum256([]byte(t.Secret))
	return sum[:]
}

// Matches reports whether digest is the token's, in time that does not depend on
// where they differ.
func (t Token) Matches(digest []byte) bool {
	return subtle.ConstantTimeCompare(t.Digest(), digest) == 1
}

func isHex(s string, bytes int) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == bytes && strings.ToLower(s) == s
}

// Pin is the SHA-256 of an authority's certificate (DER). It names the authority
// beyond doubt.
type Pin [sha256.Size]byte

func (p Pin) String() string { return hex.EncodeToString(p[:]) }

// ParsePin reads what String prints.
func ParsePin(s string) (Pin, error) {
	var p Pin
	if !isHex(s, len(p)) {
		return p, fmt.Errorf("digest %q is not %d lower-case hexadecimal characters", s[:min(len(s), 80)], 2*len(p))
	}
	_, err := hex.Decode(p[:], []byte(s))
	return p, err
}
