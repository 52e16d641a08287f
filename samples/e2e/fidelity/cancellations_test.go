package fidelity

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"
)

// canceling plays a call that is canceled by a signal while the handler runs. The handler heartbeats until its context
// ends, because plain activities hear of it in no other way, and then ends as end says.
func canceling(waitForCancellation bool, end func(ctx context.Context) (string, error)) func(p *play) {
	return func(p *play) {
		running := make(chan struct{})
		p.activity("Act", func(ctx context.Context) (string, error) {
			if activity.GetInfo(ctx).Attempt == 1 {
				close(running)
			}
			p.seen.note("attempt", activity.GetInfo(ctx).Attempt)
			beatUntilDone(ctx)
			p.seen.note("context", cause(ctx))
			return end(ctx)
		})
		p.workflow(func(ctx workflow.Context, see *notes) error {
			callCtx, cancel := workflow.WithCancel(withOptions(ctx, workflow.ActivityOptions{
				HeartbeatTimeout: 10 * time.Second, WaitForCancellation: waitForCancellation, RetryPolicy: quickly(3),
			}))
			call := workflow.ExecuteActivity(callCtx, "Act")
			workflow.GetSignalChannel(ctx, "cancel").Receive(ctx, nil)
			see.note("ready", call.IsReady())
			cancel()
			err := noteResult[string](ctx, see, "call", call)
			see.note("is ErrCanceled", errors.Is(err, workflow.ErrCanceled))
			see.note("workflow context", ctx.Err())
			if !waitForCancellation {
				// Let the handler hear of it: a workflow that has ended is another reason.
				workflow.GetSignalChannel(ctx, "heard").Receive(ctx, nil)
			}
			return nil
		})
		p.start()
		p.receive("the handler", running)
		p.signal("cancel", nil)
		if !waitForCancellation {
			p.await("the handler's end", func() bool { return p.seen.has("context") && p.handlers.Load() == 0 })
			p.signal("heard", nil)
		}
	}
}

// cancelQueued plays a call that is canceled while it waits for the only permit.
func cancelQueued(waitForCancellation bool) func(p *play) {
	return func(p *play) {
		p.workerOptions.MaxConcurrentActivityExecutionSize = 1
		running := make(chan struct{})
		p.activity("First", func(ctx context.Context) error {
			close(running)
			select {
			case <-p.over:
			case <-ctx.Done():
			}
			return nil
		})
		p.activity("Act", func(context.Context) (string, error) { p.seen.note("started", true); return "started", nil })
		p.workflow(func(ctx workflow.Context, see *notes) error {
			_ = workflow.ExecuteActivity(attempts(ctx, 1), "First")
			signals := workflow.GetSignalChannel(ctx, "go on")
			signals.Receive(ctx, nil)
			callCtx, cancel := workflow.WithCancel(withOptions(ctx, workflow.ActivityOptions{WaitForCancellation: waitForCancellation}))
			call := workflow.ExecuteActivity(callCtx, "Act")
			// In a workflow task of its own, so that the call has been scheduled.
			_ = workflow.Sleep(ctx, 50*ms)
			cancel()
			_ = noteResult[string](ctx, see, "call", call)
			// The request must be on its way before the workflow has ended and the permit is free.
			signals.Receive(ctx, nil)
			return nil
		})
		p.start()
		p.receive("the first handler", running)
		p.signal("go on", nil)
		p.await("the call's end", func() bool { return p.noted("call") })
		p.signal("go on", nil)
	}
}

// cancelBetweenAttempts plays a call that is canceled while it waits for its next attempt.
func cancelBetweenAttempts(waitForCancellation bool, o workflow.ActivityOptions) func(p *play) {
	return func(p *play) {
		p.activity("Act", func(ctx context.Context) (string, error) {
			p.seen.note("attempt", activity.GetInfo(ctx).Attempt)
			activity.RecordHeartbeat(ctx, "half a word")
			return "", errors.New("no luck")
		})
		p.workflow(func(ctx workflow.Context, see *notes) error {
			o.WaitForCancellation = waitForCancellation
			o.RetryPolicy = &temporal.RetryPolicy{InitialInterval: time.Hour}
			callCtx, cancel := workflow.WithCancel(withOptions(ctx, o))
			call := workflow.ExecuteActivity(callCtx, "Act")
			workflow.GetSignalChannel(ctx, "cancel").Receive(ctx, nil)
			cancel()
			_ = noteResult[string](ctx, see, "call", call)
			return nil
		})
		p.start()
		p.await("the first attempt", func() bool { return p.seen.has("attempt") && p.handlers.Load() == 0 })
		p.awaitBackoff()
		p.signal("cancel", nil)
	}
}

// endsLater: the SDK has no way to hear of a context's end but in a coroutine.
const endsLater = "A call that does not wait for its cancellation ends when the workflow next yields. " +
	"Plain, it has ended when cancel returns, and a Selector takes it rather than the end of its context."

