package controller

import "dove.network/world"

// Changes returns what the latest revisions changed, and a channel that is
// closed once there is more. Nothing is known of revisions before the member
// loaded its world, or loaded it again.
func (m *Member) Changes() (*world.History, <-chan struct{}) {
	p := m.latest.Load()
	return p.history, p.later
}

// publish shows everybody a world that was loaded.
func (m *Member) publish(w *world.World) {
	m.show(&published{w, world.NewHistory(w.Revision()), make(chan struct{})})
}

// advance shows everybody the world after a change.
func (m *Member) advance(w *world.World, changed world.Delta) {
	m.show(&published{w, m.latest.Load().history.Add(changed), make(chan struct{})})
}

func (m *Member) show(p *published) { close(m.latest.Swap(p).later) }
