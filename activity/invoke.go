package activity

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	sdkactivity "go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"

	"github.com/slipstream-go/slipstream/batchqueue"
	"github.com/slipstream-go/slipstream/internal/sdkerror"
	"github.com/slipstream-go/slipstream/internal/wire"
)

// invocation is one attempt of a routed call or of a diverted activity task. It does what
// the SDK's activity task handler does for a plain one, in the same order.
type invocation struct {
	w        *Worker
	h        *host
	d        *batchqueue.Delivery
	call     *call
	address  *address
	diverted *diverted // nil for a routed call
	info     sdkactivity.Info
	metrics  client.MetricsHandler
	args     converter.DataConverter // for the arguments; dc is for all that comes back
	dc       converter.DataConverter
	fc       converter.FailureConverter
	// sealed is the converter that failures go through on their way in the queue.
	sealed converter.DataConverter
	span   span
	// err is what the attempt failed with, errType the type that the workflow sees of it.
	err     error
	errType string
	// late: the deadline had passed when the handler returned.
	late bool
}

// handle runs one attempt. It is the executor's batchqueue.Handler and never panics.
func (w *Worker) handle(ctx context.Context, h *host, d *batchqueue.Delivery) batchqueue.Result {
	started := time.Now()
	v := &invocation{w: w, h: h, d: d, address: noAddress, call: noCall}
	err := v.decode()
	v.beginSpan()
	defer v.abandonSpan()
	v.args, v.dc, v.fc = w.rt.client.taskConverters(v.address, d.Type)
	v.sealed = v.dc
	if v.diverted != nil {
		w.unclaimed.remove(d.Run)
		w.vigils.over(d.Run)
		v.info = v.diverted.info(w.taskQueue, started)
		v.dc, v.fc = w.rt.client.activityConverters(v.diverted.task, w.taskQueue)
		v.args = v.dc
	} else {
		v.info = taskInfo(d, v.call, v.address, w.taskQueue, started)
	}
	if deadline, ok := ctx.Deadline(); ok {
		v.info.Deadline = deadline // the queue allows for the difference of the clocks
	}
	v.metrics = newOutbound(w, h, &v.info).GetMetricsHandler(ctx)
	switch {
	case errors.Is(err, errNewerEnvelope):
		if n, say := w.rt.newer.Failed(time.Now()); say {
			v.w.logger.Warn("[Slipstream] a newer release wrote tasks that this one cannot run; they are left to its workers", "ActivityType", d.Type, "Tasks", n, "Error", err)
		}
		v.err = err
		return v.endSpan(ctx, batchqueue.Result{Kind: batchqueue.KindFailed, Declined: true})
	case err != nil:
		return v.endSpan(ctx, v.failed(errUndecodable(d.Type, err)))
	}
	if v.diverted == nil { // the SDK has recorded that of a task that it polled
		w.rt.doubts.consider(d, v.address, h.client)
		v.metrics.Timer("temporal_activity_schedule_to_start_latency").Record(v.info.StartedTime.Sub(d.AttemptScheduledAt))
	}
	result := v.run(ctx)
	if !v.late {
		v.metrics.Timer("temporal_activity_execution_latency").Record(time.Since(started))
		if result.Kind == batchqueue.KindCompleted {
			v.metrics.Timer("temporal_activity_succeed_endtoend_latency").Record(time.Since(v.info.ScheduledTime))
			w.rt.latency.observe(d.Type, time.Since(started))
		}
	}
	if v.diverted != nil {
		result = v.diverted.report(result)
	}
	return v.endSpan(ctx, result)
}

// What a task is taken to carry that cannot be read.
var (
	noAddress = &address{}
	noCall    = &call{}
)

// decode reads what the task carries; what it could not read stays empty.
func (v *invocation) decode() error {
	a, err := v.w.addresses.of(v.d.Common) // first: a failure has to be encoded for whom it goes to
	if err != nil {
		return err
	}
	v.address = a
	c, err := decodeCall(v.d.Payload)
	if err != nil {
		return err
	}
	v.call = c
	if d := v.d; d.Step > 0 {
		fixed, err := decodeCall(d.Fixed())
		if err != nil {
			return err
		}
		c.ActivityID, c.NonRetryable = fixed.ActivityID, fixed.NonRetryable
	}
	v.diverted, err = divertedFrom(c, a)
	return err
}

