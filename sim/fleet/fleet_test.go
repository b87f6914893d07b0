package fleet

import (
	"flag"
	"os"
	"runtime"
	"testing"
)

var (
	seed    = flag.Uint64("seed", 20261123, "seed of the first run; another one looks elsewhere")
	seeds   = flag.Int("seeds", 1, "how many runs there are")
	hosts   = flag.Int("hosts", 30, "how many hosts a run has")
	members = flag.Int("members", 3, "how many members a run has")
	steps   = flag.Int("steps", 300, "how many steps a run has")
	trace   = flag.String("trace", "", "write what happens to `FILE`")
)

// TestRuns lets fleets run through whatever may happen to them.
func TestRuns(t *testing.T) {
	t.Logf("go test ./sim/fleet -run '%s' -seed %d -hosts %d -members %d -steps %d", t.Name(), *seed, *hosts, *members, *steps)
	for n := range *seeds {
		r := Run{Seed: *seed + uint64(n), Hosts: *hosts, Members: *members, Steps: *steps}
		if *trace != "" {
			file, err := os.Create(*trace)
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			r.Trace = file
		}
		result, err := r.Do()
		if err != nil {
			for _, line := range result.Last {
				t.Log(line)
			}
			t.Fatalf("seed %d: %v", r.Seed, err)
		}
		result.Last = nil
		t.Logf("seed %d: %+v", r.Seed, result)
	}
}

// TestOneSeedIsOneRun makes the same run three times, on one processor and on two.
func TestOneSeedIsOneRun(t *testing.T) {
	t.Logf("go test ./sim/fleet -run '%s' -seed %d", t.Name(), *seed)
	r := Run{Seed: *seed, Hosts: 20, Members: 3, Steps: 100}
	var first Result
	for n, processors := range []int{1, 2, 2} {
		was := runtime.GOMAXPROCS(processors)
		result, err := r.Do()
		runtime.GOMAXPROCS(was)
		if err != nil {
			t.Fatalf("seed %d: %v", r.Seed, err)
		}
		if n == 0 {
			first = result
		}
		if result.Digest != first.Digest || result.Events != first.Events {
			t.Errorf("seed %d on %d processors: %d events, digest %x; on one %d events, digest %x", r.Seed, processors, result.Events, result.Digest, first.Events, first.Digest)
		}
	}
	r.Seed++
	if result, err := r.Do(); err != nil || result.Digest == first.Digest {
		t.Errorf("seed %d has the digest of the one before, %x, or fails: %v", r.Seed, result.Digest, err)
	}
}
