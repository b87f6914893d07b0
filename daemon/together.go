package daemon

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// Together runs all parts until one fails or ctx is done, then stops the others
// and returns why. A part that ends while the others run has failed.
func Together(ctx context.Context, parts ...func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	errs := make([]error, len(parts))
	var running sync.WaitGroup
	for i, part := range parts {
		running.Go(func() {
			errs[i] = part(ctx)
			if ctx.Err() == nil && errs[i] == nil {
				errs[i] = fmt.Errorf("part %d of the program ended by itself", i)
			}
			cancel(errs[i])
		})
	}
	running.Wait()
	return errors.Join(errs...)
}
