package api

import (
	"embed"
	"net/http"
)

// pages is the documentation: one page that renders the OpenAPI document in the
// reader's browser. It loads nothing from elsewhere.
//
//go:embed docs
var pages embed.FS

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
	mux.Handle("GET /{$}", http.RedirectHandler("/docs", http.StatusFound))
}
