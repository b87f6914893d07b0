package controller

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"dove.network/control"
	"dove.network/daemon/daemontest"
	"dove.network/dove"
	"dove.network/store/memory"
)

// TestMetrics follows what a member counts from its first session to its last.
func TestMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, nil)
		s := f.open(1, 0, 100)
		s.up <- &control.Ack{Revision: next[*control.Frontier](t, s).Revision}
		s.ask(t, f.member.World(), "10.0.0.11", "10.0.0.12")
		s.ask(t, f.member.World(), "10.0.0.11", "10.0.0.99")
		synctest.Wait()
		daemontest.Gather(t, f.member.Collector()).Want(t, daemontest.Values{
			"dove_dpc_following":                                    1,
			"dove_dpc_store_up":                                     1,
			"dove_dpc_world_revision":                               float64(f.member.World().Revision()),
			"dove_dpc_watch_lag_revisions":                          0,
			"dove_dpc_world_loads_total":                            1,
			"dove_dpc_sessions":                                     1,
			"dove_dpc_sessions_opened_total":                        1,
			"dove_dpc_held_rows{kind=peer}":                         1,
			"dove_dpc_held_rows{kind=absent}":                       1,
			"dove_dpc_held_rows{kind=pair}":                         2,
			"dove_dpc_questions_answered_total{status=found}":       1,
			"dove_dpc_questions_answered_total{status=no-endpoint}": 1,
			"dove_dpc_questions_answered_total{status=refused}":     0,
			"dove_dpc_answer_seconds":                               2,
			"dove_dpc_step_seconds{event=opened}":                   1,
			"dove_dpc_hosts":                                        2,
			"dove_dpc_hosts_unconfirmed":                            1,
			"dove_dpc_receipts_pending":                             0,
			"dove_dpc_rows_told_total{kind=pair}":                   0,
			"dove_dpc_receipt_seconds":                              0,
		})

		// A change that concerns the host, and is not acknowledged for a while.
		frontier := f.policies(appDB)
		time.Sleep(OverdueAfter + time.Second)
		daemontest.Gather(t, f.member.Collector()).Want(t, daemontest.Values{
			"dove_dpc_receipts_pending":           1,
			"dove_dpc_receipts_overdue":           1,
			"dove_dpc_rows_told_total{kind=peer}": 1,
			"dove_dpc_rows_told_total{kind=pair}": 1, // the other way was forbidden before
		})
		s.up <- &control.Ack{Revision: frontier}
		s.up <- &control.EndpointUpdate{Endpoint: dove.Endpoint{Tenant: "acme", ID: "app-1"}, Epoch: 1, State: control.EndpointActive}
		synctest.Wait()
		daemontest.Gather(t, f.member.Collector()).Want(t, daemontest.Values{
			"dove_dpc_receipts_pending":    0,
			"dove_dpc_receipts_overdue":    0,
			"dove_dpc_members_reached":     0,
			"dove_dpc_receipt_seconds":     1,
			"dove_dpc_receipt_seconds_sum": 11,
			"dove_dpc_claims_denied_total": 1,
		})
		close(s.up)
		<-s.ended
		again := f.open(1, 0, 100)
		next[*control.Welcome](t, again)
		f.open(1, 0, 100) // the host opens another one: the first is refused
		<-again.ended
		synctest.Wait()
		daemontest.Gather(t, f.member.Collector()).Want(t, daemontest.Values{
			"dove_dpc_sessions":                             1,
			"dove_dpc_sessions_opened_total":                3,
			"dove_dpc_sessions_ended_total{reason=closed}":  1,
			"dove_dpc_sessions_ended_total{reason=refused}": 1,
			"dove_dpc_sessions_ended_total{reason=slow}":    0,
		})
	})
}

// TestHealth asks a member that loads, one that serves and one that stopped, in real
// time: one whose Core is kept busy is not at rest.
func TestHealth(t *testing.T) {
	f := newFleet(t, func(m *memory.Store) Store { return &brittle{Store: m} })
	if err := f.member.Alive(t.Context()); err != nil {
		t.Error(err)
	}
	if err := f.member.Ready(t.Context()); err != nil {
		t.Error(err)
	}
	// Something that keeps the owner of the Core busy for good.
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	busy, release := make(chan struct{}), make(chan struct{})
	go f.member.post(t.Context(), func() { close(busy); <-release })
	<-busy
	if err := f.member.Alive(ctx); err == nil {
		t.Error("a member that does not react is alive")
	}
	values := daemontest.Gather(t, f.member.Collector())
	if _, there := values["dove_dpc_sessions"]; there || values["dove_dpc_store_up"] != 1 {
		t.Error("a member that does not react says how many sessions there are, or not what it can say")
	}
	close(release)

	f.stop()
	<-f.ran
	if err := f.member.Alive(t.Context()); err != nil {
		t.Error(err)
	}
	if err := f.member.Ready(t.Context()); dove.KindOf(err) != dove.Unavailable {
		t.Errorf("a member that stopped is ready: %v", err)
	}
	daemontest.Gather(t, f.member.Collector()).Want(t, daemontest.Values{"dove_dpc_following": 0})
}
