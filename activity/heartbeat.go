package activity

import (
	"context"
	"errors"
	"sync"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	sdkactivity "go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"
	"google.golang.org/grpc/codes"
)

// The SDK's defaults for its heartbeat throttle, and the least time that it gives to one
// heartbeat.
const (
	defaultHeartbeatThrottle = 30 * time.Second
	maxHeartbeatThrottle     = 60 * time.Second
	minHeartbeatTimeout      = time.Second
)

// heartbeatThrottle is the SDK's time between two heartbeats of an activity.
func (w *Worker) heartbeatThrottle(timeout time.Duration) time.Duration {
	throttle, most := w.options.DefaultHeartbeatThrottleInterval, w.options.MaxHeartbeatThrottleInterval
	if throttle == 0 {
		throttle = defaultHeartbeatThrottle
	}
	if timeout > 0 {
		throttle = time.Duration(0.8 * float64(timeout))
	}
	if most == 0 {
		most = maxHeartbeatThrottle
	}
	return min(throttle, most)
}

// heartbeat sends one heartbeat of a diverted attempt to Temporal and goes on trying for as long
// as the throttle lasts. It returns why the attempt should end, as the SDK gives it to
// an activity's context; nil if it should go on.
func (w *Worker) heartbeat(ctx context.Context, t *activityTask, details *commonpb.Payloads) error {
	limit := max(minHeartbeatTimeout, w.heartbeatThrottle(t.GetHeartbeatTimeout().AsDuration()))
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		reply, err := w.recordHeartbeat(ctx, limit/2, t, details)
		if err == nil {
			return endOfAttempt(reply)
		}
		if !passes(err) || !sleep(ctx, wait) {
			w.logger.Warn("RecordActivityHeartbeat with error", "ActivityID", t.GetActivityId(), "Error", err)
			return err // as the SDK does: if Temporal has not timed the attempt out, it will
		}
	}
}

func (w *Worker) recordHeartbeat(ctx context.Context, timeout time.Duration, t *activityTask, details *commonpb.Payloads) (*workflowservice.RecordActivityTaskHeartbeatResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return w.host.client.WorkflowService().RecordActivityTaskHeartbeat(ctx, &workflowservice.RecordActivityTaskHeartbeatRequest{
		TaskToken: t.GetTaskToken(), Details: details, Identity: w.identity, Namespace: t.GetWorkflowNamespace(),
		ResourceId: resourceID(t.GetWorkflowExecution().GetWorkflowId()),
	})
}

// endOfAttempt is what a heartbeat's reply asks for, nil if nothing.
func endOfAttempt(reply *workflowservice.RecordActivityTaskHeartbeatResponse) error {
	switch {
	case reply.GetCancelRequested():
		return temporal.NewCanceledError()
	case reply.GetActivityPaused():
		return sdkactivity.ErrActivityPaused
	case reply.GetActivityReset():
		return sdkactivity.ErrActivityReset
	}
	return nil
}

// resourceID is what the SDK names the workflow in requests about its activities.
func resourceID(workflowID string) string { return "workflow:" + workflowID }

// isStale tells that Temporal waits no longer for the attempt: it timed out, its workflow
// closed, or another cluster has it now.
func isStale(err error) bool {
	var notFound *serviceerror.NotFound
	var notActive *serviceerror.NamespaceNotActive
	var noNamespace *serviceerror.NamespaceNotFound
	return errors.As(err, &notFound) || errors.As(err, &notActive) || errors.As(err, &noNamespace)
}

// passes tells an error that may be gone when the call is repeated. It is the SDK's list.
func passes(err error) bool {
	switch serviceerror.ToStatus(err).Code() {
	case codes.Aborted, codes.DeadlineExceeded, codes.Internal, codes.ResourceExhausted, codes.Unavailable, codes.Unknown:
		return true
	default:
		return false
	}
}

// pulse carries the heartbeats of one running attempt to Temporal, at most one per
// throttle interval, as the SDK does: the first at once, the last of those that come
// meanwhile when the interval is over.
type pulse struct {
	// send returns why the attempt should end.
	send     func(ctx context.Context, details []byte) error
	end      context.CancelCauseFunc // of the attempt
	throttle time.Duration
	ctx      context.Context
	stop     context.CancelFunc // of ctx

	mu      sync.Mutex
	timer   *time.Timer // while it runs nothing is sent
	resting bool
	latest  []byte // of the attempt so far
	unsent  bool   // latest was not sent yet
	closed  bool
	sending sync.WaitGroup
}

func newPulse(ctx context.Context, throttle time.Duration, end context.CancelCauseFunc, send func(context.Context, []byte) error) *pulse {
	p := &pulse{send: send, end: end, throttle: throttle}
	p.ctx, p.stop = context.WithCancel(context.WithoutCancel(ctx))
	return p
}

// beat takes a heartbeat. The one that is sent at once is sent before beat returns, so
// that its caller finds a cancelled context.
func (p *pulse) beat(details []byte) {
	p.mu.Lock()
	p.latest, p.unsent = details, true
	p.mu.Unlock()
	p.flush()
}

// rested is called when the interval is over.
func (p *pulse) rested() {
	p.mu.Lock()
	p.resting = false
	p.mu.Unlock()
	p.flush()
}

func (p *pulse) flush() {
	p.mu.Lock()
	if p.resting || p.closed || !p.unsent {
		p.mu.Unlock()
		return
	}
	p.resting, p.unsent = true, false
	details := p.latest
	p.sending.Add(1)
	p.mu.Unlock()
	defer p.sending.Done()
	err := p.send(p.ctx, details)
	cutOff := p.ctx.Err() != nil
	if err != nil && !cutOff {
		p.end(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.unsent = p.unsent || cutOff
	if !p.closed {
		p.timer = time.AfterFunc(p.throttle, p.rested)
	}
}

// close ends the pulse and returns the details that were not sent, nil if all were.
// Nothing is sent when it has returned.
func (p *pulse) close() []byte {
	p.mu.Lock()
	p.closed = true
	if p.timer != nil {
		p.timer.Stop()
	}
	p.mu.Unlock()
	p.stop()
	p.sending.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.unsent {
		return p.latest
	}
	return nil
}
