package client

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"dove.network/api"
	"dove.network/dove"
)

func TestWatch(t *testing.T) {
	large := strings.Repeat("x", 2<<20) // as a line with a blueprint may be
	last := `{"revision":9,"error":{"status":410,"kind":"not-found","detail":"list again"}}`
	var asked string
	c := connect(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked = r.URL.RequestURI()
		w.Header().Set("Content-Type", "application/jsonl")
		fmt.Fprintf(w, "{\"revision\":7}\n{\"revision\":9,\"changes\":[{\"op\":\"put\",\"kind\":\"blueprint\",\"name\":%q}]}\n%s\n", large, last)
	}))
	for want, watch := range map[string]struct {
		tenant dove.Tenant
		after  dove.Revision
	}{"/v1/watch": {}, "/v1/watch?after=7": {"", 7}, "/v1/tenants/acme/watch?after=7": {"acme", 7}, "/v1/tenants/acme/watch": {"acme", 0}} {
		var lines []api.WatchLine
		var end error
		for line, err := range c.Watch(t.Context(), watch.tenant, watch.after) {
			if err != nil {
				end = err
				break
			}
			lines = append(lines, line)
		}
		if asked != want {
			t.Errorf("asked %s, want %s", asked, want)
		}
		if len(lines) != 2 || lines[0].Revision != 7 || lines[0].Changes != nil || len(lines[1].Changes) != 1 || lines[1].Changes[0].Name != large {
			t.Errorf("%s: %d lines", want, len(lines))
		}
		if dove.KindOf(end) != dove.NotFound || end.Error() != "list again" {
			t.Errorf("%s: ends with %v", want, end)
		}
	}
}
