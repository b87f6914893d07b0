package api

import (
	"embed"
	"net/http"

	"dove.network/blueprint"
)

// pages is the documentation: one page that renders the OpenAPI document in the
// reader's browser. It loads nothing from elsewhere.
//
//go:embed docs
var pages embed.FS

// serveDocs serves what needs no token: the pages, and the blueprint's schema,
// which editors fetch.
func serveDocs(mux *http.ServeMux) {
	for path, file := range map[string]string{
		"GET /docs":         "docs/index.html",
		"GET /docs/docs.js": "docs/docs.js", "GET /docs/docs.css": "docs/docs.css",
	} {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
			http.ServeFileFS(w, r, pages, file)
		})
	}
	mux.HandleFunc("GET /schemas/blueprint/v1", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/schema+json")
		w.Write(blueprint.Schema())
	})
	mux.Handle("GET /{$}", http.RedirectHandler("/docs", http.StatusFound))
}
