package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Environment says where and how a benchmark ran. It names no machine and no person.
type Environment struct {
	Started   time.Time         `json:"started"`
	Software  string            `json:"software"` // the version that was measured
	Kernel    string            `json:"kernel"`
	CPU       string            `json:"cpu"`
	CPUs      int               `json:"cpus"`
	MemoryMiB int               `json:"memory_mib"`
	Rounds    int               `json:"rounds"`
	Measured  int               `json:"measurements"`
	Noisy     int               `json:"noisy_measurements"` // begun while the machine was busy with other work
	Load      float64           `json:"load_1m"`            // when it started
	Settings  map[string]string `json:"settings"`           // of this benchmark
}

// Here returns the facts of this machine, now.
func Here(software string) (Environment, error) {
	var uts unix.Utsname
	var info unix.Sysinfo_t
	if err := errors.Join(unix.Uname(&uts), unix.Sysinfo(&info)); err != nil {
		return Environment{}, fmt.Errorf("ask the kernel about this machine: %w", err)
	}
	return Environment{
		Started:   time.Now().UTC().Truncate(time.Second),
		Software:  software,
		Kernel:    unix.ByteSliceToString(uts.Release[:]),
		CPU:       model(),
		CPUs:      runtime.NumCPU(),
		MemoryMiB: int(uint64(info.Totalram) * uint64(info.Unit) >> 20),
		Load:      float64(info.Loads[0]*100>>16) / 100,
		Settings:  map[string]string{},
	}, nil
}

// model returns the processor's name, or its architecture where it has none.
func model() string {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if name, ok := strings.CutPrefix(lines.Text(), "model name"); ok {
			return strings.TrimLeft(name, "\t :")
		}
	}
	return runtime.GOARCH
}

const (
	quietBelow = 0.15 // of all CPUs
	quietFor   = 250 * time.Millisecond
)

// Quiet waits, at most for patience, until the machine is idle but for a little.
// It reports whether it was in the end.
func Quiet(ctx context.Context, patience time.Duration) (bool, error) {
	end := time.Now().Add(patience)
	for {
		busy, all, err := ticks()
		if err != nil {
			return false, err
		}
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case <-time.After(quietFor):
		}
		busyNow, allNow, err := ticks()
		if err != nil {
			return false, err
		}
		if float64(busyNow-busy) < quietBelow*float64(max(1, allNow-all)) {
			return true, nil
		}
		if !time.Now().Before(end) {
			return false, nil
		}
	}
}

// Busy returns how long the machine's CPUs have worked since it started, all
// together, to a hundredth of a second.
func Busy() (time.Duration, error) {
	busy, _, err := ticks()
	return time.Duration(busy) * time.Second / userHZ, err
}

// userHZ is in how many ticks a second /proc counts (proc(5)); on every
// architecture that Go knows it is 100.
const userHZ = 100

// ticks returns how long the CPUs have worked, and how long they have been there.
func ticks() (busy, all uint64, err error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0, err
	}
	line, _, _ := strings.Cut(string(text), "\n")
	fields := strings.Fields(line)
	if len(fields) < 9 || fields[0] != "cpu" {
		return 0, 0, fmt.Errorf("/proc/stat begins with %q, not with the ticks of all CPUs", line)
	}
	for i, f := range fields[1:9] { // user nice system idle iowait irq softirq steal
		n, err := strconv.ParseUint(f, 10, 64)
		if err != nil {
			return 0, 0, fmt.Errorf("/proc/stat: %w", err)
		}
		all += n
		if i != 3 && i != 4 {
			busy += n
		}
	}
	return busy, all, nil
}
