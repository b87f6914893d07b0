package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"dove.network/agent"
)

// blow is something that goes wrong for a while.
type blow struct {
	kind   string // of them
	name   string // this one
	away   *Member
	silent *Host // its dswitch cannot answer meanwhile
	hold   time.Duration
	strike func(context.Context) error
	heal   func(context.Context) error
}

// How long blows last, and what they are made of.
const (
	holdLong  = 20 * time.Second // of what is stopped
	holdShort = 8 * time.Second
	slowBy    = 100 * time.Millisecond // each frame, each way
	fillName  = "fill"                 // takes the room on a member's disk
)

// Kinds of blows.
const (
	blowKill       = "kill a member"
	blowStop       = "stop a member"
	blowCut        = "cut a member from the others"
	blowDeaf       = "a member hears no other"
	blowMute       = "no other hears a member"
	blowIsland     = "cut a member from everything"
	blowSlow       = "a slow cable to a member"
	blowFull       = "a full disk of a member"
	blowKillSwitch = "kill a dswitch"
	blowStopSwitch = "stop a dswitch"
	blowLost       = "cut a host from its member"
)

// memberBlows and hostBlows are all kinds, of members and of hosts.
var (
	memberBlows = []string{blowKill, blowStop, blowCut, blowDeaf, blowMute, blowIsland, blowSlow, blowFull}
	hostBlows   = []string{blowKillSwitch, blowStopSwitch, blowLost}
)

// BlowKinds are all kinds of faults.
func BlowKinds() []string { return slices.Concat(memberBlows, hostBlows) }

// TrialMost is how many episodes a trial can have: each has addresses of its own.
const TrialMost = 255

// against makes a blow of a kind against a member.
func (t *Trial) against(kind string, m *Member) *blow {
	l := t.lab
	b := &blow{kind: kind, name: fmt.Sprintf("%s, %s", kind, m.Name), away: m, hold: t.hold(holdShort)}
	var others []string
	for _, o := range l.members {
		if o != m {
			others = append(others, o.node)
		}
	}
	each := func(names []string, do ...func(context.Context, string) error) func(context.Context) error {
		return func(ctx context.Context) error {
			var errs []error
			for _, n := range names {
				for _, f := range do {
					errs = append(errs, f(ctx, n))
				}
			}
			return errors.Join(errs...)
		}
	}
	cut := func(ctx context.Context, o string) error { return l.Cut(ctx, m.node, o) }
	join := func(ctx context.Context, o string) error { return l.Heal(ctx, m.node, o) }
	switch kind {
	case blowKill:
		b.strike = func(context.Context) error { return m.dpc.kill() }
		b.heal = func(context.Context) error { return l.start(m) }
	case blowStop:
		b.hold = t.hold(holdLong)
		b.strike = func(context.Context) error { return m.dpc.signal(unix.SIGSTOP) }
		b.heal = func(context.Context) error { return m.dpc.signal(unix.SIGCONT) }
	case blowCut:
		b.strike, b.heal = each(others, cut), each(others, join)
	case blowDeaf:
		b.strike = each(others, func(ctx context.Context, o string) error { return l.deafen(ctx, o, m.node) })
		b.heal = each(others, func(ctx context.Context, o string) error { return l.undeafen(ctx, o, m.node) })
	case blowMute:
		b.strike = each(others, func(ctx context.Context, o string) error { return l.deafen(ctx, m.node, o) })
		b.heal = each(others, func(ctx context.Context, o string) error { return l.undeafen(ctx, m.node, o) })
	case blowIsland:
		all := append(slices.Clone(others), deskNode)
		for _, h := range l.hosts {
			all = append(all, h.Name)
		}
		b.strike, b.heal = each(all, cut), each(all, join)
	case blowSlow:
		b.away = nil
		b.strike = func(context.Context) error { m.cable.slow(slowBy); return nil }
		b.heal = func(context.Context) error { m.cable.slow(0); return nil }
	case blowFull:
		b.strike = func(context.Context) error { return fill(filepath.Join(m.state, fillName)) }
		b.heal = func(context.Context) error {
			if err := os.Remove(filepath.Join(m.state, fillName)); err != nil || m.runs() {
				return err
			}
			fmt.Fprintf(t.Out, "         the dpc of %s ended meanwhile\n", m.Name)
			return l.start(m)
		}
	}
	return b
}

// upon makes a blow of a kind against a host.
func (t *Trial) upon(kind string, h *Host) *blow {
	l := t.lab
	b := &blow{kind: kind, name: fmt.Sprintf("%s, %s", kind, h.Name), hold: t.hold(holdShort)}
	switch kind {
	case blowKillSwitch:
		b.silent = h
		b.strike = func(context.Context) error { return h.sw.kill() }
		b.heal = func(context.Context) error { return h.run(l) }
	case blowStopSwitch:
		b.silent, b.hold = h, t.hold(holdLong)
		b.strike = func(context.Context) error { return h.sw.signal(unix.SIGSTOP) }
		b.heal = func(context.Context) error { return h.sw.signal(unix.SIGCONT) }
	case blowLost:
		var at string
		b.strike = func(ctx context.Context) error {
			s, err := h.sock.Status(ctx)
			if at = t.nodeOf(s); err != nil || at == "" {
				return errors.Join(err, unless(at != "", "%s has no session: %s", h.Name, s.Session))
			}
			return l.Cut(ctx, h.Name, at)
		}
		b.heal = func(ctx context.Context) error { return l.Heal(ctx, h.Name, at) }
	}
	return b
}

// nodeOf is where the member is that a dswitch has its session with, "" if it has none.
func (t *Trial) nodeOf(s agent.Status) string {
	for _, m := range t.lab.members {
		if m.Name == s.Member && s.Session == "open" {
			return m.node
		}
	}
	return ""
}

// hold is how long a blow lasts that would last so long in a trial that is not short.
func (t *Trial) hold(long time.Duration) time.Duration {
	if t.Short {
		return min(long, shortHold)
	}
	return long
}

// fill writes a file until there is no room left.
func fill(name string) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	for size := 1 << 20; ; {
		if _, err = f.Write(make([]byte, size)); err == nil {
			continue
		}
		if !errors.Is(err, unix.ENOSPC) {
			return errors.Join(err, f.Close())
		}
		if size /= 16; size == 0 { // what is left is less than a byte
			return f.Close()
		}
	}
}
