package workflow_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	sdkactivity "go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"
	sdkworkflow "go.temporal.io/sdk/workflow"

	"github.com/slipstream-go/slipstream/internal/wire"
	"github.com/slipstream-go/slipstream/workflow"
)

func echoOnce(ctx sdkworkflow.Context) (string, error) {
	var s string
	err := sdkworkflow.ExecuteActivity(options(ctx), "Echo", "a").Get(ctx, &s)
	return s, err
}

// headers records the header of each activity that really runs.
type headers struct {
	interceptor.WorkerInterceptorBase
	interceptor.ActivityInboundInterceptorBase
	seen []map[string]*commonpb.Payload
}

func (h *headers) InterceptActivity(_ context.Context, next interceptor.ActivityInboundInterceptor) interceptor.ActivityInboundInterceptor {
	h.ActivityInboundInterceptorBase.Next = next
	return h
}

func (h *headers) ExecuteActivity(ctx context.Context, in *interceptor.ExecuteActivityInput) (any, error) {
	if sdkactivity.GetInfo(ctx).IsLocalActivity {
		return h.Next.ExecuteActivity(ctx, in)
	}
	h.seen = append(h.seen, interceptor.Header(ctx))
	return h.Next.ExecuteActivity(ctx, in)
}

func TestRunsWithoutRouteArePlainAndUntouched(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*workflow.Config){
		"disabled":   func(c *workflow.Config) { c.Enabled = func() bool { return false } },
		"no runtime": func(c *workflow.Config) { c.Enabled = nil },
		"no marks":   func(c *workflow.Config) { c.Marks = nil },
	} {
		h := &headers{}
		b := newBenchWith(t, []interceptor.WorkerInterceptor{h}, change)
		got, err := b.run(echoOnce)
		require.NoError(t, err, name)
		require.Equal(t, "plain a", got, name)
		require.Empty(t, b.queue.waves, name)
		require.Len(t, h.seen, 1)
		require.NotContains(t, h.seen[0], workflow.PlainHeader, "a call of a plain run may still be taken by the activity route")
	}
}

// To ask for a record that is not there ends in a panic of the SDK, which is an answer. No
// other panic is.
func TestReplayHidesNoPanicOfAnInterceptor(t *testing.T) {
	t.Parallel()
	replayer, err := worker.NewWorkflowReplayerWithOptions(worker.WorkflowReplayerOptions{
		DisableDeadlockDetection: true,
		Interceptors:             []interceptor.WorkerInterceptor{&panicky{}, releases["marks A"].interceptor()},
	})
	require.NoError(t, err)
	replayer.RegisterWorkflowWithOptions(pipelineWorkflow, sdkworkflow.RegisterOptions{Name: "Pipeline"})
	err = replayer.ReplayWorkflowHistory(log.NewStructuredLogger(discard()), history(t, histories+"/protocol-3/pipeline.json"))
	require.ErrorContains(t, err, "no side effects today")
}

// panicky is an interceptor of a user's that fails over side effects.
type panicky struct {
	interceptor.WorkerInterceptorBase
	interceptor.WorkflowOutboundInterceptorBase
}

func (p *panicky) InterceptWorkflow(_ sdkworkflow.Context, next interceptor.WorkflowInboundInterceptor) interceptor.WorkflowInboundInterceptor {
	return &panickyInbound{WorkflowInboundInterceptorBase: interceptor.WorkflowInboundInterceptorBase{Next: next}, panicky: p}
}

type panickyInbound struct {
	interceptor.WorkflowInboundInterceptorBase
	panicky *panicky
}

func (in *panickyInbound) Init(outbound interceptor.WorkflowOutboundInterceptor) error {
	in.panicky.WorkflowOutboundInterceptorBase.Next = outbound
	return in.Next.Init(in.panicky)
}

func (p *panicky) MutableSideEffectWithOptions(sdkworkflow.Context, string, sdkworkflow.MutableSideEffectOptions,
	func(sdkworkflow.Context) any, func(a, b any) bool,
) converter.EncodedValue {
	panic("no side effects today")
}

