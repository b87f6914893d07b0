package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"dove.network/auth"
	"dove.network/config"
)

func restoredCommand() *cobra.Command {
	state := "/var/lib/dove/dpc"
	cmd := &cobra.Command{
		Use:   "restored",
		Short: "Say that the state folder was put back from a backup",
		Long: `restored is to be called after a backup of the state folder was put back, before
dpc run. Hosts have seen later revisions than the backup has, and would refuse
to believe an older world; the next run gives the store another incarnation,
so that all of them take it over as it is. Until then nothing is changed.`,
	}
	cmd.Flags().StringVar(&state, "state", state, "`FOLDER` that was put back")
	config.Program(cmd, nil, func(context.Context, *slog.Logger) error { return markRestored(state) })
	return cmd
}

func markRestored(state string) error {
	if _, err := os.Stat(filepath.Join(state, auth.AuthorityKeyFile)); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is no state folder of a dpc: put the backup back first", state)
	} else if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(state, restoredFile), nil, 0o600)
}
