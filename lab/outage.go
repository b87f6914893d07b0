package lab

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"dove.network/api"
	"dove.network/dove"
	"dove.network/scenario"
)

// catchUp bounds how long a host that is back may take until it enforces what
// it missed: TCP waits twice as long after each attempt, and a dead session is
// given up after half a minute.
const catchUp = 60 * time.Second

// disturb kills, stops or starts a program, or cuts or heals a link, and waits
// until everyone within reach has caught up.
func (st *Stage) disturb(ctx context.Context, a scenario.Action) (string, error) {
	began := time.Now()
	var err error
	switch a := a.(type) {
	case scenario.Kill:
		err = st.end(a.Program, (*process).kill)
		if err == nil {
			err = st.run(ctx, a.Program)
		}
	case scenario.Stop:
		if err := st.end(a.Program, (*process).stop); err != nil {
			return "", err
		}
		return "it stopped in order", nil
	case scenario.Start:
		err = st.run(ctx, a.Program)
	case scenario.Cut:
		return "", st.Lab.Cut(ctx, string(a.Link.Host), cmp.Or(string(a.Link.To), dpcNode))
	case scenario.Heal:
		err = st.Lab.Heal(ctx, string(a.Link.Host), cmp.Or(string(a.Link.To), dpcNode))
	}
	if err == nil {
		err = st.caughtUp(ctx)
	}
	return fmt.Sprintf("everyone within reach is in session and has caught up after %.0f ms", ms(time.Since(began))), err
}

// end ends a program.
func (st *Stage) end(p scenario.Program, how func(*process) error) error {
	if p.Host == "" {
		return how(st.Lab.members[0].dpc)
	}
	h, ok := st.Lab.Host(string(p.Host))
	if !ok {
		return fmt.Errorf("there is no host %s", p.Host)
	}
	return how(h.sw)
}

// run runs a program over the state that is there, until it answers.
func (st *Stage) run(ctx context.Context, p scenario.Program) error {
	if p.Host == "" {
		return st.Lab.RunMember(ctx, st.Lab.members[0])
	}
	h, ok := st.Lab.Host(string(p.Host))
	if !ok {
		return fmt.Errorf("there is no host %s", p.Host)
	}
	if err := h.run(st.Lab); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	return h.sw.until(ctx, func() error {
		_, err := h.sock.Status(ctx)
		return err
	})
}

// caughtUp waits until every host within reach of the DPC is in session,
// enforces all, and has its guests' ports open.
func (st *Stage) caughtUp(ctx context.Context) error {
	if st.outage.Stopped(scenario.Program{}) {
		return nil
	}
	status, err := st.Lab.api.Status(ctx)
	if err != nil {
		return err
	}
	return eventually(ctx, catchUp, func() error {
		r, err := st.Lab.api.Receipt(ctx, status.Revision, 0)
		errs := []error{err, st.ended(ctx), st.Lab.members[0].ns.stuck(ctx), st.behind(r, append(slices.Clone(r.Pending), r.Unconfirmed...))}
		for _, h := range st.Lab.hosts {
			if st.outage.Adrift(dove.HostName(h.Name)) != "" {
				continue
			}
			s, err := h.sock.Status(ctx)
			errs = append(errs, err, h.ns.stuck(ctx), unless(err != nil || s.Session == "open", "the session of %s is %s: %s%s", h.Name, s.Session, s.Refusal, s.Trouble))
			for _, g := range st.Lab.guests {
				if g.Host == h.Name {
					errs = append(errs, h.open(s, g))
				}
			}
		}
		return errors.Join(errs...)
	})
}

// behind returns an error if one of the hosts that do not enforce a revision
// yet is within reach of the DPC.
func (st *Stage) behind(r api.Receipt, hosts []dove.HostName) error {
	hosts = slices.DeleteFunc(slices.Clone(hosts), func(h dove.HostName) bool { return st.outage.Adrift(h) != "" })
	return unless(len(hosts) == 0, "revision %d is not enforced on %v", r.Revision, hosts)
}

// settle waits until a revision is enforced by every host within reach, and
// says who was told.
func (st *Stage) settle(ctx context.Context, rev dove.Revision) (string, error) {
	began := time.Now()
	if st.outage.Any() == "" {
		r, err := st.Lab.WaitReceipt(ctx, rev)
		return fmt.Sprintf("revision %d: %d of %d hosts were told, in force after %.1f ms", rev, r.Told, len(st.Lab.hosts), ms(r.Took)), err
	}
	var r api.Receipt
	err := eventually(ctx, answerTimeout, func() (err error) {
		if r, err = st.Lab.api.Receipt(ctx, rev, 0); err != nil {
			return err
		}
		return st.behind(r, r.Pending)
	})
	says := fmt.Sprintf("revision %d: in force within reach after %.1f ms", rev, ms(time.Since(began)))
	var missing []string
	for _, h := range append(r.Pending, r.Unconfirmed...) {
		if why := st.outage.Adrift(h); why != "" && !slices.Contains(missing, why) {
			missing = append(missing, why)
		}
	}
	if len(missing) > 0 {
		says += "; " + strings.Join(missing, ", ")
	}
	return says, err
}
