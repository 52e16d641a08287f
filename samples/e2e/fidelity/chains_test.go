package fidelity

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/slipstream-go/slipstream/samples/e2e/tenant"
	slipflow "github.com/slipstream-go/slipstream/workflow"
)

// Chain knows nothing of modes: without the plugin its steps are plain activities, with it they are one call. So what
// is compared is the chain as one call with plain activities one after the other.

// chained plays a chain of three whose second step has the options and does what attempt says.
func chained(o workflow.ActivityOptions, attempt func(ctx context.Context, p *play, n int32) (string, error)) func(p *play) {
	return func(p *play) {
		p.activity("First", func(_ context.Context, s string) (string, error) { return s + " first", nil })
		p.activity("Act", func(ctx context.Context, s string) (string, error) {
			p.seen.note("argument", s)
			return attempt(ctx, p, activity.GetInfo(ctx).Attempt)
		})
		p.activity("Last", func(_ context.Context, s string) (string, error) { return s + " last", nil })
		p.workflow(func(ctx workflow.Context, see *notes) error {
			ctx = attempts(ctx, 1)
			own := workflow.GetActivityOptions(withOptions(ctx, o))
			_ = noteResult[string](ctx, see, "chain", slipflow.Chain(ctx, "go", slipflow.Step{Activity: "First"},
				slipflow.Step{Activity: "Act", Options: &own}, slipflow.Step{Activity: "Last"}))
			return nil
		})
	}
}

// cancelChain plays a chain that is canceled while its second step runs, which then does what end says.
func cancelChain(waitForCancellation bool, end func(ctx context.Context) (string, error)) func(p *play) {
	return func(p *play) {
		running := make(chan struct{})
		p.activity("First", func(context.Context) (string, error) { return "first", nil })
		p.activity("Act", func(ctx context.Context, _ string) (string, error) {
			close(running)
			beatUntilDone(ctx)
			p.seen.note("context", cause(ctx))
			return end(ctx)
		})
		p.activity("Last", func(_ context.Context, s string) (string, error) {
			p.seen.note("last step", "started")
			return s, nil
		})
		p.workflow(func(ctx workflow.Context, see *notes) error {
			callCtx, cancel := workflow.WithCancel(withOptions(ctx, workflow.ActivityOptions{
				HeartbeatTimeout: 10 * time.Second, WaitForCancellation: waitForCancellation, RetryPolicy: quickly(3),
			}))
			chain := slipflow.Chain(callCtx, nil, slipflow.Step{Activity: "First"}, slipflow.Step{Activity: "Act"}, slipflow.Step{Activity: "Last"})
			signals := workflow.GetSignalChannel(ctx, "go on")
			signals.Receive(ctx, nil)
			cancel()
			err := noteResult[string](ctx, see, "chain", chain)
			see.note("is canceled", temporal.IsCanceledError(err))
			signals.Receive(ctx, nil)
			return nil
		})
		p.start()
		p.receive("the second step", running)
		p.signal("go on", nil)
		p.await("the handler's end", func() bool { return p.seen.has("context") && p.handlers.Load() == 0 })
		p.signal("go on", nil)
	}
}

