package workflow_test

import (
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

// releases are the configurations that a run may meet in its life: marks come and go
// between releases, and the plugin is switched off. None of them changes a history that
// is there.
var releases = map[string]workflow.Config{
	"marks A":   {Enabled: yes, Marks: map[string]string{"Echo": ""}},
	"marks A,B": {Enabled: yes, Marks: map[string]string{"Echo": "", "Other": "slow"}},
	"marks B":   {Enabled: yes, Marks: map[string]string{"Other": "", "Unmarked": ""}},
	"no marks":  {Enabled: yes},
	"disabled":  {Enabled: func() bool { return false }, Marks: map[string]string{"Echo": ""}},
}

func yes() bool { return true }

func replayer(t *testing.T, config workflow.Config) worker.WorkflowReplayer {
	t.Helper()
	r, err := worker.NewWorkflowReplayerWithOptions(worker.WorkflowReplayerOptions{
		Interceptors: []interceptor.WorkerInterceptor{&routing{Interceptor: workflow.NewInterceptor(config)}},
	})
	require.NoError(t, err)
	for name, f := range scenarios {
		r.RegisterWorkflowWithOptions(f, sdkworkflow.RegisterOptions{Name: name})
	}
	return r
}

func history(t *testing.T, file string) *historypb.History {
	t.Helper()
	f, err := os.Open(file)
	require.NoError(t, err)
	defer f.Close()
	h, err := client.HistoryFromJSON(f, client.HistoryJSONOptions{})
	require.NoError(t, err)
	return h
}

// Every prefix of every history in testdata replays under every release.
func TestReplay(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.json")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	logger := log.NewStructuredLogger(discard())
	for _, file := range files {
		for name, config := range releases {
			t.Run(strings.TrimSuffix(filepath.Base(file), ".json")+"/"+name, func(t *testing.T) {
				t.Parallel()
				r, h := replayer(t, config), history(t, file)
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
		r, err := worker.NewWorkflowReplayerWithOptions(worker.WorkflowReplayerOptions{
			Interceptors: []interceptor.WorkerInterceptor{&routing{Interceptor: workflow.NewInterceptor(releases["marks A,B"])}},
		})
		require.NoError(t, err)
		r.RegisterWorkflowWithOptions(changed, sdkworkflow.RegisterOptions{Name: "Pipeline"})
		err = r.ReplayWorkflowHistory(log.NewStructuredLogger(discard()), history(t, "testdata/pipeline.json"))
		require.ErrorContains(t, err, "[Slipstream] non-determinism", name)
		require.ErrorContains(t, err, "1 calls from number 1 on (1 x Echo)", name)
		require.ErrorContains(t, err, map[string]string{
			"type": "1 calls from number 1 on (1 x Other)", "count": "2 calls from number 1 on (2 x Echo)",
		}[name])
	}
}
