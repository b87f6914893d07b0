package daemon

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"dove.network/dove"
)

// Health is what a program says of itself. Both are asked from any goroutine
// and must answer when ctx is done; nil is yes.
type Health struct {
	Alive func(context.Context) error // it works: to start it anew would not help
	Ready func(context.Context) error // it does what it is for
}

// Limits of what is served.
const (
	answerWithin = 2 * time.Second  // a question about health
	scrapeWithin = 10 * time.Second // all metrics
	scrapesMax   = 4                // at once
	stopWithin   = time.Second      // requests when the program stops
)

// Register adds /healthz and /readyz: 200 for yes, 503 with the reason for no.
func (h Health) Register(mux *http.ServeMux) {
	for path, ask := range map[string]func(context.Context) error{"GET /healthz": h.Alive, "GET /readyz": h.Ready} {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", "no-store")
			if err := within(r.Context(), answerWithin, ask); err != nil {
				http.Error(w, err.Error(), http.StatusServiceUnavailable)
				return
			}
			_, _ = io.WriteString(w, "ok\n") // fails only if nobody listens
		})
	}
}

// Handler serves /healthz, /readyz and /metrics. What could be collected is
// answered even if some of it could not, which is logged.
func (h Health) Handler(metrics prometheus.Gatherer, log *slog.Logger) http.Handler {
	mux := http.NewServeMux()
	h.Register(mux)
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{
		ErrorLog:            slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		ErrorHandling:       promhttp.ContinueOnError,
		MaxRequestsInFlight: scrapesMax,
		Timeout:             scrapeWithin,
	}))
	return mux
}

// Serve answers requests in the clear until ctx is done, and then returns nil.
// It closes the listener; with none it only waits.
func Serve(ctx context.Context, l net.Listener, h http.Handler) error {
	if l == nil {
		<-ctx.Done()
		return nil
	}
	server := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(l) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve metrics: %w", err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWithin)
	defer cancel()
	if server.Shutdown(grace) != nil {
		return server.Close()
	}
	return nil
}

// ListenFlag describes the flag that says where a program serves its metrics.
const ListenFlag = "`ADDRESS` on which to serve /metrics, /healthz and /readyz, in the clear and to anybody; none if empty"

// CheckListen says what is wrong with the value of such a flag.
func CheckListen(address string) error {
	if address == "" {
		return nil
	}
	return dove.CheckAddress(address, true)
}

// Listen opens the listener for Serve; nil if the address is empty.
func Listen(address string) (net.Listener, error) {
	if address == "" {
		return nil, nil
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen for metrics (--metrics chooses where): %w", err)
	}
	return l, nil
}
