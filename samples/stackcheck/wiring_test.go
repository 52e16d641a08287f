package stackcheck

import (
	"net"
	"net/url"
	"os"
	"path/filepath"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// readYAML decodes a file of docker/.
func readYAML(t *testing.T, file string, into any) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(docker, file))
	require.NoError(t, err)
	require.NoError(t, yaml.Unmarshal(raw, into), file)
}

// collectorConfig is what these tests read of the collector's configuration.
type collectorConfig struct {
	Receivers map[string]struct {
		Protocols map[string]struct{ Endpoint string }
	}
	Processors map[string]any
	Exporters  map[string]struct {
		Endpoint            string
		TranslationStrategy string `yaml:"translation_strategy"`
	}
	Service struct {
		Pipelines map[string]struct{ Receivers, Processors, Exporters []string }
	}
}

// prometheusConfig is what these tests read of Prometheus' configuration.
type prometheusConfig struct {
	RuleFiles     []string `yaml:"rule_files"`
	ScrapeConfigs []struct {
		JobName       string                       `yaml:"job_name"`
		HonorLabels   bool                         `yaml:"honor_labels"`
		StaticConfigs []struct{ Targets []string } `yaml:"static_configs"`
	} `yaml:"scrape_configs"`
}

func (p prometheusConfig) targets() map[string]string {
	targets := map[string]string{}
	for _, job := range p.ScrapeConfigs {
		for _, static := range job.StaticConfigs {
			for _, target := range static.Targets {
				targets[job.JobName] = target
			}
		}
	}
	return targets
}

// Spans and metrics find their way: from the port that workers send to, to Jaeger and to Prometheus, and from there to
// Grafana.
func TestTelemetryIsWired(t *testing.T) {
	services := loadCompose(t).Services
	var collector collectorConfig
	readYAML(t, "collector/config.yaml", &collector)
	var prometheus prometheusConfig
	readYAML(t, "prometheus/prometheus.yaml", &prometheus)

	require.Equal(t, "0.0.0.0:4317", collector.Receivers["otlp"].Protocols["grpc"].Endpoint)
	require.Contains(t, services["translate-worker"].Command, "-otlp=otel-collector:4317")
	for signal, exporter := range map[string]string{"traces": "otlp_grpc/jaeger", "metrics": "prometheus"} {
		pipeline := collector.Service.Pipelines[signal]
		require.Equal(t, []string{"otlp"}, pipeline.Receivers)
		require.Equal(t, []string{exporter}, pipeline.Exporters)
		for _, processor := range pipeline.Processors {
			require.Contains(t, collector.Processors, processor)
		}
		require.Contains(t, collector.Exporters, exporter)
	}
	requireService(t, services, collector.Exporters["otlp_grpc/jaeger"].Endpoint)

	_, served, err := net.SplitHostPort(collector.Exporters["prometheus"].Endpoint)
	require.NoError(t, err)
	require.Equal(t, map[string]string{"slipstream": "otel-collector:" + served, "redis": "redis-exporter:9121"}, prometheus.targets())
	require.True(t, prometheus.ScrapeConfigs[0].HonorLabels, "the workers' instances are lost")
	require.Equal(t, "UnderscoreEscapingWithSuffixes", collector.Exporters["prometheus"].TranslationStrategy, "as in samples/translate -metrics")

	var sources struct {
		Datasources []struct{ UID, Type, URL string }
	}
	readYAML(t, "grafana/provisioning/datasources/datasources.yaml", &sources)
	require.Len(t, sources.Datasources, 2)
	for _, source := range sources.Datasources {
		u, err := url.Parse(source.URL)
		require.NoError(t, err)
		require.Equal(t, source.Type, u.Hostname())
		requireService(t, services, u.Host)
	}
}

// requireService wants the host of an address to be a service. If it is published, its port must be the address's.
func requireService(t *testing.T, services types.Services, address string) {
	t.Helper()
	host, _, err := net.SplitHostPort(address)
	require.NoError(t, err)
	require.Contains(t, services, host)
}

// What a configuration names by the path it has in its container is mounted there.
func TestConfigurationsAreMounted(t *testing.T) {
	services := loadCompose(t).Services
	var prometheus prometheusConfig
	readYAML(t, "prometheus/prometheus.yaml", &prometheus)
	var dashboards struct {
		Providers []struct{ Options struct{ Path string } }
	}
	readYAML(t, "grafana/provisioning/dashboards/dashboards.yaml", &dashboards)
	require.Len(t, dashboards.Providers, 1)

	for service, paths := range map[string][]string{
		"otel-collector": {"/etc/otelcol/config.yaml"},
		"prometheus":     append(prometheus.RuleFiles, "/etc/prometheus/prometheus.yaml"),
		"grafana":        {"/etc/grafana/provisioning", dashboards.Providers[0].Options.Path},
		"temporal":       {"/etc/temporal/config/dynamicconfig/docker.yaml"},
	} {
		mounts := map[string]string{}
		for _, volume := range services[service].Volumes {
			mounts[volume.Target] = volume.Source
		}
		for _, path := range paths {
			require.Contains(t, mounts, path, service)
		}
	}
	home := *services["grafana"].Environment["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
	require.Equal(t, dashboards.Providers[0].Options.Path, filepath.Dir(home))
	require.FileExists(t, filepath.Join(docker, "grafana/dashboards", filepath.Base(home)))
}
