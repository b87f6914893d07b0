package main

import (
	"context"
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// lookEvery is for how many milliseconds one look at a pipe lasts at most.
const lookEvery = 1000

// whileRead returns a context that also ends when nobody reads from the pipe that
// out is any more: what follows events may have nothing to write for long, and
// would not hear of it. Other outputs end nothing.
func whileRead(ctx context.Context, out io.Writer) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	f, ok := out.(*os.File)
	if !ok {
		return ctx, cancel
	}
	if info, err := f.Stat(); err != nil || info.Mode()&os.ModeNamedPipe == 0 {
		return ctx, cancel
	}
	go func() {
		defer cancel()
		fds := []unix.PollFd{{Fd: int32(f.Fd())}} // asks for nothing: a closed end is always told
		for ctx.Err() == nil {
			n, err := unix.Poll(fds, lookEvery)
			if n > 0 || err != nil && !errors.Is(err, unix.EINTR) {
				return
			}
		}
	}()
	return ctx, cancel
}
