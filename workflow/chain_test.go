package workflow_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	sdkactivity "go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/temporal"
	sdkworkflow "go.temporal.io/sdk/workflow"

	"github.com/slipstream-go/slipstream/internal/wire"
	"github.com/slipstream-go/slipstream/workflow"
)

// steps is a chain of activities by name.
func steps(names ...string) (all []workflow.Step) {
	for _, name := range names {
		all = append(all, workflow.Step{Activity: name})
	}
	return all
}

// chained is a workflow of one chain.
func chained(input string, all ...workflow.Step) func(sdkworkflow.Context) (string, error) {
	return func(ctx sdkworkflow.Context) (s string, err error) {
		err = workflow.Chain(options(ctx), input, all...).Get(ctx, &s)
		return s, err
	}
}

func onePool(c *workflow.Config) { c.Marks = map[string]string{"Echo": "", "Other": ""} }

func TestAChainIsOneCall(t *testing.T) {
	t.Parallel()
	b := newBench(t, onePool)
	b.queue.answer = func(c *wire.Call) wire.Answer {
		return wire.Answer{State: wire.StateDone, Outcome: &wire.Outcome{Kind: wire.KindCompleted, Attempt: 1, Payloads: c.Input.GetPayloads()}}
	}
	own := &sdkworkflow.ActivityOptions{
		StartToCloseTimeout: time.Hour, HeartbeatTimeout: time.Second, RetryPolicy: &temporal.RetryPolicy{MaximumAttempts: 1},
	}
	got, err := b.run(chained("x", workflow.Step{Activity: "Echo"}, workflow.Step{Activity: "Other", Options: own}, workflow.Step{Activity: "Echo"}))
	require.NoError(t, err)
	require.Equal(t, "x", got)
	require.Len(t, b.queue.waves, 1)
	require.Len(t, b.queue.waves[0].Calls, 1)
	c := b.queue.waves[0].Calls[0]
	require.Equal(t, "Echo > Other > Echo", c.Name())
	require.Equal(t, time.Minute, c.Options.StartToClose)
	require.Len(t, c.Then, 2)
	require.Equal(t, time.Hour, c.Then[0].Options.StartToClose)
	require.Equal(t, time.Second, c.Then[0].Options.Heartbeat)
	require.EqualValues(t, 1, c.Then[0].Options.Retry.GetMaximumAttempts())
	require.Equal(t, time.Minute, c.Then[1].Options.StartToClose)
	require.True(t, c.Once())
	require.False(t, c.Results)
}

func TestEqualChainsShareTheirSteps(t *testing.T) {
	t.Parallel()
	b := newBench(t, onePool)
	b.queue.answer = echo
	_, err := b.run(func(ctx sdkworkflow.Context) (string, error) {
		for i := range 4 {
			all := steps("Echo", "Other", "Other")
			if i == 2 {
				all = steps("Echo", "Other")
			}
			workflow.Chain(options(ctx), i, all...)
		}
		return "", sdkworkflow.Sleep(ctx, time.Second)
	})
	require.NoError(t, err)
	calls := b.queue.waves[0].Calls
	require.Len(t, calls, 4)
	require.Same(t, &calls[0].Then[0], &calls[1].Then[0])
	require.NotSame(t, &calls[0].Then[0], &calls[2].Then[0])
	require.Len(t, calls[2].Then, 1)
	require.Len(t, calls[3].Then, 2)
}