func (v *invocation) run(queueCtx context.Context) (result batchqueue.Result) {
	ctx, end := v.context(queueCtx)
	defer end()
	if v.diverted != nil {
		v.diverted.begin(ctx, v.w, v.d.End)
	}
	// The handler may panic, and so may the converters that run here and there: where
	// details cannot be encoded, for instance.
	defer func() {
		if p := recover(); p != nil {
			result = v.failed(v.panicked(p, panicStack(v.info.TaskQueue)))
		}
	}()
	output, err := v.execute(ctx)

	// Only a cancel that the workflow asked for is reported as one.
	canceled := errors.Is(ctx.Err(), context.Canceled) && temporal.IsCanceledError(context.Cause(ctx))
	if tooLarge, ok := context.Cause(ctx).(payloadSizeError); ok { //nolint:errorlint // a heartbeat's, see RecordHeartbeat
		return v.failed(tooLarge)
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		// The queue has reported the time-out already, or does so now; what the handler
		// made of it comes too late, as in Temporal.
		v.late = true
		v.w.logger.Info("Activity complete after timeout.", v.tags("Result", output, "Error", err)...)
		v.countFailure(reasonActivityError)
		if v.diverted != nil {
			v.diverted.linger(ctx, v.w, false, v.d.Heartbeat)
			v.diverted.pending = true // Temporal has its own clock
		}
		return batchqueue.Result{Kind: batchqueue.KindFailed}
	}
	if err == nil {
		return v.completed(output)
	}
	if errors.Is(err, sdkactivity.ErrResultPending) {
		return v.resultPending()
	}
	if v.diverted != nil && errors.Is(context.Cause(queueCtx), worker.ErrWorkerShutdown) {
		v.diverted.linger(ctx, v.w, true, v.d.Heartbeat)
	}
	if isBenign(err) || v.dropped(queueCtx) {
		v.w.logger.Debug("Activity error.", v.tags("Error", err)...)
	} else {
		v.w.logger.Error("Activity error.", v.tags("Error", err)...)
	}
	if canceled {
		if ce, ok := errors.AsType[*temporal.CanceledError](err); ok {
			return v.canceled(ce)
		}
		if errors.Is(err, context.Canceled) {
			return batchqueue.Result{Kind: batchqueue.KindCanceled}
		}
	}
	if ce, ok := err.(*temporal.CanceledError); ok { //nolint:errorlint // the SDK looks at the outermost error only
		err = fmt.Errorf("unexpected activity cancel error: %w", ce)
	}
	return v.failed(err)
}

// panicked reports a panic and returns the error that it becomes.
func (v *invocation) panicked(p any, stack string) error {
	v.w.logger.Error("Activity panic.", v.tags("PanicError", fmt.Sprintf("%v", p), "PanicStack", stack)...)
	v.metrics.Counter("temporal_activity_task_error").Inc(1)
	return sdkerror.Panic(fmt.Sprintf("%v", p), stack)
}

// dropped tells whether the queue has no use for the attempt's failure: the task was
// released to run again, or is another executor's.
func (v *invocation) dropped(queueCtx context.Context) bool {
	cause := context.Cause(queueCtx)
	return errors.Is(cause, worker.ErrWorkerShutdown) || errors.Is(cause, batchqueue.ErrLeaseLost)
}

// execute builds the user's interceptors around the handler, as the SDK does for each
// activity, and calls them.
func (v *invocation) execute(ctx context.Context) (output *commonpb.Payloads, err error) {
	h := v.w.registry.find(v.d.Type)
	if h == nil {
		v.metrics.Counter("temporal_unregistered_activity_invocation").Inc(1)
		return nil, v.w.registry.errNotRegistered(v.d.Type)
	}
	base := newOutbound(v.w, v.h, &v.info)
	base.dc, base.beat, base.limit, base.abort = v.dc, v.beat, v.payloadLimit(), v.d.End
	if base.details, err = v.details(); err != nil {
		return nil, fmt.Errorf("heartbeat details of the attempt before: %w", err)
	}
	ctx = context.WithValue(ctx, outboundKey, interceptor.ActivityOutboundInterceptor(base))
	inner := &innermost{handler: h, outbound: base}
	var chain interceptor.ActivityInboundInterceptor = inner
	for _, i := range slices.Backward(v.w.interceptors) {
		chain = i.InterceptActivity(ctx, chain)
	}
	if err := chain.Init(base); err != nil {
		return nil, err
	}
	if inner.outbound != interceptor.ActivityOutboundInterceptor(base) {
		ctx = context.WithValue(ctx, outboundKey, inner.outbound)
	}

	header, in, err := v.input()
	if err != nil {
		return nil, err
	}
	if ctx, err = v.w.rt.client.withHeader(ctx, header); err != nil {
		return nil, err
	}
	ctx = v.withSpan(ctx)
	args, err := h.decode(v.d.Type, contextAware(ctx, v.args), in)
	if err != nil {
		return nil, err
	}
	result, err := chain.ExecuteActivity(ctx, &interceptor.ExecuteActivityInput{Args: args})
	if result == nil {
		return nil, err
	}
	// An interceptor may return payloads; they are taken as they are.
	output, ok := result.(*commonpb.Payloads)
	if !ok {
		var encodeErr error
		if output, encodeErr = contextAware(ctx, v.dc).ToPayloads(result); encodeErr != nil {
			return nil, encodeErr
		}
	}
	return output, err
}