var cancelScenarios = []scenario{
	{
		name: "context canceled before the call", sendsNothing: true,
		play: func(p *play) {
			p.activity("Act", func(context.Context) error { return nil })
			p.workflow(func(ctx workflow.Context, see *notes) error {
				callCtx, cancel := workflow.WithCancel(attempts(ctx, 1))
				cancel()
				call := workflow.ExecuteActivity(callCtx, "Act")
				see.note("ready", call.IsReady())
				_ = noteResult[any](ctx, see, "call", call)
				return nil
			})
		},
	},
	{
		name: "canceled in the workflow task that made the call", sendsNothing: true,
		play: func(p *play) {
			p.activity("Act", func(context.Context) error { return nil })
			p.workflow(func(ctx workflow.Context, see *notes) error {
				for _, wait := range []bool{false, true} {
					callCtx, cancel := workflow.WithCancel(withOptions(ctx, workflow.ActivityOptions{WaitForCancellation: wait}))
					call := workflow.ExecuteActivity(callCtx, "Act")
					cancel()
					if wait {
						see.note("ready", call.IsReady())
					}
					_ = noteResult[any](ctx, see, fmt.Sprintf("call, waiting: %v", wait), call)
				}
				return nil
			})
		},
	},
	{
		name: "ready within the cancel",
		play: func(p *play) {
			p.activity("Act", func(context.Context) error { <-p.over; return nil })
			p.workflow(func(ctx workflow.Context, see *notes) error {
				callCtx, cancel := workflow.WithCancel(attempts(ctx, 1))
				call := workflow.ExecuteActivity(callCtx, "Act")
				_ = workflow.Sleep(ctx, 50*ms)
				cancel()
				see.note("ready before the workflow yields", call.IsReady())
				_ = noteResult[any](ctx, see, "call", call)
				return nil
			})
		},
		differs: map[string]string{"ready before the workflow yields": endsLater},
	},
	{
		name: "selector on a call and the end of its context", play: selectCanceled(false),
		differs: map[string]string{"selected": endsLater, "ready": endsLater},
	},
	{
		name: "selector on the end of a context and a call", play: selectCanceled(true),
		differs: map[string]string{"selected": endsLater, "ready": endsLater},
	},
	{
		name: "who canceled a call that never started", sendsNothing: true,
		play: func(p *play) {
			p.activity("Act", func(context.Context) error { return nil })
			p.workflow(func(ctx workflow.Context, see *notes) error {
				callCtx, cancel := workflow.WithCancel(withOptions(ctx, workflow.ActivityOptions{WaitForCancellation: true}))
				cancel()
				var failed *temporal.ActivityError
				if !errors.As(workflow.ExecuteActivity(callCtx, "Act").Get(ctx, nil), &failed) {
					return errors.New("not an activity error")
				}
				see.note("identity", failed.Identity())
				return nil
			})
		},
		differs: map[string]string{"identity": "The error of a call that was canceled before it started names no worker."},
	},
	{name: "queued", play: cancelQueued(false)},
	{name: "queued, waiting for the cancellation", play: cancelQueued(true)},
	{name: "between two attempts", play: cancelBetweenAttempts(false, workflow.ActivityOptions{})},
	{name: "between two attempts, waiting for the cancellation", play: cancelBetweenAttempts(true, workflow.ActivityOptions{})},
	{
		name: "running, the handler returns the context's error",
		play: canceling(false, func(ctx context.Context) (string, error) { return "", ctx.Err() }),
	},
	{
		name: "running and waited for, the handler returns the context's error",
		play: canceling(true, func(ctx context.Context) (string, error) { return "", ctx.Err() }),
	},
	{
		name: "running and waited for, the handler returns the cause",
		play: canceling(true, func(ctx context.Context) (string, error) { return "", context.Cause(ctx) }),
	},
	{
		name: "running and waited for, the handler returns a canceled error with details",
		play: canceling(true, func(context.Context) (string, error) {
			return "", temporal.NewCanceledError("half", progress{1, "palabra"})
		}),
	},
	{
		name: "running and waited for, the handler wraps a canceled error",
		play: canceling(true, func(context.Context) (string, error) {
			return "", fmt.Errorf("given up: %w", temporal.NewCanceledError("half"))
		}),
	},
	{
		name: "running and waited for, the handler wraps the context's error",
		play: canceling(true, func(ctx context.Context) (string, error) { return "", fmt.Errorf("given up: %w", ctx.Err()) }),
	},
	{
		name: "running and waited for, the handler returns a result all the same",
		play: canceling(true, func(context.Context) (string, error) { return "done anyway", nil }),
	},
	{
		name: "running and waited for, the handler fails",
		play: canceling(true, func(context.Context) (string, error) {
			return "", temporal.NewApplicationError("no luck", "Luck", "detail")
		}),
	},
	{
		name: "running and waited for, the handler panics",
		play: canceling(true, func(context.Context) (string, error) { panic("no luck") }),
	},
	{
		name: "running and waited for, the handler ignores it until its deadline",
		play: func(p *play) {
			running := make(chan struct{}, 3) // as many as the attempts
			p.activity("Act", func(ctx context.Context) (string, error) {
				activity.RecordHeartbeat(ctx, "half")
				running <- struct{}{}
				return deaf(ctx, p, 1)
			})
			p.workflow(func(ctx workflow.Context, see *notes) error {
				callCtx, cancel := workflow.WithCancel(withOptions(ctx, workflow.ActivityOptions{
					StartToCloseTimeout: 10 * time.Second, WaitForCancellation: true, RetryPolicy: quickly(3),
				}))
				call := workflow.ExecuteActivity(callCtx, "Act")
				workflow.GetSignalChannel(ctx, "cancel").Receive(ctx, nil)
				cancel()
				_ = noteResult[string](ctx, see, "call", call)
				return nil
			})
			p.start()
			p.receive("the handler", running)
			p.signal("cancel", nil)
		},
	},
	{
		name: "a handler that never heartbeats",
		play: func(p *play) {
			running := make(chan struct{})
			p.activity("Act", func(ctx context.Context) (string, error) {
				close(running)
				select {
				case <-ctx.Done():
				case <-time.After(10 * time.Second):
				}
				p.seen.note("context", cause(ctx))
				return "", ctx.Err()
			})
			p.workflow(func(ctx workflow.Context, see *notes) error {
				callCtx, cancel := workflow.WithCancel(withOptions(ctx, workflow.ActivityOptions{WaitForCancellation: true, RetryPolicy: quickly(1)}))
				call := workflow.ExecuteActivity(callCtx, "Act")
				workflow.GetSignalChannel(ctx, "cancel").Receive(ctx, nil)
				cancel()
				_ = noteResult[string](ctx, see, "call", call)
				return nil
			})
			p.start()
			p.receive("the handler", running)
			p.signal("cancel", nil)
		},
		differs: map[string]string{
			"context": "A handler hears of its cancellation within moments, heartbeats or not.",
			"call":    "A handler hears of its cancellation within moments, heartbeats or not.",
		},
	},
	{
		name: "after the result is there",
		play: func(p *play) {
			p.activity("Act", func(context.Context) (string, error) { return "done", nil })
			p.workflow(func(ctx workflow.Context, see *notes) error {
				callCtx, cancel := workflow.WithCancel(attempts(ctx, 1))
				call := workflow.ExecuteActivity(callCtx, "Act")
				_ = noteResult[string](ctx, see, "before", call)
				cancel()
				cancel()
				see.note("ready", call.IsReady())
				_ = noteResult[string](ctx, see, "after", call)
				_ = noteResult[string](ctx, see, "next call", workflow.ExecuteActivity(callCtx, "Act"))
				return nil
			})
		},
	},
	{
		name: "one context for many calls, and one call outside of it",
		play: func(p *play) {
			p.activity("Act", func(_ context.Context, n int) (int, error) { return n, nil })
			p.activity("Slow", func(ctx context.Context) (string, error) { beatUntilDone(ctx); return "", ctx.Err() })
			p.workflow(func(ctx workflow.Context, see *notes) error {
				o := workflow.ActivityOptions{HeartbeatTimeout: 10 * time.Second, WaitForCancellation: true}
				callCtx, cancel := workflow.WithCancel(withOptions(ctx, o))
				var slow []workflow.Future
				for range 5 {
					slow = append(slow, workflow.ExecuteActivity(callCtx, "Slow"))
				}
				quick := workflow.ExecuteActivity(callCtx, "Act", 1)
				_ = noteResult[int](ctx, see, "quick", quick)
				outside := workflow.ExecuteActivity(withOptions(ctx, o), "Act", 2)
				cancel()
				_ = noteResult[int](ctx, see, "outside", outside)
				for _, call := range slow {
					see.note("slow is canceled", temporal.IsCanceledError(call.Get(ctx, nil)))
				}
				return nil
			})
		},
	},
}

// selectCanceled plays a workflow that is canceled while it waits for a call and for the end of its context.
func selectCanceled(contextFirst bool) func(p *play) {
	return func(p *play) {
		p.activity("Act", func(context.Context) error { <-p.over; return nil })
		p.workflow(func(ctx workflow.Context, see *notes) error {
			call := workflow.ExecuteActivity(attempts(ctx, 1), "Act")
			selector := workflow.NewSelector(ctx)
			onEnd := func(workflow.ReceiveChannel, bool) { see.note("selected", "the context's end") }
			if contextFirst {
				selector.AddReceive(ctx.Done(), onEnd)
			}
			selector.AddFuture(call, func(workflow.Future) { see.note("selected", "the call") })
			if !contextFirst {
				selector.AddReceive(ctx.Done(), onEnd)
			}
			selector.Select(ctx)
			see.note("ready", call.IsReady())
			return noteResult[any](ctx, see, "call", call)
		})
		p.start()
		p.awaitOpen()
		p.cancel()
	}
}