func TestRouteIsDecidedOnceAndForAll(t *testing.T) {
	t.Parallel()
	marks := map[string]string{"Echo": ""}
	enabled := true
	b := newBench(t, func(c *workflow.Config) {
		c.Marks = marks
		c.Enabled = func() bool { return enabled }
	})
	b.queue.answer = echo
	got, err := b.run(func(ctx sdkworkflow.Context) (string, error) {
		ctx = options(ctx)
		// The first call of any type decides, a plain one too.
		if err := sdkworkflow.ExecuteActivity(ctx, "Unmarked", "x").Get(ctx, nil); err != nil {
			return "", err
		}
		delete(marks, "Echo")
		marks["Unmarked"] = ""
		enabled = false
		var routed, plain string
		if err := sdkworkflow.ExecuteActivity(ctx, "Echo", "routed").Get(ctx, &routed); err != nil {
			return "", err
		}
		err := sdkworkflow.ExecuteActivity(ctx, "Unmarked", "x").Get(ctx, &plain)
		return routed + " " + plain, err
	})
	require.NoError(t, err)
	require.Equal(t, "routed plain x", got)
}

func TestPoolOfTheMarkGoesWithTheCall(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.queue.answer = echo
	_, err := b.run(func(ctx sdkworkflow.Context) (string, error) {
		ctx = sdkworkflow.WithTaskQueue(options(ctx), "elsewhere")
		return "", sdkworkflow.ExecuteActivity(ctx, "Other", "a").Get(ctx, nil)
	})
	require.NoError(t, err)
	c := b.queue.waves[0].Calls[0]
	require.Equal(t, "slow", c.Pool)
	require.Equal(t, "elsewhere", c.TaskQueue)
}

// Calls of routed types that the router lets through say so, or the worker's activity
// route would take them again.
func TestCallsThatAreNeverRouted(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(sdkworkflow.Context) sdkworkflow.Context{
		"priority": func(ctx sdkworkflow.Context) sdkworkflow.Context {
			return sdkworkflow.WithPriority(ctx, temporal.Priority{PriorityKey: 1})
		},
		"fairness": func(ctx sdkworkflow.Context) sdkworkflow.Context {
			return sdkworkflow.WithPriority(ctx, temporal.Priority{FairnessKey: "tenant"})
		},
		"no time-out": func(ctx sdkworkflow.Context) sdkworkflow.Context {
			return sdkworkflow.WithActivityOptions(ctx, sdkworkflow.ActivityOptions{HeartbeatTimeout: time.Second})
		},
		"negative time-out": func(ctx sdkworkflow.Context) sdkworkflow.Context {
			return sdkworkflow.WithHeartbeatTimeout(ctx, -1)
		},
		"bad retry policy": func(ctx sdkworkflow.Context) sdkworkflow.Context {
			return sdkworkflow.WithRetryPolicy(ctx, temporal.RetryPolicy{BackoffCoefficient: 0.5})
		},
		"unknown time-out type": func(ctx sdkworkflow.Context) sdkworkflow.Context {
			return sdkworkflow.WithRetryPolicy(ctx, temporal.RetryPolicy{NonRetryableErrorTypes: []string{"TemporalTimeout:Never"}})
		},
		"reserved task queue": func(ctx sdkworkflow.Context) sdkworkflow.Context {
			return sdkworkflow.WithTaskQueue(ctx, "/_sys/x")
		},
	} {
		h := &headers{}
		b := newBenchWith(t, []interceptor.WorkerInterceptor{h})
		_, _ = b.run(func(ctx sdkworkflow.Context) (string, error) {
			ctx = change(options(ctx))
			return "", sdkworkflow.ExecuteActivity(ctx, "Echo", "a").Get(ctx, nil)
		})
		require.Empty(t, b.queue.waves, name)
		for _, header := range h.seen {
			require.Equal(t, workflow.PlainHeaderValue, string(header[workflow.PlainHeader].GetData()), name)
		}
	}
}

