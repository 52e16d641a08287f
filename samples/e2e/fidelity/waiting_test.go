package fidelity

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.temporal.io/sdk/workflow"
)

// Workflows wait for their calls in many ways.
var waitingScenarios = []scenario{
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
				var results []string
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
							results = append(results, s)
							mutex.Unlock()
						}
						order.Send(ctx, worker)
					})
				}
				for range 3 {
					var worker int
					order.Receive(ctx, &worker)
				}
				slices.Sort(results) // two calls are open at a time, and either may end first
				see.note("results", results)
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
}
