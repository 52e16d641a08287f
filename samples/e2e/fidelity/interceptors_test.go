package fidelity

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"
)

// observer is a worker interceptor as users write them: it sees everything that passes, notes it, and may change it.
type observer struct {
	interceptor.InterceptorBase
	p    *play
	name string
	// changes arguments and results, of all activities and in all directions.
	changes bool
}

func (o *observer) notef(key, format string, args ...any) {
	o.p.seen.note(key, o.name+" "+fmt.Sprintf(format, args...))
}

func (o *observer) InterceptActivity(_ context.Context, next interceptor.ActivityInboundInterceptor) interceptor.ActivityInboundInterceptor {
	i := &observerActivity{o: o}
	i.Next = next
	return i
}

func (o *observer) InterceptWorkflow(_ workflow.Context, next interceptor.WorkflowInboundInterceptor) interceptor.WorkflowInboundInterceptor {
	i := &observerWorkflow{o: o}
	i.Next = next
	return i
}

type observerActivity struct {
	interceptor.ActivityInboundInterceptorBase
	o *observer
}

func (i *observerActivity) Init(out interceptor.ActivityOutboundInterceptor) error {
	o := &observerActivityOutbound{o: i.o}
	o.Next = out
	return i.Next.Init(o)
}

func (i *observerActivity) ExecuteActivity(ctx context.Context, in *interceptor.ExecuteActivityInput) (any, error) {
	info := activity.GetInfo(ctx)
	header := interceptor.Header(ctx)
	i.o.notef("activities", "%s attempt %d of %s with %v, header %v, reads %s",
		info.ActivityType.Name, info.Attempt, info.WorkflowType.Name, in.Args, len(header), string(header["by-"+i.o.name].GetData()))
	if i.o.changes && len(in.Args) > 0 {
		in.Args[0] = fmt.Sprint(in.Args[0], " in by ", i.o.name)
	}
	result, err := i.Next.ExecuteActivity(context.WithValue(ctx, observedKey{}, i.o.name), in)
	if i.o.changes && err == nil {
		result = fmt.Sprint(result, " out by ", i.o.name)
	}
	if i.o.changes && err != nil {
		err = fmt.Errorf("by %s: %w", i.o.name, err)
	}
	i.o.notef("activities", "got %v, %v", result, err)
	return result, err
}

type observedKey struct{}

type observerActivityOutbound struct {
	interceptor.ActivityOutboundInterceptorBase
	o *observer
}

func (i *observerActivityOutbound) RecordHeartbeat(ctx context.Context, details ...any) {
	i.o.notef("heartbeats", "%v", details)
	i.Next.RecordHeartbeat(ctx, details...)
}

func (i *observerActivityOutbound) GetInfo(ctx context.Context) activity.Info {
	info := i.Next.GetInfo(ctx)
	if i.o.changes && info.ActivityType.Name == "Act" {
		info.Attempt += 100
	}
	return info
}

type observerWorkflow struct {
	interceptor.WorkflowInboundInterceptorBase
	o *observer
}

func (i *observerWorkflow) Init(out interceptor.WorkflowOutboundInterceptor) error {
	o := &observerWorkflowOutbound{o: i.o}
	o.Next = out
	return i.Next.Init(o)
}

func (i *observerWorkflow) ExecuteWorkflow(ctx workflow.Context, in *interceptor.ExecuteWorkflowInput) (any, error) {
	result, err := i.Next.ExecuteWorkflow(ctx, in)
	i.o.notef("workflow interceptors", "ended with %v, %v", result, err)
	return result, err
}

func (i *observerWorkflow) HandleSignal(ctx workflow.Context, in *interceptor.HandleSignalInput) error {
	i.o.notef("workflow interceptors", "signal %s", in.SignalName)
	return i.Next.HandleSignal(ctx, in)
}

func (i *observerWorkflow) HandleQuery(ctx workflow.Context, in *interceptor.HandleQueryInput) (any, error) {
	i.o.notef("workflow interceptors", "query %s", in.QueryType)
	return i.Next.HandleQuery(ctx, in)
}

type observerWorkflowOutbound struct {
	interceptor.WorkflowOutboundInterceptorBase
	o *observer
}

