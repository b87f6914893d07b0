package api

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"dove.network/blueprint"
)

// The schema is what the package says it is, and asks for no token.
func TestBlueprintSchema(t *testing.T) {
	w := httptest.NewRecorder()
	New(Config{Version: "1"}).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/schemas/blueprint/v1", nil))
	if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "application/schema+json" {
		t.Errorf("status %d, type %q", w.Code, w.Header().Get("Content-Type"))
	}
	if w.Body.String() != string(blueprint.Schema()) {
		t.Errorf("another text: %.200s", w.Body)
	}
}
