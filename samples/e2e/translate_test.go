package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
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

	r := translate(t, "-role", "starter", "-n", "100", "-task-queue", taskQueue)
	require.Equal(t, 300, r.Runs[0].Steps)
	require.Zero(t, r.Runs[0].History.ActivitiesScheduled)

	require.NoError(t, worker.Process.Signal(os.Interrupt))
	require.NoError(t, worker.Wait(), "an interrupted worker has done its job")
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