// The SDK warns whenever it is asked for a session that is not there. The router asks for
// each call, and nobody wants to read that.
func TestNoWarningsAboutSessions(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.queue.answer = echo
	_, err := b.run(func(ctx sdkworkflow.Context) (string, error) {
		sdkworkflow.GetLogger(ctx).Info("of the workflow")
		return echoOnce(ctx)
	})
	require.NoError(t, err)
	require.Contains(t, b.log.String(), "of the workflow")
	require.NotContains(t, b.log.String(), "session")
}

// Activities inherit the priority of their workflow.
func TestCallsOfAWorkflowWithPriorityAreNeverRouted(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.raw.priority.PriorityKey = 2
	got, err := b.run(echoOnce)
	require.NoError(t, err)
	require.Equal(t, "plain a", got)
	require.Empty(t, b.queue.waves)
}

func TestSessionCallsAreNeverRouted(t *testing.T) {
	t.Parallel()
	h := &headers{}
	b := newBenchWith(t, []interceptor.WorkerInterceptor{h})
	got, err := b.run(func(ctx sdkworkflow.Context) (string, error) {
		sctx, err := sdkworkflow.CreateSession(options(ctx), &sdkworkflow.SessionOptions{
			ExecutionTimeout: time.Minute, CreationTimeout: time.Minute,
		})
		if err != nil {
			return "", err
		}
		defer sdkworkflow.CompleteSession(sctx)
		var s string
		err = sdkworkflow.ExecuteActivity(sctx, "Echo", "a").Get(sctx, &s)
		return s, err
	})
	require.NoError(t, err)
	require.Equal(t, "plain a", got)
	require.Empty(t, b.queue.waves)
}

func TestOptionsAreCompletedAsTheServerDoes(t *testing.T) {
	t.Parallel()
	second, minute := time.Second, time.Minute
	for name, tt := range map[string]struct {
		run  time.Duration
		in   sdkworkflow.ActivityOptions
		want wire.CallOptions
	}{
		"start to close alone": {
			in:   sdkworkflow.ActivityOptions{StartToCloseTimeout: second},
			want: wire.CallOptions{StartToClose: second},
		},
		"start to close in a limited run": {
			run: minute, in: sdkworkflow.ActivityOptions{StartToCloseTimeout: time.Hour, HeartbeatTimeout: 2 * time.Hour},
			want: wire.CallOptions{ScheduleToClose: minute, ScheduleToStart: minute, StartToClose: minute, Heartbeat: minute},
		},
		"schedule to close alone": {
			in:   sdkworkflow.ActivityOptions{ScheduleToCloseTimeout: minute},
			want: wire.CallOptions{ScheduleToClose: minute, ScheduleToStart: minute, StartToClose: minute},
		},
		"all": {
			in: sdkworkflow.ActivityOptions{
				ScheduleToCloseTimeout: minute, ScheduleToStartTimeout: time.Hour, StartToCloseTimeout: second, HeartbeatTimeout: minute,
			},
			want: wire.CallOptions{ScheduleToClose: minute, ScheduleToStart: minute, StartToClose: second, Heartbeat: second},
		},
	} {
		b := newBench(t)
		b.queue.answer = echo
		b.SetWorkflowRunTimeout(tt.run)
		_, err := b.run(func(ctx sdkworkflow.Context) (string, error) {
			ctx = sdkworkflow.WithActivityOptions(ctx, tt.in)
			return "", sdkworkflow.ExecuteActivity(ctx, "Echo", "a").Get(ctx, nil)
		})
		require.NoError(t, err, name)
		got := b.queue.waves[0].Calls[0].Options
		retry := got.Retry
		got.Retry = nil
		require.Equal(t, tt.want, got, name)
		require.Equal(t, second, retry.GetInitialInterval().AsDuration())
		require.InDelta(t, 2.0, retry.GetBackoffCoefficient(), 0)
		require.Equal(t, 100*second, retry.GetMaximumInterval().AsDuration())
		require.Zero(t, retry.GetMaximumAttempts())
	}
}
