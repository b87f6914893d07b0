package config

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"dove.network/dove"
)

// secretMark annotates flags whose value --check must not print.
const secretMark = "dove-secret"

// Program gives cmd the flags --config, --check, --log-level and --log-format
// and makes its RunE: read the file, let check judge the settings, then either
// print them (--check) or run. The flags of cmd's settings may be defined before
// or after, until cmd is executed. A cmd without Args takes none.
//
// The check may be nil. To report several faults it returns a *dove.Error whose
// faults carry the setting's name as path: those that came from the file are
// given their line and column. Errors of Program itself are of kind
// dove.Invalid.
func Program(cmd *cobra.Command, check func() error, run func(ctx context.Context, log *slog.Logger) error) {
	var (
		file   string
		only   bool
		level  = slog.LevelInfo
		format = Text
		f      = cmd.Flags()
	)
	f.StringVar(&file, "config", "", "YAML `FILE` with settings; its keys are the names of these flags, and flags win")
	f.BoolVar(&only, "check", false, "check the settings, print them as YAML and exit")
	f.TextVar(&level, "log-level", level, "`LEVEL` from which on to log: debug, info, warn or error")
	f.TextVar(&format, "log-format", format, "`FORM` of log lines: text or json")
	f.SortFlags = false // help and --check keep the program's order
	if cmd.Args == nil {
		cmd.Args = cobra.NoArgs
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cmd.SilenceUsage, cmd.SilenceErrors = true, true
		if err := Read(file, cmd.Flags(), check); err != nil {
			return err
		}
		if only {
			text, err := Format(cmd.Flags())
			if err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(text)
			return err
		}
		return run(cmd.Context(), NewLogger(cmd.ErrOrStderr(), level, format))
	}
}

// Read sets the flags that the file names and the command line does not ("" is
// no file), and lets check judge the result, as Program does. The faults of both
// are reported together, as one *dove.Error.
func Read(file string, f *pflag.FlagSet, check func() error) error {
	var found []dove.Fault
	var places map[string]place
	if file != "" {
		text, err := os.ReadFile(file)
		if err != nil {
			return dove.Errorf(dove.Invalid, "read the configuration: %v", err)
		}
		if found, places = parse(text, f); places == nil {
			return invalid(file, found)
		}
	}
	if check != nil {
		err := check()
		judged, ok := errors.AsType[*dove.Error](err)
		switch {
		case err == nil:
		case !ok || len(judged.Faults) == 0:
			found = append(found, dove.Fault{Message: err.Error()})
		}
		if ok {
			for _, fault := range judged.Faults {
				at, inFile := places[fault.Path]
				if at.refused {
					continue // the default was judged in its place
				}
				if inFile && fault.Line == 0 && !f.Changed(fault.Path) {
					fault.Line, fault.Column = at.line, at.column
				}
				found = append(found, fault)
			}
		}
	}
	if len(found) > 0 {
		return invalid(file, found)
	}
	return nil
}

func invalid(file string, faults []dove.Fault) error {
	what := "the settings are not valid"
	if file != "" {
		what = file + " is not a valid configuration"
	}
	return &dove.Error{Kind: dove.Invalid, Message: what, Faults: faults}
}

// Secret keeps --check from printing these settings.
func Secret(f *pflag.FlagSet, names ...string) {
	for _, name := range names {
		if err := f.SetAnnotation(name, secretMark, []string{"true"}); err != nil {
			panic(fmt.Sprintf("config: %v", err))
		}
	}
}

// Faults gathers what is wrong with a program's settings, for the check of Program.
type Faults []dove.Fault

// Add notes a fault of the setting of that name.
func (f *Faults) Add(name, hint, format string, args ...any) {
	*f = append(*f, dove.Fault{Path: name, Message: fmt.Sprintf(format, args...), Hint: hint})
}

// Check notes err, if it is one.
func (f *Faults) Check(name, hint string, err error) {
	if err != nil {
		f.Add(name, hint, "%v", err)
	}
}

// Err returns all faults as one *dove.Error, or nil.
func (f Faults) Err() error {
	if len(f) == 0 {
		return nil
	}
	return invalid("", f)
}

// LogFormat is how log lines are written.
type LogFormat string

// The forms of log lines.
const (
	Text LogFormat = "text"
	JSON LogFormat = "json"
)

// MarshalText prints the form for flags and files.
func (l LogFormat) MarshalText() ([]byte, error) { return []byte(l), nil }

// UnmarshalText reads what MarshalText prints.
func (l *LogFormat) UnmarshalText(b []byte) error {
	switch v := LogFormat(strings.ToLower(string(b))); v {
	case Text, JSON:
		*l = v
		return nil
	}
	return fmt.Errorf("unknown form of log lines %q: use text or json", b)
}

// NewLogger writes lines of the given form to w, from the given level on.
func NewLogger(w io.Writer, level slog.Level, format LogFormat) *slog.Logger {
	options := &slog.HandlerOptions{Level: level}
	if format == JSON {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}