func (i *observerWorkflowOutbound) ExecuteActivity(ctx workflow.Context, activityType string, args ...any) workflow.Future {
	i.o.notef("workflow interceptors", "calls %s with %v", activityType, args)
	if i.o.changes {
		args[0] = fmt.Sprint(args[0], " called by ", i.o.name)
	}
	if p, err := converter.GetDefaultDataConverter().ToPayload("yes"); err == nil {
		interceptor.WorkflowHeader(ctx)["by-"+i.o.name] = p
	}
	return i.Next.ExecuteActivity(ctx, activityType, args...)
}

func (i *observerWorkflowOutbound) ExecuteLocalActivity(ctx workflow.Context, activityType string, args ...any) workflow.Future {
	i.o.notef("workflow interceptors", "calls local %s", activityType)
	return i.Next.ExecuteLocalActivity(ctx, activityType, args...)
}

func (i *observerWorkflowOutbound) NewTimerWithOptions(ctx workflow.Context, d time.Duration, o workflow.TimerOptions) workflow.Future {
	i.o.notef("workflow interceptors", "sets a timer")
	return i.Next.NewTimerWithOptions(ctx, d, o)
}

func (i *observerWorkflowOutbound) SideEffect(ctx workflow.Context, f func(workflow.Context) any) converter.EncodedValue {
	i.o.notef("workflow interceptors", "side effect")
	return i.Next.SideEffect(ctx, f)
}

func (i *observerWorkflowOutbound) MutableSideEffectWithOptions(ctx workflow.Context, id string, o workflow.MutableSideEffectOptions, f func(workflow.Context) any, equals func(a, b any) bool) converter.EncodedValue {
	i.o.notef("workflow interceptors", "mutable side effect %s", id)
	return i.Next.MutableSideEffectWithOptions(ctx, id, o, f, equals)
}

func (i *observerWorkflowOutbound) GetVersion(ctx workflow.Context, change string, low, high workflow.Version) workflow.Version {
	i.o.notef("workflow interceptors", "version %s", change)
	return i.Next.GetVersion(ctx, change, low, high)
}

// observed plays calls of all kinds between two interceptors, one of the client and one of the worker.
func observed(changes bool) func(p *play) {
	return func(p *play) {
		p.pluginOptions.Window = -1 // so that outcomes come by signal
		p.clientOptions.Interceptors = []interceptor.ClientInterceptor{&observer{p: p, name: "client", changes: changes}}
		p.workerOptions.Interceptors = []interceptor.WorkerInterceptor{&observer{p: p, name: "worker", changes: changes}}
		p.activity("Act", func(ctx context.Context, s string) (string, error) {
			p.seen.note("handler", s)
			p.seen.note("attempt", activity.GetInfo(ctx).Attempt)
			p.seen.note("header in the handler", len(interceptor.Header(ctx)))
			p.seen.note("nearest interceptor", ctx.Value(observedKey{}))
			activity.RecordHeartbeat(ctx, "beat")
			if strings.Contains(s, "fails") {
				return "", temporal.NewNonRetryableApplicationError("no luck", "NoLuck", nil)
			}
			return "done " + s, nil
		})
		p.workflow(func(ctx workflow.Context, see *notes) error {
			ctx = attempts(ctx, 1)
			_ = noteResult[string](ctx, see, "first", workflow.ExecuteActivity(ctx, "Act", "one"))
			_ = noteResult[string](ctx, see, "second", workflow.ExecuteActivity(ctx, "Act", "that fails"))
			local := workflow.WithLocalActivityOptions(ctx, workflow.LocalActivityOptions{StartToCloseTimeout: patience})
			_ = noteResult[string](ctx, see, "local", workflow.ExecuteLocalActivity(local, locally, "two"))
			return nil
		})
	}
}

func locally(_ context.Context, s string) (string, error) { return "locally " + s, nil }

type backgroundKey struct{}

const failsAtOnce = "A context propagator, or an interceptor's Init, that fails before a handler fails the attempt at once. " +
	"Plain, the attempt hangs until its StartToClose time-out."

