package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"
)

// What a Supervisor is told.
const (
	Ready    = "READY=1"    // the program is of use from now on
	Stopping = "STOPPING=1" // it has begun to stop
	alive    = "WATCHDOG=1"
)

// Supervisor is the service manager that started the program, if there is one.
type Supervisor struct {
	socket   string         // "" if there is none
	watchdog time.Duration  // how long it waits for a sign of life; 0: it does not
	kept     map[string]int // descriptors, until somebody asks for them
	log      *slog.Logger
}

// NewSupervisor finds the service manager in the environment (NOTIFY_SOCKET,
// WATCHDOG_USEC, WATCHDOG_PID), or none, and takes what it kept for the program. The
// pid is the program's own.
func NewSupervisor(env func(string) string, pid int, log *slog.Logger) (Supervisor, error) {
	kept, err := takeKept(env, pid)
	s := Supervisor{socket: env("NOTIFY_SOCKET"), kept: kept, log: log}
	if err != nil {
		return s, err
	}
	text := env("WATCHDOG_USEC")
	if s.socket == "" || text == "" {
		return s, nil
	}
	if whose := env("WATCHDOG_PID"); whose != "" && whose != strconv.Itoa(pid) {
		return s, nil
	}
	us, err := strconv.ParseInt(text, 10, 64)
	if err != nil || us <= 0 {
		return s, fmt.Errorf("WATCHDOG_USEC=%s is no number of microseconds: unset it, or let systemd set it", text)
	}
	s.watchdog = time.Duration(us) * time.Microsecond
	return s, nil
}

// Tell sends assignments such as Ready or "STATUS=...". A program can do
// without, so that nobody listens is only logged.
func (s Supervisor) Tell(assignments ...string) {
	if s.socket == "" {
		return
	}
	if err := s.send(strings.Join(assignments, "\n"), nil); err != nil {
		s.log.Warn("the service manager does not listen", "told", assignments, "error", err)
	}
}

// Watch gives signs of life until ctx is done, and then returns nil. Before each
// it asks isAlive, and keeps silent if the answer is an error or does not come in
// time; the service manager restarts a program that is silent for too long.
func (s Supervisor) Watch(ctx context.Context, isAlive func(context.Context) error) error {
	if s.watchdog == 0 {
		<-ctx.Done()
		return nil
	}
	interval := s.watchdog / 3
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		if err := within(ctx, interval, isAlive); err == nil {
			s.Tell(alive)
		} else if ctx.Err() == nil {
			s.log.Error("no sign of life for the service manager", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func within(ctx context.Context, limit time.Duration, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return f(ctx)
}
