package daemon

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// How much garbage may come together before it is collected: garbageMin, so that a small program
// is seldom slower for milliseconds, then as much as there is of use, then garbageMax, and
// beside it half of what is of use beyond garbageLarge: who has that many sessions or documents has no
// time to go through all of them for each quarter.
const (
	garbageMin = 32 << 20 // bytes
	garbageMax = 192 << 20

	garbageLarge = 768 << 20
	garbageLook  = time.Second
)

// Garbage has the program collect garbage seldom while it is small, and keeps its memory from
// being doubled by what is of no use any more when it is large, until ctx is done. Whoever sets
// GOGC decides himself.
func Garbage(ctx context.Context) error {
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

// garbagePercent is GOGC for a heap of which so many bytes are of use. Go takes what is of use for
// 4 MiB at least.
func garbagePercent(live uint64) int {
	may := max(garbageMin, min(live, garbageMax)) + (max(live, garbageLarge)-garbageLarge)/2
	return int(may * 100 / max(live, 4<<20))
}
