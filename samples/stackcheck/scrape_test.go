package stackcheck

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/oliver006/redis_exporter/exporter"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/prometheus/otlptranslator"
	"github.com/stretchr/testify/require"

	"github.com/slipstream-go/slipstream/samples/devstack"
)

// Each metric that the dashboard and the alerts ask for exists in a scrape: of the sample's worker, run with the
// arguments that it has in the compose file, or of the exporter for Redis. So do the labels that they select and group by.
func TestEveryMetricExists(t *testing.T) {
	stack := startStack(t)
	program := buildWorker(t)
	taskQueue := "stackcheck-" + uuid.NewString()
	services := loadCompose(t).Services
	local := func(service string, more ...string) []string {
		return append(localArguments(t, stack, append(services[service].Entrypoint, services[service].Command...)), append(more, "-task-queue="+taskQueue)...)
	}

	url := startWorker(t, program, local("translate-worker", "-metrics=127.0.0.1:0"))
	out, err := exec.CommandContext(t.Context(), program, local("translate-starter", "-n=40", "-per-workflow=20")...).CombinedOutput()
	require.NoError(t, err, "%s", out)

	queries := append(loadDashboard(t).queries(t), alertQueries(t)...)
	require.Greater(t, len(queries), 50)
	scrapeBoth := func() map[string]series {
		there := scrape(t, url)
		maps.Copy(there, scrapeRedis(t, stack.RedisURL()))
		there["ALERTS"] = series{"alertname": true, "alertstate": true} // which Prometheus itself adds
		return there
	}
	there := scrapeBoth()
	// A page lacks the levels of pools where Redis does not answer in time; the next one has them.
	for left := 30; left > 0 && lacks(there, queries); left-- {
		<-time.After(time.Second)
		there = scrapeBoth()
	}
	requireDocumented(t, there)
	require.True(t, there["target_info"]["service_instance_id"], "a collector takes two workers for one")
	checked := map[string]bool{}
	for _, q := range queries {
		for _, u := range q.uses() {
			require.NotNil(t, there[u.metric], "%s asks for %s, which is not there: %s", q.where, u.metric, q.text)
			for _, label := range u.labels {
				require.True(t, there[u.metric][label], "%s: %s has no label %s: %s", q.where, u.metric, label, q.text)
			}
			checked[u.metric] = true
		}
	}
	t.Logf("%d metrics of %d queries are there: %s", len(checked), len(queries), strings.Join(slices.Sorted(maps.Keys(checked)), " "))
}

// lacks tells whether a metric that the queries ask for is not there.
func lacks(there map[string]series, queries []query) bool {
	return slices.ContainsFunc(queries, func(q query) bool {
		return slices.ContainsFunc(q.uses(), func(u used) bool { return there[u.metric] == nil })
	})
}

// startStack runs a Temporal server and a real Redis.
func startStack(t *testing.T) *devstack.Stack {
	t.Helper()
	_, err := exec.LookPath("redis-server")
	require.True(t, err == nil || os.Getenv("CI") != "true", "CI must test on a real Redis, and redis-server is not installed; run make setup")
	stack, err := devstack.StartProcess(t.Context(), devstack.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, stack.Stop()) })
	return stack
}

// buildWorker builds the sample as its image does, but for what would compile everything anew (-trimpath, no cgo).
func buildWorker(t *testing.T) string {
	t.Helper()
	args := loadCompose(t).Services["translate-worker"].Build.Args
	program := filepath.Join(t.TempDir(), "worker.exe")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-ldflags=-s -w", "-tags="+*args["TAGS"], "-o", program, *args["PACKAGE"])
	cmd.Dir = filepath.Dir(docker)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return program
}

// localArguments puts addresses of this machine in the place of the stack's, and leaves out what is not here.
func localArguments(t *testing.T, stack *devstack.Stack, command []string) []string {
	t.Helper()
	command = slices.DeleteFunc(slices.Clone(command), func(arg string) bool { return arg == "/worker" || strings.HasPrefix(arg, "-otlp=") })
	replaced := strings.NewReplacer("temporal:7233", stack.Temporal(), "redis://redis:6379", stack.RedisURL())
	for i, arg := range command {
		command[i] = replaced.Replace(arg)
	}
	require.NotContains(t, strings.Join(command, " "), ":7233")
	return append(command, "-namespace="+stack.Namespace())
}

