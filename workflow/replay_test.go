package workflow_test

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/worker"
	sdkworkflow "go.temporal.io/sdk/workflow"

	"github.com/slipstream-go/slipstream/workflow"
)

// releases are what a run may meet in its life: marks come and go between releases, the
// plugin is switched off, and while a release is rolled out the one before goes on. None of
// them changes a history that is there.
var releases = map[string]release{
	"marks A":                    {Config: workflow.Config{Enabled: yes, Marks: map[string]string{"Echo": ""}}},
	"marks A,B":                  {Config: workflow.Config{Enabled: yes, Marks: map[string]string{"Echo": "", "Other": "slow"}}},
	"marks B":                    {Config: workflow.Config{Enabled: yes, Marks: map[string]string{"Other": "", "Unmarked": ""}}},
	"no marks":                   {Config: workflow.Config{Enabled: yes}},
	"disabled":                   {Config: workflow.Config{Enabled: func() bool { return false }, Marks: map[string]string{"Echo": ""}}},
	"one protocol version older": {Config: workflow.Config{Enabled: yes, Marks: map[string]string{"Echo": ""}}, older: true},
}

func yes() bool { return true }

type release struct {
	workflow.Config
	older bool // by one version of the protocol
}

func (r release) interceptor() interceptor.WorkerInterceptor {
	if r.older {
		return &routing{Interceptor: workflow.OneProtocolOlder(r.Config)}
	}
	return &routing{Interceptor: workflow.NewInterceptor(r.Config)}
}

func (r release) replayer(t testing.TB) worker.WorkflowReplayer {
	t.Helper()
	replayer, err := worker.NewWorkflowReplayerWithOptions(worker.WorkflowReplayerOptions{
		DisableDeadlockDetection: true, // a machine that stands still for a second is no deadlock
		Interceptors:             []interceptor.WorkerInterceptor{r.interceptor()},
	})
	require.NoError(t, err)
	return replayer
}

func history(t testing.TB, file string) *historypb.History {
	t.Helper()
	f, err := os.Open(file)
	require.NoError(t, err)
	defer f.Close()
	h, err := client.HistoryFromJSON(f, client.HistoryJSONOptions{})
	require.NoError(t, err)
	return h
}

// histories are the saved ones of all releases that ever were: a run that one of them began
// may be replayed at any time. Each release has a folder of its own (those from before the
// first one are named after their protocol), and SHA256SUMS says what is in them, so that none
// is lost or recorded anew without notice; `sha256sum -c SHA256SUMS` checks the same.
const histories = "testdata/histories"

// sums reads SHA256SUMS.
func sums(t *testing.T) map[string]string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(histories, "SHA256SUMS"))
	require.NoError(t, err)
	saved := map[string]string{}
	for line := range strings.Lines(string(raw)) {
		sum, name, found := strings.Cut(strings.TrimSpace(line), "  ")
		require.True(t, found, "SHA256SUMS: %q", line)
		saved[name] = sum
	}
	return saved
}

// What was saved stays, as it was.
func TestSavedHistoriesAreKept(t *testing.T) {
	t.Parallel()
	saved := sums(t)
	require.NotEmpty(t, saved)
	for name, sum := range saved {
		raw, err := os.ReadFile(filepath.Join(histories, name))
		require.NoError(t, err, "a history of a release is replayed for ever: bring it back")
		require.Equal(t, sum, fmt.Sprintf("%x", sha256.Sum256(raw)), "%s was changed: a history shows what a release did", name)
	}
	require.NoError(t, filepath.WalkDir("testdata", func(path string, _ fs.DirEntry, err error) error {
		if err == nil && filepath.Ext(path) == ".json" {
			name, err := filepath.Rel(histories, path)
			require.NoError(t, err)
			require.Contains(t, saved, filepath.ToSlash(name), "not in SHA256SUMS: put the history into its release's folder and add it there")
		}
		return err
	}))
}

// Every prefix of every saved history replays under every release.
func TestReplay(t *testing.T) {
	t.Parallel()
	logger := log.NewStructuredLogger(discard())
	for file := range sums(t) {
		for name, release := range releases {
			t.Run(strings.TrimSuffix(file, ".json")+"/"+name, func(t *testing.T) {
				t.Parallel()
				r, h := release.replayer(t), history(t, filepath.Join(histories, file))
				for name, f := range scenarios {
					r.RegisterWorkflowWithOptions(f, sdkworkflow.RegisterOptions{Name: name})
				}
				for _, n := range prefixes(h) {
					part := &historypb.History{Events: h.GetEvents()[:n]}
					require.NoError(t, r.ReplayWorkflowHistory(logger, part), "the first %d events", n)
				}
			})
		}
	}
}

// prefixes are the lengths at which a worker may have to rebuild the run: whenever a
// workflow task has started, and the whole.
func prefixes(h *historypb.History) []int {
	var lengths []int
	for i, e := range h.GetEvents() {
		if e.GetEventType() == enumspb.EVENT_TYPE_WORKFLOW_TASK_STARTED {
			lengths = append(lengths, i+1)
		}
	}
	return append(lengths, len(h.GetEvents()))
}

// A workflow that makes other calls than its history is told so, in words that name both.
func TestReplayOfChangedCode(t *testing.T) {
	t.Parallel()
	for name, changed := range map[string]func(sdkworkflow.Context, string) (string, error){
		"type": func(ctx sdkworkflow.Context, s string) (string, error) {
			err := sdkworkflow.ExecuteActivity(options(ctx), "Other", s).Get(ctx, &s)
			return s, err
		},
		"count": func(ctx sdkworkflow.Context, s string) (string, error) {
			sdkworkflow.ExecuteActivity(options(ctx), "Echo", s)
			return pipelineWorkflow(ctx, s)
		},
	} {
		r := releases["marks A,B"].replayer(t)
		r.RegisterWorkflowWithOptions(changed, sdkworkflow.RegisterOptions{Name: "Pipeline"})
		err := r.ReplayWorkflowHistory(log.NewStructuredLogger(discard()), history(t, histories+"/protocol-1/pipeline.json"))
		require.ErrorContains(t, err, "[Slipstream] non-determinism", name)
		require.ErrorContains(t, err, "1 calls from number 1 on (1 x Echo)", name)
		require.ErrorContains(t, err, map[string]string{
			"type": "1 calls from number 1 on (1 x Other)", "count": "2 calls from number 1 on (2 x Echo)",
		}[name])
	}
}
