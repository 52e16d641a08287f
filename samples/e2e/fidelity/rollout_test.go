package fidelity

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/slipstream-go/slipstream/plugin"
	"github.com/slipstream-go/slipstream/plugin/plugintest"
)

// release is what a worker is deployed with. Plainly, all releases are the same.
type release struct {
	without  bool // the plugin
	disabled bool
	marks    []plugin.Mark
}

func marks(names ...string) []plugin.Mark {
	var all []plugin.Mark
	for _, name := range names {
		all = append(all, plugin.Mark{Activity: name})
	}
	return all
}

// deploy stops the worker, if there is one, and starts that of the release, with a client of its own.
func (p *play) deploy(r release) {
	p.t.Helper()
	p.stopWorker()
	p.c = nil
	p.clientOptions.Plugins = nil
	p.pluginOptions.Marks, p.pluginOptions.Disabled, p.withoutPlugin = r.marks, r.disabled, r.without
	p.startWorker()
}

// rollout plays one run through releases. In each of them it makes a call of A, B and C, and one of Open that stays open
// until the next release is there. In the end its history is replayed. plainly is how many activities of which types are scheduled in the routed mode.
func rollout(plainly map[string]int, releases ...release) func(p *play) {
	return func(p *play) {
		p.workerOptions.WorkerStopTimeout, p.pluginOptions.DrainTimeout = 200*ms, 200*ms
		p.pluginOptions.Lease = time.Second // a pool that no mark names any more waits for two of them
		for _, name := range []string{"A", "B"} {
			p.activity(name, func(_ context.Context, n int) (string, error) { return fmt.Sprint(name, n), nil })
		}
		p.register(func(r worker.Registry) {
			r.RegisterDynamicActivity(func(ctx context.Context, args converter.EncodedValues) (string, error) {
				var n int
				err := args.Get(&n)
				return fmt.Sprint(activity.GetInfo(ctx).ActivityType.Name, n), err
			}, activity.DynamicRegisterOptions{})
		})
		gates := make([]chan struct{}, len(releases))
		for i := range gates {
			gates[i] = make(chan struct{})
		}
		p.activity("Open", func(ctx context.Context, n int) (string, error) {
			select {
			case <-gates[n]:
				return fmt.Sprint("open ", n), nil
			case <-ctx.Done(): // its worker stops
				return "", ctx.Err()
			}
		})
		p.workflow(func(ctx workflow.Context, see *notes) error {
			ctx = withOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: 20 * time.Second, RetryPolicy: quickly(20)})
			for n := range releases {
				open := workflow.ExecuteActivity(ctx, "Open", n)
				a, b, c := workflow.ExecuteActivity(ctx, "A", n), workflow.ExecuteActivity(ctx, "B", n), workflow.ExecuteActivity(ctx, "C", n)
				_ = noteResult[string](ctx, see, "A", a)
				_ = noteResult[string](ctx, see, "B", b)
				_ = noteResult[string](ctx, see, "C", c)
				workflow.GetSignalChannel(ctx, "deployed").Receive(ctx, nil)
				_ = noteResult[string](ctx, see, "open", open)
			}
			return nil
		})
		for n, r := range releases {
			p.deploy(r)
			if n == 0 {
				p.run = p.execute()
			} else {
				p.signal("deployed", nil)
				close(gates[n-1])
			}
			p.await("the calls of the release", func() bool { return p.count("C") == n+1 })
		}
		p.signal("deployed", nil)
		close(gates[len(gates)-1])
		p.finish()
		if p.mode == routed {
			require.Equal(p.t, plainly, p.scheduledTypes())
		}
		p.replay()
	}
}

// replay replays the run as workers of other releases would that have the plugin: with each of these marks, with none,
// and disabled. The notes of the workflow are those of the last replay then.
func (p *play) replay() {
	p.t.Helper()
	h := &historypb.History{Events: p.history(p.run.GetID(), p.run.GetRunID())}
	register := func(replayer worker.WorkflowReplayer) {
		for _, register := range p.registrations {
			register(workflowsOnly{replayer: replayer})
		}
	}
	for _, m := range [][]plugin.Mark{everything, marks("A"), {{Activity: "B", Pool: "another"}}} {
		plugintest.RequireReplays(p.t, h, worker.WorkflowReplayerOptions{DisableDeadlockDetection: true}, register, m...)
	}
}

// workflowsOnly registers a play's workflows with a replayer, which has no activities.
type workflowsOnly struct {
	worker.Registry
	replayer worker.WorkflowReplayer
}

func (w workflowsOnly) RegisterWorkflowWithOptions(f any, o workflow.RegisterOptions) {
	w.replayer.RegisterWorkflowWithOptions(f, o)
}

func (workflowsOnly) RegisterActivityWithOptions(any, activity.RegisterOptions) {}

