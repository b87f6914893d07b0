package main

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// How much garbage may come together before it is collected: as much as there is of
// use while that is little, then garbageMax, and a quarter of a world that is larger still.
const (
	garbageMax   = 192 << 20 // bytes
	garbageLeast = 25        // percent of what is of use
	garbageLook  = time.Second
)

// garbage keeps the memory of a large world from being doubled by what is of no use any
// more, until ctx is done. Whoever sets GOGC decides himself.
func garbage(ctx context.Context) error {
	if os.Getenv("GOGC") != "" {
		<-ctx.Done()
		return nil
	}
	tick := time.NewTicker(garbageLook)
	defer tick.Stop()
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	last := 100
	for {
		metrics.Read(live)
		if percent := garbagePercent(live[0].Value.Uint64()); percent != last {
			last = percent
			debug.SetGCPercent(percent)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// garbagePercent is GOGC for a heap of which so many bytes are of use.
func garbagePercent(live uint64) int {
	return int(max(garbageLeast, min(100, garbageMax*100/max(live, 1))))
}
