package agent

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"dove.network/control"
	"dove.network/daemon/daemontest"
	"dove.network/dataplane"
)

// TestMetrics follows what an agent counts through a session, a loss of it and
// what is dropped.
func TestMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, "")
		// What the switch dropped before is not the agent's.
		f.sw.Discard(dataplane.Miss{Frame: make([]byte, 60)}, dataplane.HoldLimit)
		metrics, err := f.agent.Collector()
		if err != nil {
			t.Fatal(err)
		}
		f.dials <- nil // the first attempt fails
		p := newPipe()
		f.dials <- p
		f.appear(deviceOf("dvweb-1", 3))
		if err := f.agent.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), "connection refused") {
			t.Errorf("without a session: %v", err)
		}
		f.welcome(p)
		if err := f.agent.Ready(t.Context()); err != nil {
			t.Error(err)
		}
		f.guest("10.0.0.7", 80)
		request := next[*control.PolicyRequest](f, p)
		time.Sleep(30 * time.Millisecond)
		daemontest.Gather(t, metrics).Want(t, daemontest.Values{
			"dove_dswitch_questions_waiting": 1,
			"dove_dswitch_packets_waiting":   1,
		})
		p.down <- found(request.ID, request.Questions[0], 20, 30)
		synctest.Wait()
		f.sw.TakeInjected()
		f.guest("10.0.0.8", 80)
		next[*control.PolicyRequest](f, p)
		time.Sleep(2 * HoldFor)
		values := daemontest.Gather(t, metrics)
		values.Want(t, daemontest.Values{
			"dove_dswitch_session_open":                             1,
			"dove_dswitch_sessions_opened_total":                    1,
			"dove_dswitch_session_failures_total":                   1,
			"dove_dswitch_seen_revision":                            3,
			"dove_dswitch_held_rows{kind=peer}":                     1,
			"dove_dswitch_held_rows{kind=pair}":                     2,
			"dove_dswitch_held_rows{kind=absent}":                   0,
			"dove_dswitch_vteps":                                    1,
			"dove_dswitch_ports{state=active}":                      1,
			"dove_dswitch_ports{state=failed}":                      0,
			"dove_dswitch_misses_total{want=peer}":                  2,
			"dove_dswitch_questions_total":                          2,
			"dove_dswitch_answer_seconds":                           1,
			"dove_dswitch_answer_seconds_sum":                       0.03,
			"dove_dswitch_apply_failures_total":                     0,
			"dove_dswitch_faults":                                   0,
			"dove_dswitch_flows":                                    1,
			"dove_dswitch_dropped_packets_total{reason=hold-limit}": 1,
			"dove_dswitch_dropped_packets_total{reason=policy}":     0,
		})
		if values["dove_dswitch_apply_seconds"] < 2 {
			t.Errorf("%v changes of the switch", values["dove_dswitch_apply_seconds"])
		}
		f.stop()
		if f.agent.Alive(t.Context()) == nil {
			t.Error("a stopped agent is alive")
		}
	})
}

// TestSocketHealth asks on the local socket.
func TestSocketHealth(t *testing.T) {
	socket := t.TempDir() + "/dswitch.sock"
	f := newFixture(t, socket)
	p := newPipe()
	f.dials <- p
	next[*control.Hello](f, p)
	c := NewClient(socket)
	defer c.Close()
	for path, want := range map[string]int{"/healthz": http.StatusOK, "/readyz": http.StatusServiceUnavailable} {
		r, err := c.http.Get("http://dswitch" + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(r.Body)
		r.Body.Close()
		if err != nil || r.StatusCode != want {
			t.Errorf("%s: %s %s %v", path, r.Status, body, err)
		}
	}
	f.stop()
}
