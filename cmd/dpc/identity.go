package main

import (
	"cmp"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"

	"github.com/spf13/pflag"

	"dove.network/auth"
	"dove.network/config"
	"dove.network/dove"
)

// identityFile keeps an identity in the state folder.
const identityFile = "member.json"

// identity is what a member knows of itself beside its certificate.
type identity struct {
	UID       dove.UID  `json:"uid"`
	Advertise addresses `json:"advertise"`
	Join      []string  `json:"join,omitempty"`      // addresses of etcd members to join at the first start
	Elsewhere bool      `json:"elsewhere,omitempty"` // documents are in an etcd elsewhere
	Written   bool      `json:"written,omitempty"`   // the store has, or had, this member's document
}

// newIdentity draws the identity of a member that is reached under addresses.
func newIdentity(reached addresses) (identity, error) {
	var b [8]byte
	_, err := rand.Read(b[:])
	return identity{UID: dove.UID(max(1, binary.BigEndian.Uint64(b[:]))), Advertise: reached}, err
}

// loadIdentity reads what save wrote. A folder that has none is that of a member
// that nobody was told of.
func loadIdentity(state string) (identity, error) {
	text, err := os.ReadFile(filepath.Join(state, identityFile))
	if errors.Is(err, fs.ErrNotExist) {
		id, err := newIdentity(addresses{})
		return id, errors.Join(err, id.save(state))
	}
	var id identity
	if err == nil {
		err = json.Unmarshal(text, &id)
	}
	if err != nil {
		return id, fmt.Errorf("read who this member is: %s: %w", filepath.Join(state, identityFile), err)
	}
	return id, nil
}

func (id identity) save(state string) error {
	text, err := json.MarshalIndent(id, "", "  ")
	if err != nil {
		return err
	}
	return auth.WriteSecret(filepath.Join(state, identityFile), append(text, '\n'))
}

// addresses are those of a member's four listeners, "host:port" each.
type addresses struct {
	API     string `json:"api,omitempty"`
	Control string `json:"control,omitempty"`
	Peer    string `json:"peer,omitempty"`
	Etcd    string `json:"etcd,omitempty"`
}

// listen is where a member listens unless it is told otherwise.
var listen = addresses{API: ":7443", Control: ":7444", Peer: ":7447", Etcd: ":7448"}

// named gives each address the name that flags have for it.
func (a *addresses) named() []struct {
	name    string
	address *string
} {
	return []struct {
		name    string
		address *string
	}{{"api", &a.API}, {"control", &a.Control}, {"peer", &a.Peer}, {"etcd", &a.Etcd}}
}

// whom says who uses an address.
var whom = map[string]string{"api": "people and joining hosts", "control": "hosts", "peer": "other members", "etcd": "the etcd members of other members"}

// advertiseFlags let the addresses under which others reach the member be set one by one.
func (a *addresses) advertiseFlags(f *pflag.FlagSet, otherwise string) {
	for _, its := range a.named() {
		f.StringVar(its.address, "advertise-"+its.name, *its.address, fmt.Sprintf("`HOST:PORT` under which %s reach this member; %s if empty", whom[its.name], otherwise))
	}
}

// check says what is wrong with addresses to listen at or to advertise.
func (a addresses) check(f *config.Faults, prefix string, listens bool) {
	for _, its := range a.named() {
		if *its.address != "" {
			f.Check(prefix+its.name, "", dove.CheckAddress(*its.address, listens))
		}
	}
}

// or fills in what is empty from another.
func (a addresses) or(b addresses) addresses {
	return addresses{cmp.Or(a.API, b.API), cmp.Or(a.Control, b.Control), cmp.Or(a.Peer, b.Peer), cmp.Or(a.Etcd, b.Etcd)}
}

// reached returns under which addresses others reach a member that listens: what it
// was told to advertise, and for the rest the host under which its API is reached with the port on
// which it listens. Where it does not listen, or that host is not known, there is none.
func (a addresses) reached(listens addresses) addresses {
	host, _, _ := net.SplitHostPort(a.API)
	told := a.named()
	for i, on := range listens.named() {
		switch _, port, _ := net.SplitHostPort(*on.address); {
		case *on.address == "":
			*told[i].address = ""
		case *told[i].address == "" && host != "" && port != "" && port != "0":
			*told[i].address = net.JoinHostPort(host, port)
		}
	}
	return a
}

// hosts are the host names and addresses in them, each once.
func (a addresses) hosts() []string {
	var all []string
	seen := map[string]bool{}
	for _, its := range a.named() {
		if host, _, err := net.SplitHostPort(*its.address); err == nil && host != "" && !seen[host] {
			seen[host] = true
			all = append(all, host)
		}
	}
	return all
}
