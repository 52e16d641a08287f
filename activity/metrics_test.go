package activity

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"
)

// The table of docs/telemetry.md is what the code makes: names, kinds, units and meanings.
func TestMetricsAreThoseOfTheDocumentation(t *testing.T) {
	provider := &recordingProvider{}
	newMetrics(Telemetry{MeterProvider: provider}.withDefaults(), "namespace")
	page, err := os.ReadFile("../docs/telemetry.md")
	require.NoError(t, err)
	_, section, _ := strings.Cut(string(page), "\n## Metrics\n")
	var documented []instrument
	for line := range strings.Lines(section) {
		cells := strings.Split(strings.TrimSpace(line), " | ")
		if len(cells) != 5 || !strings.HasPrefix(cells[0], "| `slipstream.") {
			continue
		}
		documented = append(documented, instrument{
			name: strings.Trim(cells[0], "|` "), kind: cells[1], unit: strings.Trim(cells[2], "`"), meaning: strings.TrimSuffix(cells[4], " |"),
		})
	}
	require.ElementsMatch(t, provider.made, documented)
}

// instrument is one row of the table.
type instrument struct{ name, kind, unit, meaning string }

// recordingProvider notes which instruments are made.
type recordingProvider struct {
	noop.MeterProvider
	made []instrument
}

func (p *recordingProvider) Meter(string, ...metric.MeterOption) metric.Meter {
	return &recordingMeter{provider: p}
}

type recordingMeter struct {
	noop.Meter
	provider *recordingProvider
}

func (m *recordingMeter) add(name, kind, unit, meaning string) {
	m.provider.made = append(m.provider.made, instrument{name, kind, unit, meaning})
}

func (m *recordingMeter) Int64Counter(name string, options ...metric.Int64CounterOption) (metric.Int64Counter, error) {
	c := metric.NewInt64CounterConfig(options...)
	m.add(name, "counter", c.Unit(), c.Description())
	return m.Meter.Int64Counter(name, options...)
}

func (m *recordingMeter) Float64Histogram(name string, options ...metric.Float64HistogramOption) (metric.Float64Histogram, error) {
	c := metric.NewFloat64HistogramConfig(options...)
	m.add(name, "histogram", c.Unit(), c.Description())
	return m.Meter.Float64Histogram(name, options...)
}

func (m *recordingMeter) Int64Histogram(name string, options ...metric.Int64HistogramOption) (metric.Int64Histogram, error) {
	c := metric.NewInt64HistogramConfig(options...)
	m.add(name, "histogram", c.Unit(), c.Description())
	return m.Meter.Int64Histogram(name, options...)
}

func (m *recordingMeter) Int64ObservableUpDownCounter(name string, options ...metric.Int64ObservableUpDownCounterOption) (metric.Int64ObservableUpDownCounter, error) {
	c := metric.NewInt64ObservableUpDownCounterConfig(options...)
	m.add(name, "level", c.Unit(), c.Description())
	return m.Meter.Int64ObservableUpDownCounter(name, options...)
}

func (m *recordingMeter) Float64ObservableGauge(name string, options ...metric.Float64ObservableGaugeOption) (metric.Float64ObservableGauge, error) {
	c := metric.NewFloat64ObservableGaugeConfig(options...)
	m.add(name, "gauge", c.Unit(), c.Description())
	return m.Meter.Float64ObservableGauge(name, options...)
}

func (m *recordingMeter) Int64ObservableGauge(name string, options ...metric.Int64ObservableGaugeOption) (metric.Int64ObservableGauge, error) {
	c := metric.NewInt64ObservableGaugeConfig(options...)
	m.add(name, "gauge", c.Unit(), c.Description())
	return m.Meter.Int64ObservableGauge(name, options...)
}
