package ebpf

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// BenchmarkRoundTrip measures datagrams there and back between two threads that
// poll, each bound to a CPU of its own: what both CPUs write is moved from one to
// the other with every packet, which BenchmarkPath does not see. The tenth of the
// round trips that are fastest counts, so that others on the machine disturb little.
func BenchmarkRoundTrip(b *testing.B) {
	if runtime.NumCPU() < 2 {
		b.Skip("needs two CPUs")
	}
	paths := benchPaths(b)
	took := make([][]float64, len(paths))
	for b.Loop() {
		for i, p := range paths {
			took[i] = append(took[i], p.roundTrips(b, 2000))
		}
	}
	for i, p := range paths {
		b.ReportMetric(median(took[i]), "ns-"+p.unit())
	}
	for i, p := range paths[1:] {
		ratios := make([]float64, len(took[0]))
		for n := range ratios {
			ratios[n] = took[i+1][n] / took[0][n]
		}
		b.ReportMetric(median(ratios), "x-"+p.unit())
	}
}

// onCPU runs fn on a thread of its own that is bound to a CPU.
func onCPU(cpu int, fn func() error) error {
	runtime.LockOSThread() // and never unlocked: the thread ends with its goroutine
	var only unix.CPUSet
	only.Set(cpu)
	if err := unix.SchedSetaffinity(0, &only); err != nil {
		return err
	}
	return fn()
}

// roundTrips returns how long the fastest tenth of n round trips took at most, ns.
func (p *path) roundTrips(b *testing.B, n int) float64 {
	var over atomic.Bool
	var answering sync.WaitGroup
	answered := make(chan error, 1)
	answering.Go(func() {
		answered <- onCPU(1, func() error {
			buffer := make([]byte, 128)
			for !over.Load() {
				size, from, err := unix.Recvfrom(p.to, buffer, unix.MSG_DONTWAIT)
				if err == unix.EAGAIN {
					continue
				}
				if err == nil {
					err = unix.Sendto(p.to, buffer[:size], unix.MSG_DONTWAIT, from)
				}
				if err != nil {
					return err
				}
			}
			return nil
		})
	})
	took := make([]float64, 0, n)
	asked := make(chan error, 1)
	go func() {
		asked <- onCPU(0, func() error {
			buffer := make([]byte, 128)
			for range n {
				began := time.Now()
				if _, err := unix.Write(p.from, buffer[:14]); err != nil {
					return err
				}
				for {
					_, _, err := unix.Recvfrom(p.from, buffer, unix.MSG_DONTWAIT)
					if err == nil {
						break
					}
					if err != unix.EAGAIN || time.Since(began) > time.Second {
						return fmt.Errorf("%s: no answer: %w", p.name, err)
					}
				}
				took = append(took, float64(time.Since(began)))
			}
			return nil
		})
	}()
	err := <-asked
	over.Store(true)
	if err == nil {
		err = <-answered
	}
	answering.Wait()
	if err != nil {
		b.Fatal(err)
	}
	slices.Sort(took)
	return took[len(took)/10]
}
