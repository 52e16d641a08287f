package fidelity

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
)

// echo registers an activity that returns its argument.
func (p *play) echo() {
	p.activity("Echo", func(_ context.Context, s string) (string, error) { return "echo " + s, nil })
}

// held registers an activity that returns its argument once release(argument) was called.
func (p *play) held() (release func(s string)) {
	gates := map[string]chan struct{}{}
	gate := func(s string) chan struct{} {
		p.mu.Lock()
		defer p.mu.Unlock()
		if gates[s] == nil {
			gates[s] = make(chan struct{})
		}
		return gates[s]
	}
	p.activity("Held", func(_ context.Context, s string) (string, error) {
		select {
		case <-gate(s):
		case <-p.over:
		}
		return "held " + s, nil
	})
	return func(s string) { close(gate(s)) }
}

// fanOut plays n calls at once and notes what is wrong with their results.
func fanOut(n int) func(p *play) {
	return func(p *play) {
		p.activity("Act", func(_ context.Context, n int) (int, error) {
			if n%100 == 99 {
				return 0, temporal.NewNonRetryableApplicationError(fmt.Sprint("no ", n), "No", nil)
			}
			return 2 * n, nil
		})
		p.workflow(func(ctx workflow.Context, see *notes) error {
			ctx = withOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: 5 * time.Minute})
			calls := make([]workflow.Future, n)
			for i := range calls {
				calls[i] = workflow.ExecuteActivity(ctx, "Act", i)
			}
			sum, failed := 0, 0
			for i, call := range calls {
				var got int
				if err := call.Get(ctx, &got); err != nil {
					failed++
				} else if got != 2*i {
					see.note("wrong result", fmt.Sprint(i, got))
				}
				sum += got
			}
			see.note("sum", sum)
			see.note("failed", failed)
			return nil
		})
	}
}