// beat passes a heartbeat on. A diverted task's details go to Temporal; in the queue they
// serve the executor that goes on with a released attempt.
func (v *invocation) beat(details []byte) {
	v.d.RecordHeartbeat(details)
	if v.diverted != nil {
		v.diverted.pulse.beat(details)
	}
}

// details are the heartbeat details that the handler finds, nil if there are none.
func (v *invocation) details() (*commonpb.Payloads, error) {
	if v.diverted != nil {
		return v.diverted.details(v.d.Heartbeat)
	}
	return wire.DecodePayloads(v.d.Heartbeat)
}

// input returns header and arguments.
func (v *invocation) input() (*commonpb.Header, *commonpb.Payloads, error) {
	if v.diverted != nil {
		return v.diverted.task.GetHeader(), v.diverted.task.GetInput(), nil
	}
	header, err := v.call.headerOr(v.address.Header)
	if err != nil {
		return nil, nil, err
	}
	in, err := wire.DecodePayloads(v.call.Input)
	return header, in, err
}

// innermost is the end of the interceptor chain: the handler itself.
type innermost struct {
	interceptor.ActivityInboundInterceptorBase
	handler *handler
	// outbound is what the chain made of the base in Init.
	outbound interceptor.ActivityOutboundInterceptor
}

func (i *innermost) Init(outbound interceptor.ActivityOutboundInterceptor) error {
	i.outbound = outbound
	return nil
}

func (i *innermost) ExecuteActivity(ctx context.Context, in *interceptor.ExecuteActivityInput) (any, error) {
	// The header is for interceptors only.
	return i.handler.call(context.WithValue(ctx, headerKey, nil), in.Args)
}

// attemptContext ends as the queue's context does and has the values of the host's. What is
// derived from it is a child of the queue's: nothing has to watch the two.
type attemptContext struct {
	context.Context

	host context.Context
}

func (c attemptContext) Value(key any) any {
	if v := c.Context.Value(key); v != nil {
		return v
	}
	return c.host.Value(key)
}

// context is the attempt's. It also ends with the worker's background context, and at a
// deadline of Temporal's where the queue has none.
func (v *invocation) context(queueCtx context.Context) (ctx context.Context, end func()) {
	ctx, end = attemptContext{queueCtx, v.h.ctx}, func() {}
	if _, limited := queueCtx.Deadline(); !limited {
		ctx, end = context.WithDeadline(ctx, v.info.Deadline)
	}
	background := v.w.background
	if background.Done() == nil {
		return ctx, end
	}
	stop := context.AfterFunc(background, func() { v.d.End(context.Cause(background)) })
	cancelDeadline := end
	return ctx, func() {
		stop()
		cancelDeadline()
	}
}

// cancelCause is why a handler's context ends, for the reasons that the SDK gives a plain
// activity.
func cancelCause(cause error) error {
	switch {
	case errors.Is(cause, batchqueue.ErrCanceled):
		return temporal.NewCanceledError()
	case errors.Is(cause, batchqueue.ErrStopping):
		return worker.ErrWorkerShutdown
	}
	return cause
}

func (v *invocation) tags(more ...any) []any {
	tags := []any{"WorkflowID", v.address.WorkflowID, "RunID", v.address.RunID}
	if v.address.Batch != "" {
		tags = []any{"ActivityID", v.info.ActivityID, "ActivityRunID", v.info.ActivityRunID}
	}
	return append(append(tags, "ActivityType", v.d.Type, "Attempt", v.info.Attempt), more...)
}

// panicStack is cut as the SDK cuts it: without the frames between the panic and its
// recovery. It must be called by the deferred function itself.
func panicStack(taskQueue string) string {
	const goroutineAndThreeFrames = 9 // this function's frame is one more than the SDK has
	lines := strings.Split(strings.TrimSpace(string(debug.Stack())), "\n")
	if len(lines) > goroutineAndThreeFrames {
		lines = lines[goroutineAndThreeFrames:]
	}
	return fmt.Sprintf("activity for %s [panic]:\n%s", taskQueue, strings.Join(lines, "\n"))
}

func isBenign(err error) bool {
	ae, ok := err.(*temporal.ApplicationError) //nolint:errorlint // the SDK looks at the outermost error only
	return ok && ae.Category() == temporal.ApplicationErrorCategoryBenign
}
