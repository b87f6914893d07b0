package lab

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"dove.network/scenario"
)

// pass waits, and then until what was to end meanwhile has ended.
func (st *Stage) pass(ctx context.Context, a scenario.Pass) (string, error) {
	select {
	case <-ctx.Done():
		return "", ctx.Err()
	case <-time.After(a.Time):
	}
	if st.outage.Stopped(scenario.Program{}) {
		return "nobody ends what was to end: the dpc is stopped", nil
	}
	if err := eventually(ctx, answerTimeout, func() error { return st.ended(ctx) }); err != nil {
		return "", err
	}
	status, err := st.Lab.api.Status(ctx)
	if err != nil {
		return "", err
	}
	return st.settle(ctx, status.Revision)
}

// ended returns an error if the DPC has not ended a policy whose time is up.
func (st *Stage) ended(ctx context.Context) error {
	var errs []error
	for tenant, blueprints := range st.blueprints {
		for _, b := range blueprints {
			for _, p := range b.Policies {
				if p.Until.IsZero() || time.Now().Before(p.Until) {
					continue
				}
				is, err := st.Lab.api.Blueprint(ctx, tenant, b.Name)
				errs = append(errs, err, unless(err != nil || slices.Contains(is.Ended, p.Name), "policy %s/%s is over since %s and has not ended", b.Name, p.Name, p.Until.Format(time.RFC3339)))
			}
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("what was to end: %w", err)
	}
	return nil
}