func TestAChainThatFailsNamesItsStep(t *testing.T) {
	t.Parallel()
	failure := func(errorType string) *wire.Outcome {
		f := temporal.GetDefaultFailureConverter().ErrorToFailure(temporal.NewNonRetryableApplicationError("boom", errorType, nil))
		p, err := wire.EncodeFailure(converter.GetDefaultDataConverter(), f)
		require.NoError(t, err)
		return &wire.Outcome{Kind: wire.KindFailed, Step: 1, Attempt: 2, Worker: "executor", Payloads: []*commonpb.Payload{p}}
	}
	for name, c := range map[string]struct {
		outcome *wire.Outcome
		check   func(error)
	}{
		"failed": {failure("Custom"), func(err error) {
			var application *temporal.ApplicationError
			require.ErrorAs(t, err, &application)
			require.Equal(t, "Custom", application.Type())
		}},
		"timed out": {&wire.Outcome{Kind: wire.KindHeartbeat, Step: 1, Retry: wire.RetryState(enumspb.RETRY_STATE_TIMEOUT)}, func(err error) {
			var timeout *temporal.TimeoutError
			require.ErrorAs(t, err, &timeout)
			require.Equal(t, enumspb.TIMEOUT_TYPE_HEARTBEAT, timeout.TimeoutType())
		}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, onePool)
			b.queue.answer = func(*wire.Call) wire.Answer { return wire.Answer{State: wire.StateDone, Outcome: c.outcome} }
			_, err := b.run(func(ctx sdkworkflow.Context) (string, error) {
				err := workflow.Chain(options(ctx), "x", steps("Echo", "Other", "Echo")...).Get(ctx, nil)
				var failed *workflow.ChainError
				require.ErrorAs(t, err, &failed)
				require.Equal(t, 1, failed.Step)
				require.Equal(t, "Other", failed.ActivityType)
				require.ErrorContains(t, err, "step 2 of the chain (Other): ")
				var activity *temporal.ActivityError
				require.ErrorAs(t, err, &activity)
				require.Equal(t, "Other", activity.ActivityType().GetName())
				require.Equal(t, "1.2", activity.ActivityID())
				c.check(err)
				return "", nil
			})
			require.NoError(t, err)
		})
	}
}

func TestResultsOfAllSteps(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*workflow.Config){
		"one call": onePool, "step by step": func(c *workflow.Config) { c.Enabled = func() bool { return false } },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, change)
			b.RegisterActivityWithOptions(func(_ context.Context, s string) error { return nil }, sdkactivity.RegisterOptions{Name: "Other"})
			b.queue.answer = func(c *wire.Call) wire.Answer {
				require.True(t, c.Results)
				p, err := encodeJSON("plain x")
				require.NoError(t, err)
				return wire.Answer{State: wire.StateDone, Outcome: &wire.Outcome{Kind: wire.KindCompleted, Payloads: []*commonpb.Payload{p.GetPayloads()[0], {}}}}
			}
			_, err := b.run(func(ctx sdkworkflow.Context) (string, error) {
				var results []workflow.Result
				require.NoError(t, workflow.ChainResults(options(ctx), "x", steps("Echo", "Other")...).Get(ctx, &results))
				require.Len(t, results, 2)
				var first string
				require.NoError(t, results[0].Get(ctx, &first))
				require.Equal(t, "plain x", first)
				nothing := "untouched"
				require.NoError(t, results[1].Get(ctx, &nothing))
				require.Equal(t, "untouched", nothing)
				return "", nil
			})
			require.NoError(t, err)
		})
	}
}

// Where a chain cannot be one call its steps are calls like any others, and the result is
// the same.
func TestAChainStepByStep(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*workflow.Config)
		chain  []workflow.Step
		waves  [][]uint64
	}{
		"a run that is not routed":  {func(c *workflow.Config) { c.Enabled = func() bool { return false } }, steps("Echo", "Unmarked", "Echo"), nil},
		"a step that is not marked": {onePool, steps("Unmarked", "Echo", "Unmarked"), [][]uint64{{1}}},
		"steps in two pools":        {func(*workflow.Config) {}, steps("Echo", "Other", "Echo"), [][]uint64{{1}, {2}, {3}}},
		"a step on another queue": {onePool, []workflow.Step{{Activity: "Echo"}, {Activity: "Other", Options: &sdkworkflow.ActivityOptions{
			StartToCloseTimeout: time.Minute, TaskQueue: "elsewhere",
		}}}, [][]uint64{{1}, {2}}},
		"dispatch says plain": {func(c *workflow.Config) { onePool(c); c.Dispatcher = nil }, steps("Echo", "Other", "Echo"), nil},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, c.change)
			b.RegisterActivityWithOptions(func(_ context.Context, s string) (string, error) {
				return "plain " + s, nil
			}, sdkactivity.RegisterOptions{Name: "Other"})
			b.queue.answer = func(c *wire.Call) wire.Answer {
				var s string
				require.NoError(t, converter.GetDefaultDataConverter().FromPayloads(c.Input, &s))
				p, err := encodeJSON("plain " + s)
				require.NoError(t, err)
				return wire.Answer{State: wire.StateDone, Outcome: &wire.Outcome{Kind: wire.KindCompleted, Payloads: p.GetPayloads()}}
			}
			want := "x"
			for range c.chain {
				want = "plain " + want
			}
			got, err := b.run(chained("x", c.chain...))
			require.NoError(t, err)
			require.Equal(t, want, got)
			require.Equal(t, c.waves, b.queue.numbers())
		})
	}
}

