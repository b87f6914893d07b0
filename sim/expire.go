package sim

import (
	"fmt"
	"strings"

	"dove.network/dove"
	"dove.network/edit"
	"dove.network/scenario"
	"dove.network/world"
)

// expire ends the policies whose time is up, as the DPC does while it runs.
func (st *stage) expire() (says string, err error) {
	var lines []string
	for !st.outage.Stopped(scenario.Program{}) {
		next, domain := edit.NextEdge(st.World())
		if next.IsZero() || st.Now().Before(next) {
			break
		}
		ended := fmt.Sprintf("of %s has ended what lasted until %s", domain, next.Format("15:04:05"))
		revision, err := st.Edit(func(w *world.World) (dove.Txn, error) { return edit.SweepEdge(w, domain, st.Now()) })
		if err != nil {
			return "", err
		}
		told, err := st.settle(revision)
		if err != nil {
			return "", err
		}
		lines = append(lines, ended, strings.TrimSuffix(fmt.Sprintf("revision %d: %s", revision, told), ": "))
	}
	return strings.Join(lines, "\n"), nil
}
