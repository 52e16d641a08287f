package fidelity

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"
)

// What becomes of calls as runs go on, end and follow each other, and what a run shows of itself.
var runScenarios = []scenario{
	{
		name: "child workflows with calls",
		play: func(p *play) {
			p.echo()
			p.child("Child", func(ctx workflow.Context, s string) (string, error) {
				var out string
				err := workflow.ExecuteActivity(attempts(ctx, 1), "Echo", s).Get(ctx, &out)
				return out, err
			})
			p.workflow(func(ctx workflow.Context, see *notes) error {
				var children []workflow.Future
				for i := range 3 {
					children = append(children, workflow.ExecuteChildWorkflow(ctx, "Child", fmt.Sprint("child ", i)))
				}
				_ = noteResult[string](ctx, see, "own call", workflow.ExecuteActivity(attempts(ctx, 1), "Echo", "own"))
				for _, child := range children {
					_ = noteResult[string](ctx, see, "child", child)
				}
				return nil
			})
		},
	},
	{
		name: "child workflow that fails with its call's error",
		play: func(p *play) {
			p.activity("Act", func(context.Context) error { return temporal.NewApplicationError("no luck", "Luck", "detail") })
			p.child("Child", func(ctx workflow.Context) error {
				return workflow.ExecuteActivity(attempts(ctx, 2), "Act").Get(ctx, nil)
			})
			p.workflow(func(ctx workflow.Context, see *notes) error {
				child := workflow.ExecuteChildWorkflow(ctx, "Child")
				err := child.Get(ctx, nil)
				see.note("child", errors.Unwrap(err))
				return err
			})
		},
	},
	{
		name: "continue as new",
		play: func(p *play) {
			p.echo()
			p.workflow(func(ctx workflow.Context, see *notes) error {
				if err := noteResult[string](ctx, see, "call", workflow.ExecuteActivity(attempts(ctx, 1), "Echo", "a")); err != nil {
					return err
				}
				if workflow.GetInfo(ctx).ContinuedExecutionRunID != "" {
					return nil
				}
				return workflow.NewContinueAsNewError(ctx, workflowType)
			})
		},
	},
	{
		name: "continue as new with an open call",
		play: func(p *play) {
			p.echo()
			release := p.held()
			defer release("a")
			p.workflow(func(ctx workflow.Context, see *notes) error {
				ctx = attempts(ctx, 1)
				if workflow.GetInfo(ctx).ContinuedExecutionRunID != "" {
					return noteResult[string](ctx, see, "call", workflow.ExecuteActivity(ctx, "Echo", "second run"))
				}
				open := workflow.ExecuteActivity(ctx, "Held", "a")
				workflow.GetSignalChannel(ctx, "go on").Receive(ctx, nil)
				see.note("ready", open.IsReady())
				return workflow.NewContinueAsNewError(ctx, workflowType)
			})
			p.start()
			p.awaitOpen()
			p.signal("go on", nil)
			p.finish()
		},
	},
	{
		name: "workflow that is retried after its call failed",
		play: func(p *play) {
			p.startOptions.RetryPolicy = quickly(3)
			p.activity("Act", func(_ context.Context, attempt int32) (int32, error) {
				if attempt < 3 {
					return 0, errors.New("no luck")
				}
				return attempt, nil
			})
			p.workflow(func(ctx workflow.Context, see *notes) error {
				return noteResult[int](ctx, see, "call", workflow.ExecuteActivity(attempts(ctx, 1), "Act", workflow.GetInfo(ctx).Attempt))
			})
		},
	},
	{
		name: "workflow task that fails once with open calls",
		play: func(p *play) {
			release := p.held()
			failed := false // of the process, not of the workflow: the second try finds it set
			p.workflow(func(ctx workflow.Context, see *notes) error {
				call := workflow.ExecuteActivity(attempts(ctx, 1), "Held", "a")
				workflow.GetSignalChannel(ctx, "go on").Receive(ctx, nil)
				if !failed {
					failed = true
					panic("a bug that is mended meanwhile")
				}
				return noteResult[string](ctx, see, "call", call)
			})
			p.start()
			p.awaitOpen()
			p.signal("go on", nil)
			release("a")
		},
	},
	{
		name: "deferred clean-up after a failure",
		play: func(p *play) {
			p.echo()
			p.activity("Act", func(context.Context) error { return errors.New("no luck") })
			p.workflow(func(ctx workflow.Context, see *notes) error {
				defer func() {
					apart, _ := workflow.NewDisconnectedContext(ctx)
					_ = noteResult[string](apart, see, "clean-up", workflow.ExecuteActivity(attempts(apart, 1), "Echo", "clean"))
				}()
				return noteResult[any](ctx, see, "call", workflow.ExecuteActivity(attempts(ctx, 1), "Act"))
			})
		},
	},
	{
		name: "saga: compensations in reverse order",
		play: func(p *play) {
			p.activity("Do", func(_ context.Context, step int) error {
				p.seen.note("step", step)
				if step == 3 {
					return temporal.NewNonRetryableApplicationError("step 3 fails", "Step", nil)
				}
				return nil
			})
			p.activity("Undo", func(_ context.Context, step int) error { p.seen.note("undone", step); return nil })
			p.workflow(func(ctx workflow.Context, see *notes) (err error) {
				ctx = attempts(ctx, 1)
				for step := range 5 {
					if err := workflow.ExecuteActivity(ctx, "Do", step).Get(ctx, nil); err != nil {
						see.note("failed", step)
						return err
					}
					defer func() {
						if err != nil {
							_ = workflow.ExecuteActivity(ctx, "Undo", step).Get(ctx, nil)
						}
					}()
				}
				return nil
			})
		},
	},
	{
		name: "the same activity ID twice at a time",
		play: func(p *play) {
			p.echo()
			p.workflow(func(ctx workflow.Context, see *notes) error {
				ctx = withOptions(ctx, workflow.ActivityOptions{ActivityID: "mine"})
				_ = noteResult[string](ctx, see, "first", workflow.ExecuteActivity(ctx, "Echo", "a"))
				return noteResult[string](ctx, see, "second", workflow.ExecuteActivity(ctx, "Echo", "b"))
			})
		},
	},
	{
		name: "workflow with a start delay",
		play: func(p *play) {
			p.echo()
			p.workflow(func(ctx workflow.Context, see *notes) error {
				see.note("started", true)
				return noteResult[string](ctx, see, "call", workflow.ExecuteActivity(attempts(ctx, 1), "Echo", "a"))
			})
			p.startOptions.StartDelay = 100 * ms
		},
	},
	{
		name: "signals that nobody handled",
		play: func(p *play) {
			p.pluginOptions.Window = -1 // results come as signals
			p.echo()
			p.workflow(func(ctx workflow.Context, see *notes) error {
				_ = noteResult[string](ctx, see, "call", workflow.ExecuteActivity(attempts(ctx, 1), "Echo", "a"))
				see.note("unhandled", workflow.GetUnhandledSignalNames(ctx))
				return nil
			})
		},
	},
	{
		name: "search attributes of the run",
		play: func(p *play) {
			p.echo()
			p.workflow(func(ctx workflow.Context, see *notes) error {
				_ = noteResult[string](ctx, see, "call", workflow.ExecuteActivity(attempts(ctx, 1), "Echo", "a"))
				see.note("search attributes", workflow.GetTypedSearchAttributes(ctx).Size())
				return nil
			})
		},
	},
	{
		name: "stack trace query",
		play: func(p *play) {
			release := p.held()
			p.workflow(func(ctx workflow.Context, see *notes) error {
				return noteResult[string](ctx, see, "call", workflow.ExecuteActivity(attempts(ctx, 1), "Held", "a"))
			})
			p.start()
			p.awaitOpen()
			answer, err := p.c.QueryWorkflow(p.ctx, p.workflowID, "", client.QueryTypeStackTrace)
			require.NoError(p.t, err)
			var stacks string
			require.NoError(p.t, answer.Get(&stacks))
			p.seen.note("coroutines", strings.Count(stacks, "coroutine "))
			p.seen.note("the workflow's own is there", strings.Contains(stacks, "noteResult"))
			release("a")
		},
		differs: map[string]string{"coroutines": "The stack trace query shows Slipstream's coroutines too."},
	},
	{
		name: "worker stops in order and another one takes over",
		play: func(p *play) {
			p.workerOptions.WorkerStopTimeout, p.pluginOptions.DrainTimeout = 3*time.Second, 3*time.Second
			running := make(chan struct{}, 2)
			p.activity("Act", func(ctx context.Context, first bool) (int32, error) {
				if !first || p.seen.has("context") {
					return activity.GetInfo(ctx).Attempt, nil
				}
				running <- struct{}{}
				<-activity.GetWorkerStopChannel(ctx)
				p.seen.note("heard of the stop", ctx.Err())
				<-ctx.Done()
				p.seen.note("context", cause(ctx))
				return 0, ctx.Err()
			})
			p.workflow(func(ctx workflow.Context, see *notes) error {
				ctx = withOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: 15 * time.Second, RetryPolicy: quickly(3)})
				_ = noteResult[int32](ctx, see, "attempt of the call", workflow.ExecuteActivity(ctx, "Act", true))
				return noteResult[int32](ctx, see, "attempt of the next call", workflow.ExecuteActivity(ctx, "Act", false))
			})
			p.start()
			p.receive("the handler", running)
			p.stopWorker()
			p.startWorker()
		},
		differs: map[string]string{"attempt of the call": "A worker that stops in order gives its calls back, and no attempt is lost. Plain, the attempt has failed."},
	},
}