// slowed passes activity calls on in a coroutine, as a limiter of the user's would, and again as often as told.
type slowed struct {
	interceptor.WorkerInterceptorBase
	interceptor.WorkflowInboundInterceptorBase
	interceptor.WorkflowOutboundInterceptorBase
	later bool
	tries int
}

func (s *slowed) InterceptWorkflow(_ sdkworkflow.Context, next interceptor.WorkflowInboundInterceptor) interceptor.WorkflowInboundInterceptor {
	s.WorkflowInboundInterceptorBase.Next = next
	return s
}

func (s *slowed) Init(outbound interceptor.WorkflowOutboundInterceptor) error {
	s.WorkflowOutboundInterceptorBase.Next = outbound
	return s.WorkflowInboundInterceptorBase.Next.Init(s)
}

func (s *slowed) ExecuteActivity(ctx sdkworkflow.Context, name string, args ...any) (future sdkworkflow.Future) {
	next := s.WorkflowOutboundInterceptorBase.Next
	if !s.later {
		for range s.tries {
			future = next.ExecuteActivity(ctx, name, args...)
		}
		return future
	}
	future, settable := sdkworkflow.NewFuture(ctx)
	sdkworkflow.Go(ctx, func(sdkworkflow.Context) { settable.Chain(next.ExecuteActivity(ctx, name, args...)) })
	return future
}

// Interceptors may pass a chain's first call on when they like, and as often: its steps run in order, and what comes
// out is the result of the last.
func TestInterceptorsOfChains(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		users *slowed
		waves [][]uint64
	}{
		"later": {&slowed{later: true}, [][]uint64{{1}, {2}}},
		"twice": {&slowed{tries: 2}, [][]uint64{{1, 2}}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBenchWith(t, []interceptor.WorkerInterceptor{c.users}, onePool)
			b.queue.answer = func(c *wire.Call) wire.Answer {
				var s string
				require.NoError(t, converter.GetDefaultDataConverter().FromPayloads(c.Input, &s))
				for range 1 + len(c.Then) {
					s = "plain " + s
				}
				p, err := encodeJSON(s)
				require.NoError(t, err)
				return wire.Answer{State: wire.StateDone, Outcome: &wire.Outcome{Kind: wire.KindCompleted, Payloads: p.GetPayloads()}}
			}
			got, err := b.run(chained("x", steps("Echo", "Other")...))
			require.NoError(t, err)
			require.Equal(t, "plain plain x", got)
			require.Equal(t, c.waves, b.queue.numbers())
		})
	}
}

// The steps are those of the moment of the call, whatever becomes of the caller's slice.
func TestAChainKeepsItsSteps(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(c *workflow.Config) { c.Enabled = func() bool { return false } })
	got, err := b.run(func(ctx sdkworkflow.Context) (s string, err error) {
		own := &sdkworkflow.ActivityOptions{StartToCloseTimeout: time.Minute, RetryPolicy: &temporal.RetryPolicy{MaximumAttempts: 1}}
		all := []workflow.Step{{Activity: "Echo"}, {Activity: "Echo", Options: own}}
		chain := workflow.Chain(options(ctx), "x", all...)
		all[1].Activity, own.StartToCloseTimeout, own.RetryPolicy.MaximumAttempts = "nobody knows", -1, -1
		err = chain.Get(ctx, &s)
		return s, err
	})
	require.NoError(t, err)
	require.Equal(t, "plain plain x", got)
}

func TestAChainStepByStepFailsAlike(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*workflow.Config){
		"not routed":          func(c *workflow.Config) { c.Enabled = func() bool { return false } },
		"dispatch says plain": func(c *workflow.Config) { onePool(c); c.Dispatcher = nil },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, change)
			b.RegisterActivityWithOptions(func(context.Context, string) (string, error) {
				return "", temporal.NewNonRetryableApplicationError("boom", "Custom", nil)
			}, sdkactivity.RegisterOptions{Name: "Other"})
			_, err := b.run(func(ctx sdkworkflow.Context) (string, error) {
				err := workflow.Chain(options(ctx), "x", steps("Echo", "Other", "Echo")...).Get(ctx, nil)
				var failed *workflow.ChainError
				require.ErrorAs(t, err, &failed)
				require.Equal(t, 1, failed.Step)
				require.Equal(t, "Other", failed.ActivityType)
				var activity *temporal.ActivityError
				require.ErrorAs(t, err, &activity)
				var application *temporal.ApplicationError
				require.ErrorAs(t, err, &application)
				require.Equal(t, "Custom", application.Type())
				return "", nil
			})
			require.NoError(t, err)
		})
	}
}

