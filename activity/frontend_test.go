package activity

import (
	"context"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	namespacepb "go.temporal.io/api/namespace/v1"
	"go.temporal.io/api/serviceerror"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	sdkactivity "go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/worker"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/slipstream-go/slipstream/batchqueue"
	"github.com/slipstream-go/slipstream/internal/redistest"
)

// frontend is a Temporal server that has no work but what tests give it, and writes down
// what it is told.
type frontend struct {
	workflowservice.UnimplementedWorkflowServiceServer
	address string
	signals chan *workflowservice.SignalWorkflowExecutionRequest
	// tasks are for the workers of "queue", sessionTasks for sessions; answers and
	// heartbeats are what came for them.
	tasks, sessionTasks chan *workflowservice.PollActivityTaskQueueResponse
	answers             chan proto.Message
	heartbeats          chan *workflowservice.RecordActivityTaskHeartbeatRequest

	mu       sync.Mutex
	polls    map[string]int // activity polls by task queue
	answered int            // activity tasks that workers reported
	failed   int            // those reported as failed
	canceled []string       // tokens of those reported as canceled
	beats    map[string]int // heartbeats by token
	refuse   error          // for signals and answers
	asked    []string       // run IDs that were described
	describe func(run string) (enumspb.WorkflowExecutionStatus, error)
	// What heartbeats are answered with.
	cancel, paused, reset bool
	stale                 error
}

func startFrontend(t *testing.T) *frontend {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	f := &frontend{address: listener.Addr().String(), polls: map[string]int{}, beats: map[string]int{},
		signals:      make(chan *workflowservice.SignalWorkflowExecutionRequest, 100),
		tasks:        make(chan *workflowservice.PollActivityTaskQueueResponse, 100),
		sessionTasks: make(chan *workflowservice.PollActivityTaskQueueResponse, 100),
		answers:      make(chan proto.Message, 1000),
		heartbeats:   make(chan *workflowservice.RecordActivityTaskHeartbeatRequest, 1000)}
	server := grpc.NewServer()
	workflowservice.RegisterWorkflowServiceServer(server, f)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(listener)
	}()
	t.Cleanup(func() {
		server.Stop()
		<-done
	})
	return f
}

func (f *frontend) GetSystemInfo(context.Context, *workflowservice.GetSystemInfoRequest) (*workflowservice.GetSystemInfoResponse, error) {
	return &workflowservice.GetSystemInfoResponse{ServerVersion: "1", Capabilities: &workflowservice.GetSystemInfoResponse_Capabilities{}}, nil
}

func (f *frontend) DescribeNamespace(context.Context, *workflowservice.DescribeNamespaceRequest) (*workflowservice.DescribeNamespaceResponse, error) {
	return &workflowservice.DescribeNamespaceResponse{NamespaceInfo: &namespacepb.NamespaceInfo{Name: "namespace"}}, nil
}