var chainScenarios = []scenario{
	{
		name: "results pass from step to step",
		play: func(p *play) {
			p.activity("Nothing", func(context.Context) error { return nil })
			p.activity("Struct", func(_ context.Context, n *progress) (progress, error) {
				p.seen.note("the result of nothing", n)
				return progress{7, "palabra"}, nil
			})
			p.activity("Bytes", func(_ context.Context, q progress) ([]byte, error) { return []byte(q.Word), nil })
			p.activity("Map", func(_ context.Context, b []byte) (map[string]int, error) {
				return map[string]int{string(b): len(b)}, nil
			})
			p.activity("Nil", func(_ context.Context, m map[string]int) (*progress, error) {
				p.seen.note("map", m)
				return nil, nil
			})
			p.activity("Pointer", func(_ context.Context, q *progress) (string, error) { return fmt.Sprint(q == nil), nil })
			p.workflow(func(ctx workflow.Context, see *notes) error {
				ctx = attempts(ctx, 1)
				var results []slipflow.Result
				names := []string{"Struct", "Bytes", "Map", "Nil", "Pointer"}
				var steps []slipflow.Step
				for _, name := range names {
					steps = append(steps, slipflow.Step{Activity: name})
				}
				_ = noteResult[string](ctx, see, "chain", slipflow.Chain(ctx, progress{1, "input"}, steps...))
				err := slipflow.ChainResults(ctx, progress{1, "input"}, steps...).Get(ctx, &results)
				see.note("results", err)
				for i, r := range results {
					var value any
					see.note(names[i], r.Get(ctx, &value))
					see.note(names[i], value)
				}
				_ = noteResult[any](ctx, see, "a chain of one", slipflow.Chain(ctx, "", slipflow.Step{Activity: "Nothing"}))
				_ = noteResult[any](ctx, see, "nothing for a step that wants something",
					slipflow.Chain(ctx, "", slipflow.Step{Activity: "Nothing"}, slipflow.Step{Activity: "Struct"}))
				_ = noteResult[any](ctx, see, "something else than the step wants",
					slipflow.Chain(ctx, []byte("x"), slipflow.Step{Activity: "Map"}, slipflow.Step{Activity: "Bytes"}, slipflow.Step{Activity: "Nil"}))
				return nil
			})
		},
	},
	{
		name: "info of a step",
		play: func(p *play) {
			p.activity("First", func(_ context.Context, runID string) (string, error) { return runID, nil })
			p.activity("Act", func(ctx context.Context, runID string) error {
				noteInfo(ctx, p.seen, runID)
				return nil
			})
			p.workflow(func(ctx workflow.Context, see *notes) error {
				runID := workflow.GetInfo(ctx).WorkflowExecution.RunID
				for _, o := range []workflow.ActivityOptions{
					{StartToCloseTimeout: time.Minute},
					{
						ActivityID: "chosen", ScheduleToCloseTimeout: 10 * time.Minute, ScheduleToStartTimeout: 9 * time.Minute,
						StartToCloseTimeout: 8 * time.Minute, HeartbeatTimeout: 7 * time.Minute,
						RetryPolicy: &temporal.RetryPolicy{InitialInterval: 3 * time.Second, MaximumAttempts: 17, NonRetryableErrorTypes: []string{"Fatal"}},
					},
				} {
					_ = noteResult[any](ctx, see, "chain", slipflow.Chain(attempts(ctx, 1), runID,
						slipflow.Step{Activity: "First"}, slipflow.Step{Activity: "Act", Options: &o}))
				}
				return nil
			})
		},
	},
	{name: "a step succeeds in the third attempt", play: chained(workflow.ActivityOptions{RetryPolicy: quickly(5)}, failUntil(3))},
	{name: "a step fails for good", play: chained(workflow.ActivityOptions{RetryPolicy: quickly(2)}, failUntil(0))},
	{name: "a step with MaximumAttempts 1", play: chained(workflow.ActivityOptions{RetryPolicy: quickly(1)}, failUntil(0))},
	{
		name: "a step whose policy does not retry the error",
		play: chained(workflow.ActivityOptions{RetryPolicy: policy(5, "Luck")}, func(context.Context, *play, int32) (string, error) {
			return "", temporal.NewApplicationError("no luck", "Luck", "detail")
		}),
	},
	{
		name: "a step that panics",
		play: chained(workflow.ActivityOptions{RetryPolicy: quickly(1)}, func(context.Context, *play, int32) (string, error) { panic("no luck") }),
	},
	{name: "StartToClose of a step", play: chained(workflow.ActivityOptions{StartToCloseTimeout: 150 * ms, RetryPolicy: quickly(2)}, hang)},
	{name: "StartToClose of a step with a deaf handler", play: chained(workflow.ActivityOptions{StartToCloseTimeout: 150 * ms, RetryPolicy: quickly(1)}, deaf)},
	{
		name: "ScheduleToClose of a step",
		play: chained(workflow.ActivityOptions{StartToCloseTimeout: time.Minute, ScheduleToCloseTimeout: 5 * time.Second, RetryPolicy: quickly(3)}, hang),
	},
	{
		name: "heartbeat time-out of a step, with details",
		play: chained(workflow.ActivityOptions{HeartbeatTimeout: 2 * time.Second, RetryPolicy: quickly(2)}, func(ctx context.Context, p *play, n int32) (string, error) {
			noteDetails(ctx, p, n)
			activity.RecordHeartbeat(ctx, progress{int(n), "palabra"})
			return deaf(ctx, p, n)
		}),
	},
	{
		name: "details of a failed attempt reach the step's next, and no other step",
		play: chained(workflow.ActivityOptions{HeartbeatTimeout: time.Minute, RetryPolicy: quickly(3)},
			leaving(3, func(ctx context.Context, n int32) { activity.RecordHeartbeat(ctx, progress{int(n), "palabra"}) })),
	},
	{name: "a chain is canceled, its step says so", play: cancelChain(true, func(ctx context.Context) (string, error) { return "", ctx.Err() })},
	{
		name: "a chain is canceled, its step says so with details",
		play: cancelChain(true, func(context.Context) (string, error) { return "", temporal.NewCanceledError("half a word") }),
	},
	{name: "a chain is canceled, its step completes", play: cancelChain(true, func(context.Context) (string, error) { return "done", nil })},
	{name: "a chain is canceled, its step fails", play: cancelChain(true, func(context.Context) (string, error) { return "", errors.New("no luck") })},
	{name: "a chain is canceled that does not wait", play: cancelChain(false, func(ctx context.Context) (string, error) { return "", ctx.Err() })},
	{
		name: "a propagator that insists on its header in each step",
		play: func(p *play) {
			p.pluginOptions.Window = -1
			p.clientOptions.ContextPropagators = []workflow.ContextPropagator{tenant.Propagator{}}
			p.ctx = context.WithValue(p.ctx, tenant.Key{}, "acme")
			p.activity("Act", func(ctx context.Context, s string) (string, error) {
				return fmt.Sprint(s, ctx.Value(tenant.Key{}), ","), nil
			})
			p.workflow(func(ctx workflow.Context, see *notes) error {
				ctx = attempts(ctx, 1)
				other := workflow.WithValue(ctx, tenant.Key{}, "other")
				step := slipflow.Step{Activity: "Act"}
				one, two := slipflow.Chain(ctx, "", step, step, step), slipflow.Chain(other, "", step, step, step)
				_ = noteResult[string](ctx, see, "side by side", one)
				_ = noteResult[string](ctx, see, "side by side", two)
				return nil
			})
		},
	},
	{
		name: "a codec",
		play: func(p *play) {
			p.clientOptions.DataConverter = converter.NewCodecDataConverter(converter.GetDefaultDataConverter(), newEncryption())
			chained(workflow.ActivityOptions{RetryPolicy: quickly(2)}, failUntil(2))(p)
		},
	},
	{
		name: "a converter that is bound to its context",
		play: func(p *play) {
			dc, _ := newSpy()
			dc.binds = true
			p.clientOptions.DataConverter = dc
			p.clientOptions.ContextPropagators = []workflow.ContextPropagator{tenant.Propagator{}}
			p.ctx = context.WithValue(p.ctx, tenant.Key{}, "acme")
			chained(workflow.ActivityOptions{RetryPolicy: quickly(2)}, failUntil(2))(p)
		},
	},
	{
		name: "a payload converter of one's own for a chain",
		play: func(p *play) {
			p.clientOptions.DataConverter = converter.NewCompositeDataConverter(converter.NewNilPayloadConverter(), gobs{})
			chained(workflow.ActivityOptions{RetryPolicy: quickly(2)}, failUntil(2))(p)
		},
	},
	{
		name: "a result that is too large for the next step",
		play: func(p *play) {
			p.activity("Large", func(context.Context, string) ([]byte, error) { return make([]byte, 3<<20), nil })
			p.activity("Last", func(_ context.Context, b []byte) (int, error) { return len(b), nil })
			p.workflow(func(ctx workflow.Context, see *notes) error {
				ctx = attempts(ctx, 1)
				_ = noteResult[int](ctx, see, "chain", slipflow.Chain(ctx, "", slipflow.Step{Activity: "Large"}, slipflow.Step{Activity: "Last"}))
				return nil
			})
		},
	},
	{
		name: "a hundred chains at once",
		play: func(p *play) {
			p.activity("Act", func(_ context.Context, n int) (int, error) {
				if n == 33 {
					return 0, temporal.NewNonRetryableApplicationError("no luck", "Luck", nil)
				}
				return n + 1, nil
			})
			p.workflow(func(ctx workflow.Context, see *notes) error {
				ctx = attempts(ctx, 1)
				var futures []workflow.Future
				for i := range 100 {
					futures = append(futures, slipflow.Chain(ctx, i, slipflow.Step{Activity: "Act"}, slipflow.Step{Activity: "Act"}, slipflow.Step{Activity: "Act"}))
				}
				return slipflow.OnComplete(ctx, see, futures, func(ctx workflow.Context, see *notes, results []slipflow.Result) error {
					for _, r := range results {
						var n int
						see.note("error", r.Get(ctx, &n))
						see.note("result", n)
					}
					return nil
				}).Get(ctx, nil)
			})
		},
	},
}