var shapeScenarios = []scenario{
	{
		name: "one call after another",
		play: func(p *play) {
			p.echo()
			p.workflow(func(ctx workflow.Context, see *notes) error {
				s := "x"
				for range 10 {
					if err := workflow.ExecuteActivity(attempts(ctx, 1), "Echo", s).Get(ctx, &s); err != nil {
						return err
					}
				}
				see.note("result", s)
				return nil
			})
		},
	},
	{
		name: "selector takes calls in the order of their results",
		play: func(p *play) {
			release := p.held()
			p.workflow(func(ctx workflow.Context, see *notes) error {
				ctx = attempts(ctx, 1)
				selector := workflow.NewSelector(ctx)
				for _, s := range []string{"a", "b", "c"} {
					selector.AddFuture(workflow.ExecuteActivity(ctx, "Held", s), func(f workflow.Future) {
						_ = noteResult[string](ctx, see, "call", f)
					})
				}
				for range 3 {
					selector.Select(ctx)
					see.note("selected", "one")
				}
				return nil
			})
			p.start()
			for i, s := range []string{"b", "c", "a"} {
				release(s)
				p.await("the result of "+s, func() bool { return p.count("selected") == i+1 })
			}
		},
	},
	{
		name: "selector with a call, a timer, a signal and a default",
		play: func(p *play) {
			release := p.held()
			p.workflow(func(ctx workflow.Context, see *notes) error {
				call := workflow.ExecuteActivity(attempts(ctx, 1), "Held", "a")
				timer := workflow.NewTimer(ctx, time.Hour)
				signals := workflow.GetSignalChannel(ctx, "go on")
				done := false
				selector := workflow.NewSelector(ctx).
					AddFuture(call, func(f workflow.Future) { done = true; _ = noteResult[string](ctx, see, "selected", f) }).
					AddFuture(timer, func(workflow.Future) { see.note("selected", "the timer") }).
					AddReceive(signals, func(c workflow.ReceiveChannel, _ bool) { c.Receive(ctx, nil); see.note("selected", "a signal") })
				for !done {
					selector.Select(ctx)
				}
				return nil
			})
			p.start()
			p.signal("go on", nil)
			p.await("the signal", func() bool { return p.noted("selected") })
			release("a")
		},
	},
	{
		name: "await with a time-out, in time and too late",
		play: func(p *play) {
			p.echo()
			release := p.held()
			p.workflow(func(ctx workflow.Context, see *notes) error {
				ctx = attempts(ctx, 1)
				quick, slow := workflow.ExecuteActivity(ctx, "Echo", "quick"), workflow.ExecuteActivity(ctx, "Held", "slow")
				ok, err := workflow.AwaitWithTimeout(ctx, time.Minute, quick.IsReady)
				see.note("quick", fmt.Sprint(ok, err))
				ok, err = workflow.AwaitWithTimeout(ctx, 100*ms, slow.IsReady)
				see.note("slow", fmt.Sprint(ok, err))
				see.note("both", fmt.Sprint(quick.IsReady(), slow.IsReady()))
				workflow.GetSignalChannel(ctx, "go on").Receive(ctx, nil)
				return noteResult[string](ctx, see, "slow at last", slow)
			})
			p.start()
			p.await("the time-out", func() bool { return p.noted("both") })
			release("slow")
			p.signal("go on", nil)
		},
	},
	{
		name: "futures that nobody reads",
		play: func(p *play) {
			p.activity("Act", func(_ context.Context, fail bool) error {
				p.seen.note(fmt.Sprint("ran, fails: ", fail), true)
				if fail {
					return errors.New("no luck")
				}
				return nil
			})
			p.workflow(func(ctx workflow.Context, see *notes) error {
				ctx = attempts(ctx, 1)
				one, two := workflow.ExecuteActivity(ctx, "Act", true), workflow.ExecuteActivity(ctx, "Act", false)
				err := workflow.Await(ctx, func() bool { return one.IsReady() && two.IsReady() })
				see.note("awaited", show(err))
				return nil
			})
		},
	},
	{
		name: "a future read many times, by many, and chained",
		play: func(p *play) {
			p.echo()
			p.workflow(func(ctx workflow.Context, see *notes) error {
				call := workflow.ExecuteActivity(attempts(ctx, 1), "Echo", "a")
				chained, settable := workflow.NewFuture(ctx)
				settable.Chain(call)
				group := workflow.NewWaitGroup(ctx)
				for range 3 {
					group.Add(1)
					workflow.Go(ctx, func(ctx workflow.Context) {
						defer group.Done()
						_ = noteResult[string](ctx, see, "reader", call)
					})
				}
				group.Wait(ctx)
				_ = noteResult[string](ctx, see, "again", call)
				_ = noteResult[int](ctx, see, "as another type", call)
				return noteResult[string](ctx, see, "chained", chained)
			})
		},
	},
	{
		name: "calls from many coroutines",
		play: func(p *play) {
			p.echo()
			p.workflow(func(ctx workflow.Context, see *notes) error {
				ctx = attempts(ctx, 1)
				group := workflow.NewWaitGroup(ctx)
				results := make([]string, 60)
				for i := range results {
					group.Add(1)
					workflow.Go(ctx, func(ctx workflow.Context) {
						defer group.Done()
						for range 3 {
							_ = workflow.ExecuteActivity(ctx, "Echo", fmt.Sprint(i, " ", results[i])).Get(ctx, &results[i])
						}
					})
				}
				group.Wait(ctx)
				see.note("results", results)
				return nil
			})
		},
	},
	{
		name: "coroutines, channels, a mutex and a semaphore around calls",
		play: func(p *play) {
			p.echo()
			p.workflow(func(ctx workflow.Context, see *notes) error {
				ctx = attempts(ctx, 1)
				words := workflow.NewBufferedChannel(ctx, 2)
				mutex, permits := workflow.NewMutex(ctx), workflow.NewSemaphore(ctx, 2)
				order := workflow.NewNamedChannel(ctx, "order")
				workflow.Go(ctx, func(ctx workflow.Context) {
					for i := range 6 {
						words.Send(ctx, fmt.Sprint("word ", i))
					}
					words.Close()
				})
				for worker := range 3 {
					workflow.Go(ctx, func(ctx workflow.Context) {
						var word string
						for words.Receive(ctx, &word) {
							_ = permits.Acquire(ctx, 1)
							var s string
							_ = workflow.ExecuteActivity(ctx, "Echo", word).Get(ctx, &s)
							permits.Release(1)
							_ = mutex.Lock(ctx)
							see.note("worker "+fmt.Sprint(worker), "worked")
							mutex.Unlock()
						}
						order.Send(ctx, worker)
					})
				}
				for range 3 {
					var worker int
					order.Receive(ctx, &worker)
				}
				see.note("done", true)
				return nil
			})
		},
	},
	{
		name: "calls beside local activities, side effects, versions and timers",
		play: func(p *play) {
			p.echo()
			p.workflow(func(ctx workflow.Context, see *notes) error {
				ctx = attempts(ctx, 1)
				local := workflow.WithLocalActivityOptions(ctx, workflow.LocalActivityOptions{StartToCloseTimeout: 10 * time.Second})
				hear := func(_ context.Context, s string) (string, error) { return "heard " + s, nil }
				first := workflow.ExecuteActivity(ctx, "Echo", "first")
				here := workflow.ExecuteLocalActivity(local, hear, "here")
				var drawn int
				_ = workflow.SideEffect(ctx, func(workflow.Context) any { return 7 }).Get(&drawn)
				see.note("side effect", drawn)
				see.note("version", workflow.GetVersion(ctx, "change", workflow.DefaultVersion, 3))
				_ = noteResult[string](ctx, see, "first", first)
				_ = noteResult[string](ctx, see, "here", here)
				_ = workflow.Sleep(ctx, 10*ms)
				second := workflow.ExecuteActivity(ctx, "Echo", "second")
				var there string
				_ = workflow.ExecuteLocalActivity(local, hear, "there").Get(ctx, &there)
				see.note("there", there)
				return noteResult[string](ctx, see, "second", second)
			})
		},
	},
	{
		name: "queries while calls are open",
		play: func(p *play) {
			release := p.held()
			p.workflow(func(ctx workflow.Context, see *notes) error {
				state := "asked"
				_ = workflow.SetQueryHandler(ctx, "state", func() (string, error) { return state, nil })
				_ = noteResult[string](ctx, see, "call", workflow.ExecuteActivity(attempts(ctx, 1), "Held", "a"))
				state = "answered"
				return nil
			})
			p.start()
			p.query("state")
			p.awaitOpen()
			p.query("state")
			release("a")
			p.finish()
			p.query("state")
		},
	},
	{
		name: "signals while calls are open",
		play: func(p *play) {
			release := p.held()
			p.workflow(func(ctx workflow.Context, see *notes) error {
				call := workflow.ExecuteActivity(attempts(ctx, 1), "Held", "a")
				for range 3 {
					var s string
					workflow.GetSignalChannel(ctx, "word").Receive(ctx, &s)
					see.note("signal", s)
				}
				see.note("ready", call.IsReady())
				workflow.GetSignalChannel(ctx, "go on").Receive(ctx, nil)
				return noteResult[string](ctx, see, "call", call)
			})
			p.start()
			for _, s := range []string{"one", "two", "three"} {
				p.signal("word", s)
			}
			p.await("the signals", func() bool { return p.noted("ready") })
			release("a")
			p.signal("go on", nil)
		},
	},
	{
		name: "a call for each signal",
		play: func(p *play) {
			p.echo()
			p.workflow(func(ctx workflow.Context, see *notes) error {
				ctx = attempts(ctx, 1)
				for range 4 {
					var s string
					workflow.GetSignalChannel(ctx, "word").Receive(ctx, &s)
					if err := noteResult[string](ctx, see, "call", workflow.ExecuteActivity(ctx, "Echo", s)); err != nil {
						return err
					}
				}
				return nil
			})
			p.start()
			for _, s := range []string{"one", "two", "three", "four"} {
				p.signal("word", s)
			}
		},
	},
	{
		name: "calls in update handlers",
		play: func(p *play) {
			p.echo()
			release := p.held()
			p.workflow(func(ctx workflow.Context, see *notes) error {
				ctx = attempts(ctx, 1)
				updates := 0
				err := workflow.SetUpdateHandlerWithOptions(ctx, "translate", func(ctx workflow.Context, s string) (string, error) {
					updates++
					var out string
					err := workflow.ExecuteActivity(attempts(ctx, 1), "Echo", s).Get(ctx, &out)
					return out, err
				}, workflow.UpdateHandlerOptions{Validator: func(_ workflow.Context, s string) error {
					if s == "" {
						return errors.New("no word")
					}
					return nil
				}})
				if err != nil {
					return err
				}
				_ = noteResult[string](ctx, see, "call", workflow.ExecuteActivity(ctx, "Held", "a"))
				err = workflow.Await(ctx, func() bool { return updates == 3 && workflow.AllHandlersFinished(ctx) })
				see.note("updates", updates)
				return err
			})
			p.start()
			p.update("translate", "one")
			p.update("translate", "")
			p.awaitOpen()
			p.update("translate", "two")
			release("a")
			p.await("the call", func() bool { return p.noted("call") })
			p.update("translate", "three")
		},
	},
	{
		name: "first call in an update handler",
		play: func(p *play) {
			p.echo()
			p.workflow(func(ctx workflow.Context, see *notes) error {
				done := false
				_ = workflow.SetUpdateHandler(ctx, "translate", func(ctx workflow.Context, s string) (string, error) {
					defer func() { done = true }()
					var out string
					err := workflow.ExecuteActivity(attempts(ctx, 1), "Echo", s).Get(ctx, &out)
					return out, err
				})
				_ = workflow.Await(ctx, func() bool { return done })
				see.note("done", done)
				return nil
			})
			p.start()
			p.update("translate", "one")
		},
	},
	{
		name: "update handler whose call fails",
		play: func(p *play) {
			p.activity("Act", func(context.Context) error { return temporal.NewApplicationError("no luck", "Luck", "detail") })
			p.workflow(func(ctx workflow.Context, _ *notes) error {
				done := false
				_ = workflow.SetUpdateHandler(ctx, "translate", func(ctx workflow.Context, _ string) (string, error) {
					defer func() { done = true }()
					return "", workflow.ExecuteActivity(attempts(ctx, 2), "Act").Get(ctx, nil)
				})
				return workflow.Await(ctx, func() bool { return done })
			})
			p.start()
			p.update("translate", "one")
		},
	},
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
		differs: map[string]string{"search attributes": "A routed run has the search attribute TemporalChangeVersion, as every run that asks for a version."},
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
			p.workerOptions.WorkerStopTimeout, p.pluginOptions.DrainTimeout = 200*ms, 200*ms
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
				ctx = withOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: 5 * time.Second, RetryPolicy: quickly(3)})
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

