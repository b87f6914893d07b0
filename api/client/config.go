package client

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"dove.network/config"
	"dove.network/dove"
	"github.com/spf13/pflag"
)

// Config says which DPC to ask, and who asks.
type Config struct {
	// Server is "https://host:port" or "host:port" of any member, or of several,
	// with commas between them: the first that can be reached is asked.
	Server string
	Token  string // "dove-admin.ID.SECRET", or of a tenant "dove-tenant.ID.SECRET"
	CA     string // the authority's certificate, PEM
	// DialContext replaces the ordinary way to connect, for example to dial from
	// another network namespace. It may be nil.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)
}

// settings are the three that a file has.
func (c *Config) settings() *pflag.FlagSet {
	f := pflag.NewFlagSet("client", pflag.ContinueOnError)
	f.SortFlags = false
	f.StringVar(&c.Server, "server", c.Server, "`ADDRESS` of a DPC member's API, https://host:port, or several with commas")
	f.StringVar(&c.Token, "token", c.Token, "an administrator's `TOKEN`")
	f.StringVar(&c.CA, "ca", c.CA, "`CERTIFICATE` of the authority, PEM")
	return f
}

// Load reads what Save wrote (YAML with server, token and ca), or reports
// everything that is wrong with it as one *dove.Error.
func Load(file string) (Config, error) {
	var c Config
	f := c.settings()
	err := config.Read(file, f, func() error {
		var missing []dove.Fault
		f.VisitAll(func(flag *pflag.Flag) {
			if flag.Value.String() == "" {
				_, usage := pflag.UnquoteUsage(flag)
				missing = append(missing, dove.Fault{Path: flag.Name, Message: "it is missing", Hint: usage})
			}
		})
		if len(missing) > 0 {
			return &dove.Error{Kind: dove.Invalid, Message: "settings are missing", Faults: missing}
		}
		_, err := c.servers()
		return err
	})
	return c, err
}

// Save writes server, token and ca into the file, which only its owner can
// read. It replaces an earlier one as a whole.
func (c Config) Save(file string) error {
	text, err := config.Format(c.settings())
	if err != nil {
		return err
	}
	const head = "# For dovectl --config. It holds an administrator's token: keep it secret.\n"
	temporary, err := os.CreateTemp(filepath.Dir(file), ".client-*") // mode 0600
	if err != nil {
		return fmt.Errorf("save %s: %w", file, err)
	}
	defer os.Remove(temporary.Name()) // fails once it is renamed
	if _, err := temporary.Write(append([]byte(head), text...)); err != nil {
		temporary.Close()
		return fmt.Errorf("save %s: %w", file, err)
	}
	if err := temporary.Close(); err != nil {
		return fmt.Errorf("save %s: %w", file, err)
	}
	if err := os.Rename(temporary.Name(), file); err != nil {
		return fmt.Errorf("save %s: %w", file, err)
	}
	return nil
}

// servers are where requests go.
func (c Config) servers() ([]*url.URL, error) {
	var all []*url.URL
	var faults []dove.Fault
	for text := range strings.SplitSeq(c.Server, ",") {
		if text = strings.TrimSpace(text); !strings.Contains(text, "://") {
			text = "https://" + text
		}
		u, err := url.Parse(text)
		if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
			faults = append(faults, dove.Fault{Path: "server", Message: fmt.Sprintf("%q is no address of a DPC", strings.TrimPrefix(text, "https://")), Hint: "write https://host:port"})
			continue
		}
		all = append(all, &url.URL{Scheme: u.Scheme, Host: u.Host})
	}
	if len(faults) > 0 {
		return nil, &dove.Error{Kind: dove.Invalid, Message: "the server's address is not valid", Faults: faults}
	}
	return all, nil
}
