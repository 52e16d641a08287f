package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// report is what this test reads of the JSON that translate writes.
type report struct {
	Runs []struct {
		Mode      string
		Sentences int
		Steps     int
		History   struct {
			ActivitiesScheduled int `json:"activities_scheduled"`
		}
		Failed int `json:"failed_sentences"`
		Lost   int `json:"lost_sentences"`
	}
	Compared int `json:"compared_sentences"`
	Problems []string
}

func TestTranslateGivesEqualOutputsInBothModes(t *testing.T) {
	r := translate(t, "-mode", "both", "-n", "400", "-standard-n", "200", "-per-workflow", "50", "-latency", "20ms", "-workers", "2", "-concurrency", "100")
	require.Len(t, r.Runs, 2)
	standard, slipstream := r.Runs[0], r.Runs[1]
	require.Equal(t, 200, standard.Sentences)
	require.Equal(t, 600, standard.History.ActivitiesScheduled)
	require.Equal(t, 400, slipstream.Sentences)
	require.Equal(t, 1200, slipstream.Steps)
	require.Zero(t, slipstream.History.ActivitiesScheduled)
	require.Equal(t, 200, r.Compared)
}

func TestTranslateOneWorkflowPerSentence(t *testing.T) {
	r := translate(t, "-mode", "slipstream", "-n", "100", "-per-workflow", "1", "-latency", "0s")
	require.Len(t, r.Runs, 1)
	require.Equal(t, 300, r.Runs[0].Steps)
}

func TestTranslateInProcessesOfItsOwn(t *testing.T) {
	taskQueue := freshTaskQueue(t)
	worker := exec.Command(build(t, "translate", false), "-role", "worker", "-task-queue", taskQueue, "-latency", "1ms",
		"-temporal", stack.Temporal(), "-namespace", stack.Namespace(), "-redis", stack.RedisURL())
	worker.Stderr = t.Output()
	require.NoError(t, worker.Start())
	t.Cleanup(func() { _ = worker.Process.Kill(); _ = worker.Wait() })

	awaitAnnounced(t, stack.RedisURL(), taskQueue+"-slipstream")
	r := translate(t, "-role", "starter", "-n", "100", "-task-queue", taskQueue)
	require.Equal(t, 300, r.Runs[0].Steps)
	require.Zero(t, r.Runs[0].History.ActivitiesScheduled)

	require.NoError(t, worker.Process.Signal(os.Interrupt))
	require.NoError(t, worker.Wait(), "an interrupted worker has done its job")
}

// The first sentence meets a translator that is busy once, so that there is an attempt that links to the one before. Whether
// outcomes come in time for their window is a matter of luck.
func TestTranslatePrintsATrace(t *testing.T) {
	var asked atomic.Int64
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/models", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("POST /v1/messages", func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		_, _ = io.WriteString(w, `{"stop_reason":"end_turn","content":[{"type":"text","text":"Un gato."}]}`)
	})
	api := httptest.NewServer(mux)
	t.Cleanup(api.Close)
	taskQueue := freshTaskQueue(t)
	cmd := exec.CommandContext(t.Context(), build(t, "translate", false), "-trace", "-translator", "anthropic", "-anthropic-base-url", api.URL, "-anthropic-key", "key",
		"-task-queue", taskQueue, "-temporal", stack.Temporal(), "-namespace", stack.Namespace(), "-redis", stack.RedisURL())
	cmd.Stderr = t.Output()
	out, err := cmd.Output()
	require.NoError(t, err, "%s", out)

	_, tree, found := strings.Cut(string(out), "\nTrace ")
	require.True(t, found, "%s", out)
	tree, _, _ = strings.Cut(tree, "\n\n")
	for pattern, mask := range map[string]string{
		`^[0-9a-f]{32}\n`: "", `\s\+[0-9.]+ms [0-9.]+ms`: "", regexp.QuoteMeta(taskQueue + "-slipstream"): "Q", `=(signal|window)`: "=WAY",
	} {
		tree = regexp.MustCompile(pattern).ReplaceAllString(tree, mask)
	}
	step := func(name string) []string {
		return []string{
			"    StartActivity:" + name + " [client]",
			"      enqueue Q slipstream.activity.type=" + name + " [producer]",
			"        process Q slipstream.activity.type=" + name + " slipstream.attempt=1 [consumer]",
			"          RunActivity:" + name + " [server]",
			"          deliver Q slipstream.delivery.way=WAY [client]",
		}
	}
	const busy = "failed: anthropic: 503 Service Unavailable:  (type: AnthropicBusy, retryable: true)"
	require.Equal(t, slices.Concat([]string{
		"StartWorkflow:Translate [client]",
		"  RunWorkflow:Translate [server]",
		"    StartActivity:TranslateToSpanish [client]",
		"      enqueue Q slipstream.activity.type=TranslateToSpanish [producer]",
		"        process Q slipstream.activity.type=TranslateToSpanish slipstream.attempt=1 " + busy + " [consumer]",
		"          RunActivity:TranslateToSpanish " + busy + " [server]",
		"        process Q slipstream.activity.type=TranslateToSpanish slipstream.attempt=2 [consumer]" +
			" -> process Q slipstream.activity.type=TranslateToSpanish slipstream.attempt=1",
		"          RunActivity:TranslateToSpanish [server]",
		"          deliver Q slipstream.delivery.way=WAY [client]",
	}, step("TranslateToEnglish"), step("CountLetters")), strings.Split(tree, "\n"))
}

func TestTranslateStopsWhenInterrupted(t *testing.T) {
	taskQueue := freshTaskQueue(t)
	cmd := exec.Command(build(t, "translate", false), "-mode", "standard", "-n", "200", "-latency", "5m", "-task-queue", taskQueue,
		"-temporal", stack.Temporal(), "-namespace", stack.Namespace())
	stderr, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill() })

	lines := bufio.NewScanner(stderr)
	for lines.Scan() && !strings.HasPrefix(lines.Text(), "standard:") { // its first sign of progress
	}
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	var last string
	for lines.Scan() {
		last = lines.Text()
	}
	var exit *exec.ExitError
	require.ErrorAs(t, cmd.Wait(), &exit)
	require.Equal(t, 130, exit.ExitCode())
	require.Contains(t, last, "interrupted")
}

// translate runs the command on the shared stack, which must succeed, and returns its report.
func translate(t *testing.T, args ...string) report {
	t.Helper()
	file := filepath.Join(t.TempDir(), "report.json")
	args = append([]string{"-task-queue", freshTaskQueue(t)}, args...)
	args = append(args, "-json", file,
		"-temporal", stack.Temporal(), "-namespace", stack.Namespace(), "-redis", stack.RedisURL())
	// Less than the time-out of the whole run, whose report would not show what the command printed.
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, build(t, "translate", false), args...).CombinedOutput()
	require.NoError(t, err, "%s", out)
	t.Logf("%s", out)

	raw, err := os.ReadFile(file)
	require.NoError(t, err)
	var r report
	require.NoError(t, json.Unmarshal(raw, &r))
	require.Empty(t, r.Problems)
	for _, run := range r.Runs {
		require.Zero(t, run.Failed+run.Lost, run.Mode)
	}
	return r
}