func TestCancellingStopsAChain(t *testing.T) {
	t.Parallel()
	canceled := func(ctx sdkworkflow.Context, err error) (string, error) {
		require.True(t, temporal.IsCanceledError(err), "%v", err)
		var failed *workflow.ChainError
		require.NotErrorAs(t, err, &failed, "a cancellation names no step")
		return "", nil
	}
	t.Run("one call", func(t *testing.T) {
		b := newBench(t, onePool)
		_, err := b.run(func(ctx sdkworkflow.Context) (string, error) {
			cctx, cancel := sdkworkflow.WithCancel(options(ctx))
			future := workflow.Chain(cctx, "x", steps("Echo", "Other")...)
			require.NoError(t, sdkworkflow.Sleep(ctx, time.Second))
			cancel()
			s, err := canceled(ctx, future.Get(ctx, nil))
			return s, errors.Join(err, sdkworkflow.Sleep(ctx, time.Second))
		})
		require.NoError(t, err)
		require.Len(t, b.queue.canceled, 1, "the queue is told")
	})
	t.Run("waiting for its end", func(t *testing.T) {
		b := newBench(t, onePool)
		b.queue.cancel = func(r *wire.CancelRequest) error {
			o := wire.Outcome{Identity: r.Calls[0].Identity, Kind: wire.KindCanceled, Step: 1, Payloads: wire.NotStarted()}
			b.after(time.Second, func() { b.signal(o) })
			return nil
		}
		_, err := b.run(func(ctx sdkworkflow.Context) (string, error) {
			cctx, cancel := sdkworkflow.WithCancel(sdkworkflow.WithActivityOptions(ctx, sdkworkflow.ActivityOptions{
				StartToCloseTimeout: time.Minute, WaitForCancellation: true,
			}))
			future := workflow.Chain(cctx, "x", steps("Echo", "Other")...)
			require.NoError(t, sdkworkflow.Sleep(ctx, time.Second))
			cancel()
			return canceled(ctx, future.Get(ctx, nil))
		})
		require.NoError(t, err)
	})
	t.Run("step by step", func(t *testing.T) {
		b := newBench(t, func(c *workflow.Config) { c.Enabled = func() bool { return false } })
		_, err := b.run(func(ctx sdkworkflow.Context) (string, error) {
			cctx, cancel := sdkworkflow.WithCancel(options(ctx))
			future := workflow.Chain(cctx, "x", steps("Echo", "Echo")...)
			cancel()
			return canceled(ctx, future.Get(ctx, nil))
		})
		require.NoError(t, err)
	})
}

func TestAChainThatMakesNoSense(t *testing.T) {
	t.Parallel()
	for want, all := range map[string][]workflow.Step{
		"a chain of 0 steps: give it 1 to 100":                                   nil,
		"a chain of 101 steps: give it 1 to 100":                                 make([]workflow.Step, 101),
		"Step.Activity of step 1 is nil: give the activity function or its name": {{Activity: "Echo"}, {}},
	} {
		b := newBench(t)
		_, err := b.run(chained("x", all...))
		require.ErrorContains(t, err, want)
		require.Empty(t, b.queue.waves)
	}
}

// What two asks do not find is added again whole, unless a step must not start twice.
func TestAChainThatTheQueueLost(t *testing.T) {
	t.Parallel()
	for name, once := range map[string]bool{"again": false, "never again": true} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, onePool)
			b.tick()
			b.queue.decide = func(w *wire.Wave, c *wire.Call) wire.Answer {
				if w.Again {
					return echo(c)
				}
				return wire.Answer{State: wire.StateQueued}
			}
			b.queue.found = func(_ *wire.Ask, c *wire.OpenCall) (wire.Answer, bool) {
				return wire.Answer{State: wire.StateNotHere}, true
			}
			all := steps("Echo", "Other")
			if once {
				all[1].Options = &sdkworkflow.ActivityOptions{StartToCloseTimeout: time.Minute, HeartbeatTimeout: time.Second, RetryPolicy: &temporal.RetryPolicy{MaximumAttempts: 1}}
			}
			got, err := b.run(func(ctx sdkworkflow.Context) (s string, err error) {
				err = workflow.Chain(options(ctx), "x", all...).Get(ctx, &s)
				if once {
					var failed *workflow.ChainError
					require.ErrorAs(t, err, &failed)
					require.Equal(t, 1, failed.Step)
					var timeout *temporal.TimeoutError
					require.ErrorAs(t, err, &timeout)
					require.Equal(t, enumspb.TIMEOUT_TYPE_HEARTBEAT, timeout.TimeoutType())
					return "", nil
				}
				return s, err
			})
			require.NoError(t, err)
			if !once {
				require.Equal(t, "x", got)
				require.Len(t, b.queue.waves[1].Calls[0].Then, 1)
			}
		})
	}
}