func (f *frontend) PollActivityTaskQueue(ctx context.Context, r *workflowservice.PollActivityTaskQueueRequest) (*workflowservice.PollActivityTaskQueueResponse, error) {
	f.mu.Lock()
	f.polls[r.GetTaskQueue().GetName()]++
	f.mu.Unlock()
	var tasks chan *workflowservice.PollActivityTaskQueueResponse
	switch name := r.GetTaskQueue().GetName(); {
	case name == "queue":
		tasks = f.tasks
	case strings.Contains(name, "@"):
		tasks = f.sessionTasks
	}
	select {
	case task := <-tasks:
		return task, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (f *frontend) PollWorkflowTaskQueue(ctx context.Context, _ *workflowservice.PollWorkflowTaskQueueRequest) (*workflowservice.PollWorkflowTaskQueueResponse, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func (f *frontend) PollNexusTaskQueue(ctx context.Context, _ *workflowservice.PollNexusTaskQueueRequest) (*workflowservice.PollNexusTaskQueueResponse, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// report takes an answer to an activity task.
func (f *frontend) report(answer proto.Message) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answered++
	switch r := answer.(type) {
	case *workflowservice.RespondActivityTaskFailedRequest:
		f.failed++
	case *workflowservice.RespondActivityTaskCanceledRequest:
		f.canceled = append(f.canceled, string(r.GetTaskToken()))
	}
	f.answers <- answer
	return serviceerror.ToStatus(f.refuse).Err()
}

func (f *frontend) RespondActivityTaskCompleted(_ context.Context, r *workflowservice.RespondActivityTaskCompletedRequest) (*workflowservice.RespondActivityTaskCompletedResponse, error) {
	return &workflowservice.RespondActivityTaskCompletedResponse{}, f.report(r)
}

func (f *frontend) RespondActivityTaskFailed(_ context.Context, r *workflowservice.RespondActivityTaskFailedRequest) (*workflowservice.RespondActivityTaskFailedResponse, error) {
	return &workflowservice.RespondActivityTaskFailedResponse{}, f.report(r)
}

func (f *frontend) RespondActivityTaskCanceled(_ context.Context, r *workflowservice.RespondActivityTaskCanceledRequest) (*workflowservice.RespondActivityTaskCanceledResponse, error) {
	return &workflowservice.RespondActivityTaskCanceledResponse{}, f.report(r)
}

func (f *frontend) RecordActivityTaskHeartbeat(_ context.Context, r *workflowservice.RecordActivityTaskHeartbeatRequest) (*workflowservice.RecordActivityTaskHeartbeatResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.beats[string(r.GetTaskToken())]++
	f.heartbeats <- r
	return &workflowservice.RecordActivityTaskHeartbeatResponse{CancelRequested: f.cancel, ActivityPaused: f.paused, ActivityReset: f.reset},
		serviceerror.ToStatus(f.stale).Err()
}

// eventually waits until what the frontend was told meets the condition.
func (f *frontend) eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	require.Eventually(t, func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return condition()
	}, 20*time.Second, 5*time.Millisecond, what)
}

func (f *frontend) SignalWorkflowExecution(_ context.Context, r *workflowservice.SignalWorkflowExecutionRequest) (*workflowservice.SignalWorkflowExecutionResponse, error) {
	f.signals <- r
	f.mu.Lock()
	defer f.mu.Unlock()
	return &workflowservice.SignalWorkflowExecutionResponse{}, f.refuse
}

func (f *frontend) DescribeWorkflowExecution(_ context.Context, r *workflowservice.DescribeWorkflowExecutionRequest) (*workflowservice.DescribeWorkflowExecutionResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, r.GetExecution().GetRunId())
	status, err := f.describe(r.GetExecution().GetRunId())
	if err != nil {
		return nil, err
	}
	return &workflowservice.DescribeWorkflowExecutionResponse{WorkflowExecutionInfo: &workflowpb.WorkflowExecutionInfo{Status: status}}, nil
}

func (f *frontend) describeBy(answer func(run string) (enumspb.WorkflowExecutionStatus, error)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.describe = answer
}

func (f *frontend) described() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.asked)
}

func (f *frontend) ShutdownWorker(context.Context, *workflowservice.ShutdownWorkerRequest) (*workflowservice.ShutdownWorkerResponse, error) {
	return &workflowservice.ShutdownWorkerResponse{}, nil
}

// signal waits for the next signal.
func (f *frontend) signal(t *testing.T) *workflowservice.SignalWorkflowExecutionRequest {
	t.Helper()
	select {
	case s := <-f.signals:
		return s
	case <-time.After(10 * time.Second):
		require.FailNow(t, "no signal")
		return nil
	}
}

// plugged is the least plugin around a runtime.
type plugged struct {
	clientBase
	workerBase
	o  RuntimeOptions
	rt *Runtime
	// connectionless leaves the gRPC interceptor out.
	connectionless bool
}

type (
	clientBase = client.PluginBase
	workerBase = worker.PluginBase
)

func (p *plugged) Name() string { return "plugged" }

func (p *plugged) ConfigureClient(_ context.Context, o client.PluginConfigureClientOptions) error {
	o.ClientOptions.Interceptors = append([]interceptor.ClientInterceptor{&firstInterceptor{}}, o.ClientOptions.Interceptors...)
	if !p.connectionless {
		o.ClientOptions.ConnectionOptions.DialOptions = append(o.ClientOptions.ConnectionOptions.DialOptions, grpc.WithChainUnaryInterceptor(InterceptUnary))
	}
	return nil
}

