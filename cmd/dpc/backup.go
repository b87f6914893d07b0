package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"dove.network/api/client"
	"dove.network/backup"
	"dove.network/config"
	"dove.network/dove"
)

// saving is the configuration of dpc backup.
type saving struct {
	State string
	Admin string
}

func backupCommand() *cobra.Command {
	s := saving{State: defaultState}
	cmd := &cobra.Command{
		Use:   "backup FILE",
		Short: "Write everything that this installation needs into a file",
		Long: `backup asks a running member for all documents as they are at one revision, and
for the authority, and writes them into a new file. Nothing stops meanwhile. The
file is read again before it counts. It is as secret as a state folder: who reads
it is the fleet. dpc restore takes it.

It asks as an administrator, from any machine: --admin names a configuration of
dovectl, by default admin.yaml in the state folder.`,
		Args: cobra.ExactArgs(1),
	}
	f := cmd.Flags()
	f.StringVar(&s.State, "state", s.State, "state `FOLDER` of a member, for its admin.yaml")
	f.StringVar(&s.Admin, "admin", s.Admin, "`FILE` that says which DPC to ask and with whose token; admin.yaml in the state folder if empty")
	config.Program(cmd, nil, func(ctx context.Context, _ *slog.Logger) error {
		return s.save(ctx, cmd.Flags().Arg(0), cmd.OutOrStdout())
	})
	return cmd
}

// save writes the file under another name until it is known to be whole.
func (s *saving) save(ctx context.Context, file string, out io.Writer) (err error) {
	if _, err := os.Lstat(file); err == nil {
		return dove.Errorf(dove.Exists, "%s exists already: name another file", file)
	}
	conf, err := client.Load(cmp.Or(s.Admin, filepath.Join(s.State, adminFile)))
	if err != nil {
		return fmt.Errorf("%w (--admin names a configuration of dovectl)", err)
	}
	c, err := client.New(conf)
	if err != nil {
		return err
	}
	defer c.Close()
	temp, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+".*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name()) // after Rename there is nothing of that name
	defer temp.Close()
	if err := errors.Join(c.Backup(ctx, temp), temp.Sync()); err != nil {
		return err
	}
	if _, err := temp.Seek(0, io.SeekStart); err != nil {
		return err
	}
	is, err := backup.Read(temp, func(backup.Header, []dove.Doc) error { return nil })
	if err != nil {
		return err
	}
	info, err := temp.Stat()
	if err != nil {
		return err
	}
	if err := os.Rename(temp.Name(), file); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%s: %d documents at revision %d, %d bytes, %s\n", file, is.Documents, is.Revision, info.Size(), is.Created.Format(time.RFC3339))
	return err
}