var interceptorScenarios = []scenario{
	{name: "interceptors that observe", play: observed(false)},
	{name: "interceptors that change", play: observed(true)},
	{
		name: "interceptors that refuse what they do not know",
		play: func(p *play) {
			p.workerOptions.Interceptors = []interceptor.WorkerInterceptor{&gate{}}
			p.activity("Act", func(context.Context) (string, error) { return "allowed", nil })
			p.workflow(func(ctx workflow.Context, see *notes) error {
				return noteResult[string](ctx, see, "call", workflow.ExecuteActivity(attempts(ctx, 1), "Act"))
			})
		},
	},
	{
		name: "an interceptor that fails at its start",
		play: func(p *play) {
			p.workerOptions.Interceptors = []interceptor.WorkerInterceptor{&gate{failInit: true}}
			p.activity("Act", func(context.Context) (string, error) { return "allowed", nil })
			p.workflow(func(ctx workflow.Context, see *notes) error {
				ctx = withOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: 5 * time.Second, RetryPolicy: quickly(1)})
				return noteResult[string](ctx, see, "call", workflow.ExecuteActivity(ctx, "Act"))
			})
		},
		differs: map[string]string{"call": failsAtOnce, "workflow": failsAtOnce},
	},
	{
		name: "background context",
		play: func(p *play) {
			background, cancel := context.WithCancelCause(context.WithValue(context.Background(), backgroundKey{}, "of the process"))
			p.workerOptions.BackgroundActivityContext = background //nolint:fatcontext // one context, one option
			p.pluginOptions.Window = -1                            // local activities end with that context too, and the call must be dispatched
			running := make(chan struct{})
			p.activity("Act", func(ctx context.Context) (string, error) {
				p.seen.note("value", ctx.Value(backgroundKey{}))
				close(running)
				<-ctx.Done()
				p.seen.note("ended", cause(ctx))
				return "", context.Cause(ctx)
			})
			p.workflow(func(ctx workflow.Context, see *notes) error {
				return noteResult[string](ctx, see, "call", workflow.ExecuteActivity(attempts(ctx, 1), "Act"))
			})
			p.start()
			p.receive("the handler's start", running)
			p.await("the end of the workflow task", func() bool {
				events := p.history(p.workflowID, "")
				return len(events) > 4 // its first task is over
			})
			cancel(errors.New("the process ends"))
			p.finish()
		},
	},
}

// gate lets nothing pass but the one activity type that it knows.
type gate struct {
	interceptor.WorkerInterceptorBase
	failInit bool
}

type gateActivity struct {
	interceptor.ActivityInboundInterceptorBase
	gate *gate
	kind string
}

type gateWorkflow struct {
	interceptor.WorkflowInboundInterceptorBase
}

type gateWorkflowOutbound struct {
	interceptor.WorkflowOutboundInterceptorBase
}

func (g *gate) InterceptActivity(ctx context.Context, next interceptor.ActivityInboundInterceptor) interceptor.ActivityInboundInterceptor {
	i := &gateActivity{gate: g, kind: activity.GetInfo(ctx).ActivityType.Name}
	i.Next = next
	return i
}

func (g *gate) InterceptWorkflow(_ workflow.Context, next interceptor.WorkflowInboundInterceptor) interceptor.WorkflowInboundInterceptor {
	i := &gateWorkflow{}
	i.Next = next
	return i
}

func (i *gateActivity) Init(out interceptor.ActivityOutboundInterceptor) error {
	if i.gate.failInit && i.kind == "Act" {
		return errors.New("not now")
	}
	return i.Next.Init(out)
}

func (i *gateActivity) ExecuteActivity(ctx context.Context, in *interceptor.ExecuteActivityInput) (any, error) {
	if i.kind != "Act" {
		return nil, temporal.NewNonRetryableApplicationError("who are you?", "Refused", nil)
	}
	return i.Next.ExecuteActivity(ctx, in)
}

func (i *gateWorkflow) Init(out interceptor.WorkflowOutboundInterceptor) error {
	o := &gateWorkflowOutbound{}
	o.Next = out
	return i.Next.Init(o)
}

func (*gateWorkflowOutbound) ExecuteLocalActivity(workflow.Context, string, ...any) workflow.Future {
	panic("no local activities here")
}