func (p *plugged) NewClient(ctx context.Context, o client.PluginNewClientOptions, next func(context.Context, client.PluginNewClientOptions) error) error {
	p.rt = NewRuntime(NewClient(&o.ClientOptions), p.o)
	return next(ctx, o)
}

func (p *plugged) ConfigureWorker(_ context.Context, o worker.PluginConfigureWorkerOptions) error {
	p.rt.Configure(o)
	return nil
}

func (p *plugged) StartWorker(ctx context.Context, o worker.PluginStartWorkerOptions, next func(context.Context, worker.PluginStartWorkerOptions) error) error {
	return p.rt.Worker(o.WorkerInstanceKey).Start(ctx, func(a any, r sdkactivity.RegisterOptions) { o.WorkerRegistry.RegisterActivityWithOptions(a, r) },
		func(ctx context.Context) error { return next(ctx, o) })
}

func (p *plugged) StopWorker(ctx context.Context, o worker.PluginStopWorkerOptions, next func(context.Context, worker.PluginStopWorkerOptions)) {
	if w := p.rt.Worker(o.WorkerInstanceKey); w != nil {
		w.Stop(ctx, func(ctx context.Context) { next(ctx, o) })
		return
	}
	next(ctx, o)
}

type firstInterceptor struct{ interceptor.InterceptorBase }

func (*firstInterceptor) InterceptActivity(ctx context.Context, next interceptor.ActivityInboundInterceptor) interceptor.ActivityInboundInterceptor {
	return InterceptActivity(ctx, next)
}

// site is a fake Temporal, a Redis and a client between them.
type site struct {
	frontend *frontend
	redis    *miniredis.Miniredis
	rdb      *redis.Client
	queue    *batchqueue.Queue
	plugin   *plugged
	client   client.Client
	log      *logRecorder
}

func newSite(t *testing.T, o client.Options) *site {
	t.Helper()
	s := &site{frontend: startFrontend(t), redis: redistest.StartMini(t), log: &logRecorder{}}
	rdb := redis.NewClient(&redis.Options{Addr: s.redis.Addr(), ContextTimeoutEnabled: true})
	t.Cleanup(func() { _ = rdb.Close() })
	s.rdb = rdb
	var err error
	s.queue, err = batchqueue.New(rdb, batchqueue.Options{Namespace: "namespace", Lease: time.Second, Logger: s.log})
	require.NoError(t, err)
	s.plugin = &plugged{o: RuntimeOptions{
		Queue: s.queue, Marks: map[string]string{"noContext": "", "inspecting": ""}, Window: 50 * time.Millisecond,
		DrainTimeout: time.Second, MaxPayloadBytes: 1 << 20,
	}}
	o.HostPort, o.Namespace, o.Logger, o.Identity = s.frontend.address, "namespace", s.log, "identity"
	o.WorkerHeartbeatInterval = -1
	o.Plugins = []client.Plugin{s.plugin}
	s.client, err = client.Dial(o)
	require.NoError(t, err)
	t.Cleanup(s.client.Close)
	return s
}

// logRecorder keeps what was logged.
type logRecorder struct {
	mu      sync.Mutex
	entries []logEntry
}

type logEntry struct {
	level, message string
	keyvals        []any
}

func (l *logRecorder) add(level, message string, keyvals []any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries = append(l.entries, logEntry{level, message, keyvals})
}

func (l *logRecorder) Debug(m string, kv ...any) { l.add("debug", m, kv) }
func (l *logRecorder) Info(m string, kv ...any)  { l.add("info", m, kv) }
func (l *logRecorder) Warn(m string, kv ...any)  { l.add("warn", m, kv) }
func (l *logRecorder) Error(m string, kv ...any) { l.add("error", m, kv) }

// own are the entries of a level that Slipstream wrote. The SDK has words of its own, of a
// poll that took too long on a busy machine for instance.
func (l *logRecorder) own(level string) []logEntry {
	return slices.DeleteFunc(l.at(level), func(e logEntry) bool { return !strings.HasPrefix(e.message, "[Slipstream]") })
}

// at returns the entries of a level.
func (l *logRecorder) at(level string) []logEntry {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []logEntry
	for _, e := range l.entries {
		if e.level == level {
			out = append(out, e)
		}
	}
	return out
}
