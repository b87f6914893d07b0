package scenario

import (
	"context"
	"errors"
)

// Stage is where a scenario is carried out: one level's hosts, switches and
// controllers. Do makes one step. It returns nil if the step did what it says,
// an error that says what was seen instead, or one that wraps ErrCannot. What
// it says, a sentence or a few lines, tells a reader what happened: where a
// packet went, which rule decided, who was told.
type Stage interface {
	Do(ctx context.Context, a Action) (says string, err error)
}

// ErrCannot says that a level has no means for a step (the oracle forges no frames).
var ErrCannot = errors.New("this level cannot carry out the step")

// Tally counts what became of steps.
type Tally struct{ Held, Failed, Skipped int }

// Run makes the steps in order and tells each one's end. A failed step does not
// stop the scenario, so that all that is wrong is seen; a cancelled ctx does.
func Run(ctx context.Context, s *Scenario, stage Stage, each func(step Step, says string, err error)) Tally {
	var t Tally
	for _, step := range s.Steps {
		if ctx.Err() != nil {
			break
		}
		says, err := stage.Do(ctx, step.Action)
		switch {
		case err == nil:
			t.Held++
		case errors.Is(err, ErrCannot):
			t.Skipped++
		default:
			t.Failed++
		}
		if each != nil {
			each(step, says, err)
		}
	}
	return t
}
