package daemon

import (
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Facts are metrics that every program has: its version, and until when its
// certificate is valid. The prefix is dove_ and the program's name.
func Facts(prefix, version string, certificate time.Time) []prometheus.Collector {
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: prefix + "_build_info", Help: "1, labelled with what runs.",
		ConstLabels: prometheus.Labels{"version": version, "goversion": runtime.Version()},
	})
	build.Set(1)
	expiry := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: prefix + "_certificate_expiry_timestamp_seconds",
		Help: "Until when the certificate that this program shows is valid.",
	})
	expiry.Set(float64(certificate.Unix()))
	return []prometheus.Collector{build, expiry}
}
