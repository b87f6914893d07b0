package etcd

import (
	"context"
	"log/slog"
	"maps"
	"slices"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// logger returns a logger for etcd that hands warnings and worse to log, or
// nothing to nobody if log is nil.
func logger(log *slog.Logger) *zap.Logger {
	if log == nil {
		return zap.NewNop()
	}
	return zap.New(&bridge{log.With("part", "etcd").Handler()})
}

// idle are warnings about what a member inside the process does not have,
// listeners and users with passwords, and about what is as it should be.
var idle = []string{
	"Running http and grpc server on single port. This is not recommended for production.",
	"simple token is not cryptographically signed",
	"rejecting promote learner: learner is not ready", // Tend tries again
	"setting up serving from embedded etcd failed.",   // what a listener says when it is closed
}

// bridge is a zap core that writes to a slog handler.
type bridge struct{ to slog.Handler }

func (b *bridge) Enabled(level zapcore.Level) bool { return level >= zapcore.WarnLevel }

func (b *bridge) With(fields []zapcore.Field) zapcore.Core {
	return &bridge{b.to.WithAttrs(attributes(fields))}
}

func (b *bridge) Check(e zapcore.Entry, c *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if b.Enabled(e.Level) && !slices.Contains(idle, e.Message) {
		return c.AddCore(e, b)
	}
	return c
}

func (b *bridge) Write(e zapcore.Entry, fields []zapcore.Field) error {
	level := slog.LevelWarn
	if e.Level > zapcore.WarnLevel {
		level = slog.LevelError
	}
	if !b.to.Enabled(context.Background(), level) {
		return nil
	}
	r := slog.NewRecord(e.Time, level, e.Message, 0)
	r.AddAttrs(attributes(fields)...)
	return b.to.Handle(context.Background(), r)
}

func (b *bridge) Sync() error { return nil }

// attributes encodes zap's fields, in order of names.
func attributes(fields []zapcore.Field) []slog.Attr {
	m := zapcore.NewMapObjectEncoder()
	for _, f := range fields {
		f.AddTo(m)
	}
	var attrs []slog.Attr
	for _, name := range slices.Sorted(maps.Keys(m.Fields)) {
		attrs = append(attrs, slog.Any(name, m.Fields[name]))
	}
	return attrs
}
