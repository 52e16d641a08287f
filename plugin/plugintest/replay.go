package plugintest

import (
	"testing"

	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/sdk/worker"

	"github.com/slipstream-go/slipstream/plugin"
)

// RequireReplays replays a history as the workers of several releases would, and ends
// the test where one of them finds other commands in it: with these marks, with none,
// and with the plugin disabled. Which calls of a run are routed is recorded in its
// history, so no release may make a difference; a failure here is a change of the
// workflow code.
//
// options are those of the replayer (converter, other plugins), register registers the
// workflows.
func RequireReplays(t testing.TB, h *historypb.History, options worker.WorkflowReplayerOptions, register func(worker.WorkflowReplayer), marks ...plugin.Mark) {
	t.Helper()
	for _, release := range []struct {
		name string
		plugin.Options
	}{
		{"with these marks", plugin.Options{Marks: marks}},
		{"without marks", plugin.Options{}},
		{"disabled", plugin.Options{Marks: marks, Disabled: true}},
	} {
		o := options
		o.Plugins = append([]worker.Plugin{New(t, release.Options)}, options.Plugins...)
		replayer, err := worker.NewWorkflowReplayerWithOptions(o)
		if err != nil {
			t.Fatalf("replay %s: %v", release.name, err)
		}
		register(replayer)
		if err := replayer.ReplayWorkflowHistory(nil, h); err != nil {
			t.Fatalf("replay %s: %v", release.name, err)
		}
	}
}
