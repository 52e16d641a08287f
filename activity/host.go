package activity

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/api/workflowservice/v1"
	sdkactivity "go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/interceptor"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// A handler needs the context of a real activity of its worker: with the background
// context, metrics handler and client that the SDK put there. Only the SDK's activity
// worker makes one, for a task that it polled. So one poll of each worker is answered
// here, in the gRPC client, with a synthetic task that the server never hears of. Its
// context is caught and kept, detached from the task's end.

// hostActivity is the type of the synthetic task. StartWorker registers it, so that the
// SDK finds something to run.
const hostActivity = "slipstream.host"

// hostTokenPrefix begins the task token of every synthetic task; the server's own tokens
// are protobuf messages and never begin so.
const hostTokenPrefix = "slipstream-host/"

// host is what a worker's handlers take from the SDK.
type host struct {
	// ctx has the values of an activity context and is never done.
	ctx      context.Context
	outbound interceptor.ActivityOutboundInterceptor
	client   client.Client
	metrics  client.MetricsHandler
}

// hostRequest waits for one poll of one worker, then for the context of the task that
// answered it.
type hostRequest struct {
	key      hostKey
	polled   atomic.Bool
	answered chan *host // capacity 1
}

// hostKey names a worker's main activity poller. The session pollers of a worker share
// its instance key, but not its task queue.
type hostKey struct{ instance, taskQueue string }

func (k hostKey) token() []byte { return []byte(hostTokenPrefix + k.instance + "/" + k.taskQueue) }

// hostTable holds the open requests of the whole process: clients made from an existing
// client share its connection, and with it the interceptor of another plugin value.
type hostTable struct {
	mu   sync.Mutex
	open map[hostKey]*hostRequest
}

var hostRequests = hostTable{open: map[hostKey]*hostRequest{}}

func (t *hostTable) find(key hostKey) *hostRequest {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.open[key]
}

// requestHost asks for the host context of a worker that is about to start.
func requestHost(instance, taskQueue string) *hostRequest {
	r := &hostRequest{key: hostKey{instance, taskQueue}, answered: make(chan *host, 1)}
	hostRequests.mu.Lock()
	defer hostRequests.mu.Unlock()
	hostRequests.open[r.key] = r
	return r
}

// withdraw ends the request, answered or not.
func (r *hostRequest) withdraw() {
	hostRequests.mu.Lock()
	defer hostRequests.mu.Unlock()
	delete(hostRequests.open, r.key)
}

// InterceptUnary is the gRPC client interceptor of the plugin. It answers at most one
// activity poll per worker, and what that poll's task reports; all other calls pass
// through untouched. It also sees which workflow runs close and which activity tasks
// arrive, and looks who else polls.
func InterceptUnary(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	switch r := req.(type) {
	case *workflowservice.PollActivityTaskQueueRequest:
		response, ok := reply.(*workflowservice.PollActivityTaskQueueResponse)
		if !ok {
			break
		}
		key := hostKey{r.GetWorkerInstanceKey(), r.GetTaskQueue().GetName()}
		if open := hostRequests.find(key); open != nil && open.polled.CompareAndSwap(false, true) {
			answerPoll(response, r.GetNamespace(), key)
			return nil
		}
		err := invoke(ctx, method, req, reply, cc, opts...)
		if err == nil {
			noteArrivals(r.GetNamespace(), response)
		}
		return err
	case *workflowservice.PollWorkflowTaskQueueRequest:
		lookAround(ctx, r, cc, invoke, opts)
	case *workflowservice.RespondActivityTaskCompletedRequest:
		if isHostToken(r.GetTaskToken()) {
			return nil
		}
	case *workflowservice.RespondActivityTaskFailedRequest:
		if isHostToken(r.GetTaskToken()) {
			return nil
		}
	case *workflowservice.RespondActivityTaskCanceledRequest:
		if isHostToken(r.GetTaskToken()) {
			return nil
		}
	case *workflowservice.RespondWorkflowTaskCompletedRequest:
		err := invoke(ctx, method, req, reply, cc, opts...)
		if response, ok := reply.(*workflowservice.RespondWorkflowTaskCompletedResponse); err == nil && ok {
			noteArrivals(r.GetNamespace(), response.GetActivityTasks()...)
		}
		if err == nil && closesRun(r) {
			runtimes.runClosed(r.GetNamespace(), r.GetResourceId())
		}
		return err
	}
	return invoke(ctx, method, req, reply, cc, opts...)
}

func isHostToken(token []byte) bool { return strings.HasPrefix(string(token), hostTokenPrefix) }

func answerPoll(response *workflowservice.PollActivityTaskQueueResponse, namespace string, key hostKey) {
	now := timestamppb.Now()
	response.TaskToken = key.token()
	response.WorkflowNamespace = namespace
	// Without a workflow ID the SDK would take it for a standalone activity.
	response.WorkflowExecution = &commonpb.WorkflowExecution{WorkflowId: "slipstream", RunId: "slipstream"}
	response.WorkflowType = &commonpb.WorkflowType{Name: "slipstream"}
	response.ActivityType = &commonpb.ActivityType{Name: hostActivity}
	response.ActivityId = "host"
	response.ScheduledTime, response.CurrentAttemptScheduledTime, response.StartedTime = now, now, now
	response.StartToCloseTimeout = durationpb.New(time.Minute)
	response.Attempt = 1
}

// catchHost takes the context of a synthetic task. It is called where the SDK builds
// the task's interceptors: the context is complete there, but nothing of the user's is
// in it yet. A little later, in a context propagator or in the activity itself, a strict
// propagator could already have failed the task, and a tracer's span would become the
// parent of everything that every handler does. It reports whether the task is one.
func catchHost(ctx context.Context) bool {
	if !sdkactivity.IsActivity(ctx) {
		return false
	}
	info := sdkactivity.GetInfo(ctx)
	if info.ActivityType.Name != hostActivity || !isHostToken(info.TaskToken) {
		return false
	}
	instance, taskQueue, _ := strings.Cut(strings.TrimPrefix(string(info.TaskToken), hostTokenPrefix), "/")
	open, h := hostRequests.find(hostKey{instance, taskQueue}), newHost(ctx)
	if open == nil || h == nil {
		return true
	}
	select {
	case open.answered <- h:
	default: // the SDK builds interceptors once per task; whatever the second is, one is enough
	}
	return true
}

// newHost takes what handlers need from an activity context before any interceptor has
// changed it; nil where that is no such context.
func newHost(ctx context.Context) *host {
	outbound, ok := ctx.Value(outboundKey).(interceptor.ActivityOutboundInterceptor)
	if !ok {
		return nil
	}
	return &host{
		ctx:      context.WithoutCancel(ctx),
		outbound: outbound,
		client:   sdkactivity.GetClient(ctx),
		metrics:  sdkactivity.GetMetricsHandler(ctx),
	}
}

// runHost is the host activity. Its work is done before it is called.
func runHost(context.Context) error { return nil }

// hostInbound keeps the user's interceptors from seeing the synthetic task as an
// activity that ran: it stands first in the chain and ends the call there.
type hostInbound struct {
	interceptor.ActivityInboundInterceptorBase
}

func (i *hostInbound) ExecuteActivity(context.Context, *interceptor.ExecuteActivityInput) (any, error) {
	return nil, nil
}
