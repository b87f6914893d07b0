package api

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

// What a watch tells first may come later than the server waits for whole answers.
func TestFirstLineMayBeLate(t *testing.T) {
	const timeout = 100 * time.Millisecond
	for protocol, newer := range map[string]bool{"HTTP/1.1": false, "HTTP/2.0": true} {
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			late := func(yield func(int) bool) {
				select {
				case <-time.After(3 * timeout):
					yield(7)
				case <-r.Context().Done():
				}
			}
			lines(late, nil).Body(humago.NewContext(&huma.Operation{}, r, w))
		}))
		server.Config.WriteTimeout = timeout
		server.EnableHTTP2 = newer
		server.StartTLS()
		t.Cleanup(server.Close)
		answer, err := server.Client().Get(server.URL)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(answer.Body)
		if answer.Body.Close(); err != nil || string(text) != "7\n" || answer.Proto != protocol {
			t.Errorf("%s: heard %q by %s, %v", protocol, text, answer.Proto, err)
		}
	}
}
