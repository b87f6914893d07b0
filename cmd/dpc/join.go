package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"dove.network/auth"
	"dove.network/config"
	"dove.network/dove"
)

// Timeouts of a join.
const (
	joinTimeout   = time.Minute
	lookupTimeout = 5 * time.Second
)

// joining is the configuration of dpc join.
type joining struct {
	State     string
	Name      string
	Server    string
	Address   string
	Advertise addresses
	token     string // text, or - for standard input
}

func joinCommand() *cobra.Command {
	s := joining{State: defaultState}
	cmd := &cobra.Command{
		Use:   "join TOKEN",
		Short: "Make this a further member of an installation that runs",
		Long: `join makes a state folder for a further member of the controller: it shows the
token to a member that runs, gets a certificate and the authority's key, and is
known to the others from then on. dpc run then loads what they have and serves.

  dovectl member token dpc-2 > dpc-2.token         # where you administer
  dpc join - --name dpc-2 --server 192.0.2.254:7443 --advertise 192.0.2.253 < dpc-2.token
  dpc run

- reads the token from standard input, so that no list of processes shows it. The
token names the authority: no other installation can be joined with it. Join one
member, run it, and wait for its "dpc is ready", before you join the next.`,
		Args: cobra.ExactArgs(1),
	}
	f := cmd.Flags()
	f.StringVar(&s.State, "state", s.State, "`FOLDER` for what must survive a restart; it must not be another member's")
	f.StringVar(&s.Name, "name", s.Name, "`NAME` of this member, for which the token was made")
	f.StringVar(&s.Server, "server", s.Server, "`HOST:PORT` of the API of a member that runs")
	f.StringVar(&s.Address, "advertise", s.Address, "`HOST` under which others reach this member, with the usual ports where nothing else is said")
	s.Advertise.advertiseFlags(f, "HOST of --advertise and the usual port")
	config.Program(cmd, s.check, func(ctx context.Context, _ *slog.Logger) error {
		s.token = cmd.Flags().Arg(0)
		return s.join(ctx, cmd.InOrStdin(), cmd.OutOrStdout())
	})
	return cmd
}

// usual is where a member is reached on a host.
func usual(host string) addresses {
	var a addresses
	if host != "" {
		a.API = net.JoinHostPort(host, "0")
	}
	a = a.reached(listen)
	if host != "" {
		_, port, _ := net.SplitHostPort(listen.API)
		a.API = net.JoinHostPort(host, port)
	}
	return a
}

func (s *joining) check() error {
	var f config.Faults
	s.Advertise.check(&f, "advertise-", false)
	f.Check("name", "the name for which the token was made", dove.CheckName(s.Name))
	f.Check("server", "write 192.0.2.254:7443", dove.CheckAddress(s.Server, false))
	if _, _, err := net.SplitHostPort(s.Address); err == nil {
		f.Add("advertise", "ports are set one by one, --advertise-api HOST:PORT and so on", "%q has a port", s.Address)
	}
	if reached := s.Advertise.or(usual(s.Address)); reached.API == "" || reached.Control == "" || reached.Peer == "" || reached.Etcd == "" {
		f.Add("advertise", "--advertise HOST", "it is not said under which addresses others reach this member")
	}
	return f.Err()
}

// join writes the authority last, as init does.
func (s *joining) join(ctx context.Context, in io.Reader, out io.Writer) error {
	if err := vacant(s.State); err != nil {
		return err
	}
	text := s.token
	if text == "-" {
		b, err := io.ReadAll(io.LimitReader(in, 1024))
		if err != nil {
			return fmt.Errorf("read the token: %w", err)
		}
		text = strings.TrimSpace(string(b))
	}
	token, err := auth.ParseToken(auth.MemberToken, text)
	if err != nil {
		return err
	}
	reached := s.Advertise.or(usual(s.Address))
	if err := resolve(ctx, reached.hosts()); err != nil {
		return err
	}
	id, err := newIdentity(reached)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	joined, err := auth.JoinMember(ctx, s.Server, token, auth.MemberJoinRequest{
		Name: s.Name, UID: strconv.FormatUint(uint64(id.UID), 16),
		API: reached.API, Control: reached.Control, Peer: reached.Peer, Etcd: reached.Etcd,
	}, reached.hosts())
	if err != nil {
		return err
	}
	id.Join, id.Written = joined.Etcd, true
	if len(joined.Etcd) == 0 {
		id.Elsewhere, id.Advertise.Etcd = true, ""
	}
	if err := os.MkdirAll(s.State, 0o700); err != nil {
		return err
	}
	if err := errors.Join(auth.SaveServer(s.State, joined.Server), id.save(s.State), joined.Authority.Save(s.State)); err != nil {
		return fmt.Errorf("the member is known to the others and not written here: make room, dovectl member remove %s, and join anew (%w)", s.Name, err)
	}
	where := ""
	if id.Elsewhere {
		where = " --etcd-endpoints, as the other members have it"
	}
	_, err = fmt.Fprintf(out, "member %s joined; start it with dpc run --state %s%s\n", s.Name, s.State, where)
	return err
}

// vacant refuses a state folder that is some member's.
func vacant(state string) error {
	if _, err := os.Lstat(filepath.Join(state, auth.AuthorityKeyFile)); !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(dove.Errorf(dove.Exists, "%s holds an authority already: choose another folder, or run dpc run", state), err)
	}
	return nil
}

// resolve requires that host names have addresses, as others will have to find them.
func resolve(ctx context.Context, hosts []string) error {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	var f config.Faults
	for _, host := range hosts {
		if _, err := net.DefaultResolver.LookupHost(ctx, host); err != nil {
			f.Add("advertise", "others would not find this member: write its address, or mend the name service", "%s has no address: %v", host, err)
		}
	}
	return f.Err()
}