// Not for the test without the sticky cache, where a server under load takes minutes for them.
var wideScenarios = []scenario{
	{name: "a hundred calls at once", play: fanOut(100)},
	{name: "a thousand calls at once", play: fanOut(1000)},
}

// Without the sticky cache every workflow task replays the run from its start. The cache is the process's, so that
// this is a test of its own, after TestFidelity's workers have stopped.
func TestFidelityWithoutStickyCache(t *testing.T) {
	worker.SetStickyWorkflowCacheSize(0)
	t.Cleanup(func() { worker.SetStickyWorkflowCacheSize(10_000) }) // the SDK's default
	for _, s := range shapeScenarios {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			compare(t, s, routed)
		})
	}
}

var wide = flag.Bool("wide", false, "play 10,000 calls at once")

// A plain workflow may have 2,000 activities open, so there is nothing to compare with.
func TestTenThousandCallsAtOnce(t *testing.T) {
	if !*wide {
		t.Skip("add -wide: it takes a while under the race detector")
	}
	o := perform(t, scenario{play: fanOut(10_000)}, routed)
	require.Equal(t, "100", o.text("failed"))
	require.Equal(t, "98980200", o.text("sum"))
	require.Equal(t, "(nothing)", o.text("wrong result"))
}

// query notes what the workflow answers.
func (p *play) query(name string) {
	p.t.Helper()
	answer, err := p.c.QueryWorkflow(p.ctx, p.workflowID, "", name)
	var s string
	if err == nil {
		err = answer.Get(&s)
	}
	p.seen.note("query "+name, fmt.Sprint(s, " ", show(err)))
}

// update notes what becomes of an update.
func (p *play) update(name, arg string) {
	p.t.Helper()
	handle, err := p.c.UpdateWorkflow(p.ctx, client.UpdateWorkflowOptions{
		WorkflowID: p.workflowID, UpdateName: name, Args: []any{arg}, WaitForStage: client.WorkflowUpdateStageCompleted,
	})
	var s string
	if err == nil {
		err = handle.Get(p.ctx, &s)
	}
	p.seen.note("update "+name, fmt.Sprint(s, " ", show(err)))
}