// startWorker runs the worker until the test ends, and returns where its metrics are.
func startWorker(t *testing.T, program string, args []string) string {
	t.Helper()
	cmd := exec.Command(program, args...)
	stderr, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	urls, ended := make(chan string, 1), make(chan struct{})
	var said []string
	go func() {
		defer close(ended)
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			said = append(said, lines.Text())
			if url, ok := strings.CutPrefix(lines.Text(), "Metrics: "); ok {
				urls <- url
			}
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		<-ended
		require.NoError(t, cmd.Wait(), "%s", strings.Join(said, "\n"))
	})
	select {
	case url := <-urls:
		return url
	case <-ended:
		require.Fail(t, "the worker ended", "%s", strings.Join(said, "\n"))
	case <-time.After(time.Minute):
		require.Fail(t, "the worker does not say where its metrics are")
	}
	return ""
}

// series are the labels that the series of a metric have.
type series map[string]bool

// scrape reads a page of metrics as Prometheus does. The metrics of a histogram are its three.
func scrape(t *testing.T, url string) map[string]series {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	require.NoError(t, err)
	// Prometheus 3 takes any name, so that one who asks like it sees a name that only an old one would be spared.
	request.Header.Set("Accept", "text/plain;version=1.0.0;escaping=allow-utf-8")
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer func() { require.NoError(t, response.Body.Close()) }()
	page, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, response.StatusCode, "%s", page)
	if file := os.Getenv("SLIPSTREAM_SCRAPE"); file != "" { // to read it
		require.NoError(t, os.WriteFile(file, page, 0o600))
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(string(page)))
	require.NoError(t, err)
	return seriesOf(slices.Collect(maps.Values(families)))
}

// scrapeRedis is a scrape of the exporter that the stack has for its Redis.
func scrapeRedis(t *testing.T, redisURL string) map[string]series {
	t.Helper()
	e, err := exporter.NewRedisExporter(redisURL, exporter.Options{Namespace: "redis", ConfigCommandName: "CONFIG"})
	require.NoError(t, err)
	registry := prometheus.NewRegistry()
	require.NoError(t, registry.Register(e))
	families, err := registry.Gather()
	require.NoError(t, err)
	return seriesOf(families)
}

func seriesOf(families []*dto.MetricFamily) map[string]series {
	all := map[string]series{}
	for _, family := range families {
		labels := series{"job": true, "instance": true} // which Prometheus gives to all that it scrapes
		for _, metric := range family.GetMetric() {
			for _, label := range metric.GetLabel() {
				labels[label.GetName()] = true
			}
		}
		if family.GetType() != dto.MetricType_HISTOGRAM {
			all[family.GetName()] = labels
			continue
		}
		all[family.GetName()+"_sum"], all[family.GetName()+"_count"] = labels, labels
		buckets := maps.Clone(labels)
		buckets["le"] = true
		all[family.GetName()+"_bucket"] = buckets
	}
	return all
}

// requireDocumented wants the names of Slipstream's metrics to be those that a collector would give to the metrics of
// docs/telemetry.md: it has the same translator.
func requireDocumented(t *testing.T, there map[string]series) {
	t.Helper()
	page, err := os.ReadFile(filepath.Join(docker, "../docs/telemetry.md"))
	require.NoError(t, err)
	namer := otlptranslator.MetricNamer{WithMetricSuffixes: true}
	kinds := map[string]otlptranslator.MetricType{
		"counter": otlptranslator.MetricTypeMonotonicCounter, "level": otlptranslator.MetricTypeNonMonotonicCounter,
		"gauge": otlptranslator.MetricTypeGauge, "histogram": otlptranslator.MetricTypeHistogram,
	}
	_, section, _ := strings.Cut(string(page), "\n## Metrics\n")
	documented := map[string]bool{}
	for line := range strings.Lines(section) {
		cells := strings.Split(line, "|")
		if len(cells) < 5 || !strings.HasPrefix(line, "| `slipstream.") {
			continue
		}
		cell := func(i int) string { return strings.Trim(cells[i], " `") }
		kind, ok := kinds[cell(2)]
		require.True(t, ok, line)
		name, err := namer.Build(otlptranslator.Metric{Name: cell(1), Unit: cell(3), Type: kind})
		require.NoError(t, err)
		documented[name] = true
		if kind == otlptranslator.MetricTypeHistogram {
			for _, part := range []string{"bucket", "sum", "count"} {
				documented[fmt.Sprintf("%s_%s", name, part)] = true
			}
		}
	}
	require.NotEmpty(t, documented)
	for name, labels := range there {
		if strings.HasPrefix(name, "slipstream_") {
			require.True(t, labels["slipstream_namespace"], "%s has no namespace", name)
			require.True(t, documented[name], "%s is not what docs/telemetry.md leads one to expect", name)
		}
	}
}