func (workflowsOnly) RegisterDynamicActivity(any, activity.DynamicRegisterOptions) {}

// scheduledTypes counts the activities of the current run by type.
func (p *play) scheduledTypes() map[string]int {
	counts := map[string]int{}
	for _, e := range p.history(p.run.GetID(), p.run.GetRunID()) {
		if a := e.GetActivityTaskScheduledEventAttributes(); a != nil {
			counts[a.GetActivityType().GetName()]++
		}
	}
	return counts
}

var everything = marks("A", "B", "C", "Open")

var rolloutScenarios = []scenario{
	{
		name: "marks are added under a running workflow", partlyRouted: true,
		play: rollout(map[string]int{"B": 2, "C": 2}, release{marks: marks("A", "Open")}, release{marks: everything}),
	},
	{
		name: "marks are removed under a running workflow",
		play: rollout(map[string]int{}, release{marks: everything}, release{marks: marks("A")}, release{marks: everything}),
	},
	{
		name: "all marks are removed under a running workflow",
		play: rollout(map[string]int{}, release{marks: everything}, release{}, release{marks: everything}),
	},
	{
		name: "a mark with a pool of its own is removed under a running workflow",
		play: rollout(map[string]int{}, release{marks: append(marks("A", "C", "Open"), plugin.Mark{Activity: "B", Pool: "slow"})}, release{marks: marks("A")}),
	},
	{
		name: "a mark moves to another pool under a running workflow",
		play: rollout(map[string]int{}, release{marks: append(marks("A", "C", "Open"), plugin.Mark{Activity: "B", Pool: "slow"})}, release{marks: append(marks("A", "C", "Open"), plugin.Mark{Activity: "B", Pool: "fast"})}),
	},
	{
		name: "the plugin is disabled under a running workflow, and enabled again",
		play: rollout(map[string]int{}, release{marks: everything}, release{marks: everything, disabled: true}, release{marks: everything}),
	},
	{
		name: "a run from before the plugin: disabled first, then enabled", staysPlain: true,
		play: rollout(map[string]int{"A": 3, "B": 3, "C": 3, "Open": 3}, release{without: true}, release{marks: everything, disabled: true}, release{marks: everything}),
	},
	{
		name: "a run from while the plugin was disabled", staysPlain: true,
		play: rollout(map[string]int{"A": 2, "B": 2, "C": 2, "Open": 2}, release{marks: everything, disabled: true}, release{marks: everything}),
	},
	{
		name: "the plugin is taken out and comes back",
		play: func(p *play) {
			p.echo()
			p.workflow(func(ctx workflow.Context, see *notes) error {
				_ = noteResult[string](ctx, see, "call", workflow.ExecuteActivity(attempts(ctx, 1), "Echo", "a"))
				workflow.GetSignalChannel(ctx, "go on").Receive(ctx, nil)
				return noteResult[string](ctx, see, "call", workflow.ExecuteActivity(attempts(ctx, 1), "Echo", "b"))
			})
			p.deploy(release{marks: marks("Echo")})
			p.run = p.execute()
			p.await("the first call", func() bool { return p.noted("call") })
			p.lastTask()
			p.deploy(release{without: true})
			p.signal("go on", nil)
			if p.mode == routed {
				p.await("the workflow task to fail", func() bool {
					for _, e := range p.history(p.workflowID, "") {
						if e.GetEventType() == enumspb.EVENT_TYPE_WORKFLOW_TASK_FAILED {
							return true
						}
					}
					return false
				})
			}
			p.deploy(release{marks: marks("Echo")})
		},
	},
	{
		name: "some workers without the plugin", staysPlain: true,
		play: func(p *play) {
			logs := p.captureLogs()
			p.echo()
			p.workflow(func(ctx workflow.Context, see *notes) error {
				return noteResult[string](ctx, see, "call", workflow.ExecuteActivity(attempts(ctx, 1), "Echo", "a"))
			})
			o := p.clientOptions
			o.Identity = p.identity + "-old"
			old, err := client.DialContext(p.ctx, o)
			require.NoError(p.t, err)
			p.t.Cleanup(old.Close)
			p.alsoOn(old, p.taskQueue, func(r worker.Registry) {
				for _, register := range p.registrations {
					register(r)
				}
			})
			p.await("the other worker's polls", func() bool {
				d, err := old.DescribeTaskQueue(p.ctx, p.taskQueue, enumspb.TASK_QUEUE_TYPE_WORKFLOW)
				return err == nil && len(d.GetPollers()) > 0
			})
			p.start()
			p.finish()
			if p.mode == routed {
				warned := logs.matching(func(l logLine) bool {
					return strings.Contains(l.message, "without the plugin") && strings.Contains(fmt.Sprint(l.tag("Workers")), o.Identity)
				})
				require.NotEmpty(p.t, warned, "the log does not name the worker")
			}
		},
	},
}
