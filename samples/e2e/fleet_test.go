package e2e

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	sdkworkflow "go.temporal.io/sdk/workflow"

	"github.com/slipstream-go/slipstream/activity"
	"github.com/slipstream-go/slipstream/plugin"
)

// echoOnce makes one call.
func echoOnce(ctx sdkworkflow.Context, s string) (string, error) {
	err := sdkworkflow.ExecuteActivity(withOptions(ctx), "Echo", s).Get(ctx, &s)
	return s, err
}

// join starts another worker on the bed's task queue, as a process of its own would be.
func (b *bed) join(identity string, plugins ...client.Plugin) {
	b.t.Helper()
	c, err := client.DialContext(b.t.Context(), client.Options{
		HostPort: stack.Temporal(), Namespace: stack.Namespace(), Identity: identity, Plugins: plugins, Logger: quiet(),
	})
	require.NoError(b.t, err)
	b.t.Cleanup(c.Close)
	w := worker.New(c, b.taskQueue, worker.Options{})
	w.RegisterWorkflow(echoOnce)
	w.RegisterActivity((&echoes{}).Echo)
	require.NoError(b.t, w.Start())
	b.t.Cleanup(w.Stop)
}

func newPlugin(t *testing.T, o plugin.Options) *plugin.Plugin {
	t.Helper()
	o.RedisURL = stack.RedisURL()
	p, err := plugin.New(o)
	require.NoError(t, err)
	t.Cleanup(func() { _ = p.Close() })
	return p
}

// A routed run cannot go on in a worker without the plugin, so where such a worker polls,
// no run is routed: each of them ends well, wherever its workflow tasks go.
func TestMixedFleetRoutesNothing(t *testing.T) {
	b := &bed{t: t, c: dial(t), taskQueue: freshTaskQueue(t)}
	b.join("without the plugin")
	require.Eventually(t, func() bool {
		d, err := b.c.DescribeTaskQueue(t.Context(), b.taskQueue, enumspb.TASK_QUEUE_TYPE_WORKFLOW)
		return err == nil && len(d.GetPollers()) > 0
	}, time.Minute, 10*time.Millisecond, "its first poll")
	b.join("with the plugin", newPlugin(t, plugin.Options{Marks: []activity.Mark{{Activity: "Echo"}}}))
	for range 20 {
		run := b.start(echoOnce, "a")
		var got string
		require.NoError(t, run.Get(t.Context(), &got))
		require.Equal(t, "echo a", got)
		require.Equal(t, 1, b.events(run, enumspb.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED))
		require.Zero(t, b.events(run, enumspb.EVENT_TYPE_WORKFLOW_TASK_FAILED))
	}
}

// The way to roll out: a worker that has the plugin disabled can go on with routed runs.
func TestFleetWithDisabledPluginsIsRouted(t *testing.T) {
	b := &bed{t: t, c: dial(t), taskQueue: freshTaskQueue(t)}
	marks := []activity.Mark{{Activity: "Echo"}}
	b.join("disabled", newPlugin(t, plugin.Options{Marks: marks, Disabled: true}))
	b.join("enabled", newPlugin(t, plugin.Options{Marks: marks}))
	for routed := 0; routed == 0; { // which worker a run begins in is the server's choice
		run := b.start(echoOnce, "a")
		require.NoError(t, run.Get(t.Context(), nil))
		require.Zero(t, b.events(run, enumspb.EVENT_TYPE_WORKFLOW_TASK_FAILED))
		if b.events(run, enumspb.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED) == 0 {
			routed++
		}
	}
}
