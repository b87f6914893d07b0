// Package config gives every program its configuration in one way: defaults,
// then one YAML file, then flags.
//
// A program keeps its settings in one typed struct and writes down each of them
// once, as a flag that points into the struct:
//
//	s := settings{State: "/var/lib/dove"}          // the defaults
//	f := cmd.Flags()
//	f.StringVar(&s.State, "state", s.State, "`FOLDER` for what must survive a restart")
//	f.TextVar(&s.VTEP, "vtep", s.VTEP, "underlay `ADDRESS` of this host") // netip.Addr
//	config.Program(cmd, s.check, func(ctx context.Context, log *slog.Logger) error { ... })
//
// The flags are the schema: the file's keys are their names, so a setting has
// one name, one type and one description everywhere. Program adds --config,
// --check, --log-level and --log-format, and runs the program only after
// everything was read and checked. Everything wrong with a configuration comes
// back as one *dove.Error that names file, line and column.
//
// The package knows no program's settings. It reads one file and nothing of the
// environment.
package config
