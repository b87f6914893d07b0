package lobby

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// Turns lets so many compute at a time. It may be used by many at once.
type Turns struct {
	asked atomic.Uint64 // how often somebody inside has

	mu    sync.Mutex
	free  int
	lines map[Source][]chan struct{}
	order []Source // that have a line; the first is next
}

// NewTurns returns Turns for so many at a time.
func NewTurns(atOnce int) *Turns { return &Turns{free: atOnce, lines: map[Source][]chan struct{}{}} }

// Half is how many compute at a time on half of the processors: those who are inside have the others.
func Half() int { return max(1, runtime.GOMAXPROCS(0)/2) }

// Asked notes that somebody inside asks something: those who have a turn leave him time after it.
func (t *Turns) Asked() { t.asked.Add(1) }

// Take waits for a turn of a source, which ends with give. If somebody inside has asked meanwhile,
// as much time as it took goes by until another one has it.
func (t *Turns) Take(from Source) (give func()) {
	t.take(from)
	begun, asked := time.Now(), t.asked.Load()
	return func() {
		if t.asked.Load() == asked {
			t.give()
			return
		}
		time.AfterFunc(time.Since(begun), t.give)
	}
}

func (t *Turns) take(from Source) {
	t.mu.Lock()
	if t.free > 0 {
		t.free--
		t.mu.Unlock()
		return
	}
	come := make(chan struct{})
	if len(t.lines[from]) == 0 {
		t.order = append(t.order, from)
	}
	t.lines[from] = append(t.lines[from], come)
	t.mu.Unlock()
	<-come
}

// give has the next source that waits have a turn.
func (t *Turns) give() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.order) == 0 {
		t.free++
		return
	}
	from := t.order[0]
	t.order = t.order[1:]
	line := t.lines[from]
	if len(line) == 1 {
		delete(t.lines, from)
	} else {
		t.lines[from] = line[1:]
		t.order = append(t.order, from)
	}
	close(line[0])
}