func TestOnComplete(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.queue.answer = func(c *wire.Call) wire.Answer {
		if c.Number == 2 {
			return wire.Answer{State: wire.StateDone, Outcome: &wire.Outcome{Kind: wire.KindStartToClose}}
		}
		return echo(c)
	}
	got, err := b.run(func(ctx sdkworkflow.Context) (string, error) {
		ctx = options(ctx)
		var futures []sdkworkflow.Future
		for i := range 3 {
			futures = append(futures, sdkworkflow.ExecuteActivity(ctx, "Echo", fmt.Sprint(i)))
		}
		futures = append(futures, sdkworkflow.NewTimer(ctx, time.Minute))
		began := sdkworkflow.Now(ctx)
		said := ""
		done := workflow.OnComplete(ctx, "context", futures, func(ctx sdkworkflow.Context, value string, results []workflow.Result) error {
			require.Len(t, results, 4)
			require.GreaterOrEqual(t, sdkworkflow.Now(ctx).Sub(began), time.Minute, "it waits for all")
			var a, c string
			require.NoError(t, results[0].Get(ctx, &a))
			var timeout *temporal.TimeoutError
			require.ErrorAs(t, results[1].Get(ctx, nil), &timeout)
			require.NoError(t, results[2].Get(ctx, &c))
			said = value + a + c
			return sdkworkflow.Sleep(ctx, time.Second) // it may block
		})
		clear(futures)
		require.NoError(t, done.Get(ctx, nil))
		none := workflow.OnComplete(ctx, 0, nil, func(sdkworkflow.Context, int, []workflow.Result) error { return errors.New("its own") })
		require.EqualError(t, none.Get(ctx, nil), "its own")
		return said, nil
	})
	require.NoError(t, err)
	require.Equal(t, "context02", got)
}

func TestOptionsOfSingleCalls(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.queue.answer = echo
	got, err := b.run(func(ctx sdkworkflow.Context) (string, error) {
		ctx = options(ctx)
		var all string
		for _, ctx := range []sdkworkflow.Context{
			ctx,
			workflow.WithOptions(ctx, workflow.Options{Pool: "slow"}),
			workflow.WithOptions(ctx, workflow.Options{Plain: true}),
			workflow.WithOptions(workflow.WithOptions(ctx, workflow.Options{Plain: true}), workflow.Options{}),
		} {
			var s string
			if err := sdkworkflow.ExecuteActivity(ctx, "Echo", "x").Get(ctx, &s); err != nil {
				return "", err
			}
			all += s + ","
		}
		// One pool for all steps: they can be one call.
		pooled := workflow.WithOptions(ctx, workflow.Options{Pool: "fast"})
		return all, workflow.Chain(pooled, "x", steps("Echo", "Other")...).Get(ctx, nil)
	})
	require.NoError(t, err)
	require.Equal(t, "x,x,plain x,x,", got)
	var pools []string
	for _, w := range b.queue.waves {
		pools = append(pools, w.Calls[0].Pool)
	}
	require.Equal(t, []string{"", "slow", "", "fast"}, pools)
	require.Len(t, b.queue.waves[3].Calls[0].Then, 1)
}

func TestOptionsThatMakeNoSense(t *testing.T) {
	t.Parallel()
	for want, o := range map[string]workflow.Options{
		`Options.Pool is "slow" beside Plain: plain calls are in no pool, leave one of them out`: {Pool: "slow", Plain: true},
		`Options.Pool is " slow": give it without white space around it`:                         {Pool: " slow"},
		`Options.Pool has 2000 bytes: give at most 1000`:                                         {Pool: string(make([]byte, 2000))},
	} {
		require.PanicsWithValue(t, "[Slipstream] workflow.WithOptions: "+want, func() { workflow.WithOptions(sdkworkflow.Context(nil), o) })
	}
}
