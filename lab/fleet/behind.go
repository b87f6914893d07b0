package fleet

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strconv"

	"golang.org/x/sys/unix"
)

// schedIdle is the policy of who runs while nobody else wants to (sched(7)).
const schedIdle = 5

// Behind has this process, if root runs it, run from now on only while nobody else wants to:
// what a ControlBench measures is not to wait for who makes the load, which elsewhere has
// processors of its own. The dpc, and who asks it, are not behind.
func Behind() error {
	if os.Geteuid() != 0 { // who is no root cannot have others come forward again
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

// ahead runs a program that is not behind, though this process is: in a real-time class, where there may be one, as the kernel may leave
// who is behind until its next tick else.
func ahead(ctx context.Context, command ...string) *exec.Cmd {
	if its, err := unix.SchedGetAttr(0, 0); err == nil && its.Policy == schedIdle {
		class := []string{"chrt", "--rr", "1"}
		if exec.CommandContext(ctx, class[0], append(class[1:], "true")...).Run() != nil {
			class = []string{"chrt", "--other", "0"}
		}
		command = append(class, command...)
	}
	return exec.CommandContext(ctx, command[0], command[1:]...)
}
