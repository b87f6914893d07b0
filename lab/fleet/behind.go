package fleet

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// schedIdle is the policy of who runs while nobody else wants to (sched(7)).
const schedIdle = 5

// realTime has a program run in a real-time class: the kernel may leave who is behind on a processor until
// its next tick while one of another class waits.
var realTime = []string{"chrt", "--rr", "1"}

// Behind has this process run from now on only while nobody else wants to, if it may have others come forward
// again, as root may where there are real-time classes: what a ControlBench measures is not to wait for who makes
// the load, which elsewhere has processors of its own. The dpc, and who asks it, are not behind.
func Behind() error {
	if os.Geteuid() != 0 || exec.Command(realTime[0], append(slices.Clone(realTime[1:]), "true")...).Run() != nil {
		return nil
	}
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	for _, thread := range threads { // those that come later are as who starts them
		id, err := strconv.Atoi(thread.Name())
		if err == nil {
			err = unix.SchedSetAttr(id, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: schedIdle}, 0)
		}
		if err != nil && !errors.Is(err, unix.ESRCH) {
			return err
		}
	}
	return nil
}

// ahead runs a program that is not behind, though this process is.
func ahead(ctx context.Context, command ...string) *exec.Cmd {
	if its, err := unix.SchedGetAttr(0, 0); err == nil && its.Policy == schedIdle {
		command = append(slices.Clone(realTime), command...)
	}
	return exec.CommandContext(ctx, command[0], command[1:]...)
}
