package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/otlptranslator"
	exporter "go.opentelemetry.io/otel/exporters/prometheus"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
)

// metricsPage serves metrics for Prometheus.
type metricsPage struct {
	reader sdkmetric.Reader
	url    string
	server *http.Server
	served chan error
}

// serveMetrics serves at http://address/metrics what the page's reader collects, until stop; ctx is for the start.
// The names are those that the Prometheus exporter of a collector gives, which translates them by the same rules: a
// dashboard fits both.
func serveMetrics(ctx context.Context, address string) (*metricsPage, error) {
	registry := prometheus.NewRegistry()
	reader, err := exporter.New(exporter.WithRegisterer(registry), exporter.WithoutScopeInfo(),
		exporter.WithTranslationStrategy(otlptranslator.UnderscoreEscapingWithSuffixes))
	if err != nil {
		return nil, fmt.Errorf("-metrics %s: %w", address, err)
	}
	var listen net.ListenConfig
	listener, err := listen.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("-metrics %s: %w", address, err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	p := &metricsPage{
		reader: reader,
		url:    fmt.Sprintf("http://%s/metrics", listener.Addr()),
		server: &http.Server{Addr: listener.Addr().String(), Handler: mux, ReadHeaderTimeout: 5 * time.Second},
		served: make(chan error, 1),
	}
	go func() { p.served <- p.server.Serve(listener) }()
	return p, nil
}

// stop ends the page and waits until it has ended.
func (p *metricsPage) stop(ctx context.Context) error {
	err := p.server.Shutdown(ctx)
	if served := <-p.served; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}
