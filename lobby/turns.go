package lobby

import "sync"

// Turns lets so many compute at a time. It may be used by many at once.
type Turns struct {
	mu    sync.Mutex
	free  int
	lines map[Source][]chan struct{}
	order []Source // that have a line; the first is next
}

// NewTurns returns Turns for so many at a time.
func NewTurns(atOnce int) *Turns { return &Turns{free: atOnce, lines: map[Source][]chan struct{}{}} }

// Take waits for a turn of a source.
func (t *Turns) Take(from Source) {
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

// Give ends a turn, which goes to the next source that waits.
func (t *Turns) Give() {
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
