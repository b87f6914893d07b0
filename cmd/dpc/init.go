package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"dove.network/api/client"
	"dove.network/auth"
	"dove.network/config"
	"dove.network/dove"
	"dove.network/world"
)

// Files in the state folder beside those of package auth.
const (
	adminFile  = "admin.yaml"       // what dovectl needs to be an administrator here
	tokenFile  = "first-token.json" // digest of the first token, until the store has it
	etcdFolder = "etcd"
)

// defaultState is the state folder if nobody says otherwise.
const defaultState = "/var/lib/dove/dpc"

// defaultAPI is where the API is found if nobody says otherwise.
const defaultAPI = "localhost:7443"

// initial is the configuration of dpc init.
type initial struct {
	State     string
	Name      string
	Advertise []string
}

func initCommand() *cobra.Command {
	s := initial{State: defaultState, Name: "dpc-1"}
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Make the authority, this member's certificate and an administrator's token",
		Long: `init makes what a DOVE installation needs once, in the state folder: the
authority that admits hosts, a certificate for this member, and an
administrator's token. The token is printed here and kept in admin.yaml, a
configuration for dovectl; the store keeps only its digest.

It never touches a state folder that has an authority.`,
	}
	f := cmd.Flags()
	f.StringVar(&s.State, "state", s.State, "`FOLDER` for what must survive a restart")
	f.StringVar(&s.Name, "name", s.Name, "`NAME` of this member")
	f.StringSliceVar(&s.Advertise, "advertise", s.Advertise, "`ADDRESSES` host:port under which others reach the API; the first goes into admin.yaml, and its host is that of the other listeners")
	config.Program(cmd, s.check, func(_ context.Context, _ *slog.Logger) error { return s.init(cmd.OutOrStdout()) })
	return cmd
}

func (s *initial) check() error {
	var f config.Faults
	s.faults(&f)
	return f.Err()
}

func (s *initial) faults(f *config.Faults) {
	f.Check("name", "", dove.CheckName(s.Name))
	for _, a := range s.Advertise {
		f.Check("advertise", "write dpc1.example:7443 or 192.0.2.9:7443", dove.CheckAddress(a, false))
	}
}

// init writes the authority last: as long as it is not there nothing counts.
func (s *initial) init(out io.Writer) error {
	if err := vacant(s.State); err != nil {
		return err
	}
	authority, err := auth.NewAuthority(s.Name, time.Now(), rand.Reader)
	if err != nil {
		return err
	}
	return s.settle(authority, out)
}

// settle makes the member and the first token under an authority, and saves all.
func (s *initial) settle(authority *auth.Authority, out io.Writer) error {
	now := time.Now()
	var hosts []string
	for _, a := range s.Advertise {
		host, _, _ := net.SplitHostPort(a)
		hosts = append(hosts, host)
	}
	server, err := authority.IssueServer(s.Name, hosts, now, rand.Reader)
	if err != nil {
		return err
	}
	token, err := auth.NewToken(auth.AdminToken, auth.Pin{}, rand.Reader)
	if err != nil {
		return err
	}
	first, err := json.Marshal(world.APIToken{ID: token.ID, Digest: token.Digest(), Created: now.UTC().Truncate(time.Second)})
	if err != nil {
		return err
	}
	if err := auth.SaveServer(s.State, server); err != nil {
		return err
	}
	if err := auth.WriteSecret(filepath.Join(s.State, tokenFile), first); err != nil {
		return err
	}
	id, err := newIdentity(addresses{API: append(s.Advertise, "")[0]})
	if err == nil {
		err = id.save(s.State)
	}
	if err != nil {
		return err
	}
	address := append(s.Advertise, defaultAPI)[0]
	admin := client.Config{Server: "https://" + address, Token: token.Text(), CA: string(authority.CertificatePEM())}
	if err := admin.Save(filepath.Join(s.State, adminFile)); err != nil {
		return err
	}
	if err := authority.Save(s.State); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, strings.TrimLeft(`
authority            %s
administrator token  %s
dovectl --config     %s
start with           dpc run --state %s
`, "\n"), authority.Pin(), token.Text(), filepath.Join(s.State, adminFile), s.State)
	return err
}
