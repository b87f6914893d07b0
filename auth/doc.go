// Package auth knows who may: the certificate authority of an installation,
// the certificates of controllers and hosts, and the tokens that people and new
// hosts show.
//
// An Authority signs two kinds of certificate and nothing else: those of DPC
// members, which name a member (a URI, dove://dpc/NAME) and all carry ServerName,
// and those of hosts, which name a host (dove://host/NAME) and its underlay
// address. Every member has the authority's key. Every TLS configuration here is version 1.3 only. Certificates are
// checked in the ordinary way against the authority; a host that joins for the
// first time knows only the authority's digest, which its join token carries.
//
// A Token is a kind, an id and a secret. Stores keep Digest alone; Matches
// compares in constant time.
//
// The package reads and writes one state folder, whose files only their owner
// can read, and Join makes one request. Time and random numbers for serials and
// secrets are arguments (keys always come from the operating system). It knows
// no documents and no store: which token ids exist, which serial of a host is
// the valid one and whether a token has expired is for its callers to say.
package auth
