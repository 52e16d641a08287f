package main

import (
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/metric"

	"github.com/slipstream-go/slipstream/internal/freeport"
)

// The page has a metric under the name that a collector would give it, and its address is free once it has ended.
func TestMetricsPage(t *testing.T) {
	port, err := freeport.Find(t.Context()) // nobody is given it while it is free again
	require.NoError(t, err)
	address := fmt.Sprint("127.0.0.1:", port)
	telemetry, err := newTelemetry(t.Context(), config{metrics: address})
	require.NoError(t, err)
	require.Nil(t, telemetry.traces)
	wait, err := telemetry.metrics.Meter("test").Float64Histogram("slipstream.task.wait", metric.WithUnit("s"))
	require.NoError(t, err)
	wait.Record(t.Context(), 2)

	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, telemetry.page.url, http.NoBody)
	require.NoError(t, err)
	response, err := client.Do(request)
	require.NoError(t, err)
	page, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Contains(t, string(page), "\nslipstream_task_wait_seconds_sum 2\n")

	_, err = newTelemetry(t.Context(), config{metrics: address})
	require.ErrorContains(t, err, "-metrics "+address)
	require.NoError(t, telemetry.stop())
	again, err := newTelemetry(t.Context(), config{metrics: address})
	require.NoError(t, err)
	require.NoError(t, again.stop())
}
