package activity

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	taskqueuepb "go.temporal.io/api/taskqueue/v1"
	"go.temporal.io/api/workflowservice/v1"
	"google.golang.org/grpc"
)

// A routed run can be replayed only by a worker that has the plugin. If another worker
// polls the task queue too, some of its workflow tasks end in a non-determinism error that
// does not say why. So every worker with the plugin enlists in Redis, and each one looks,
// when it polls, who else does: as long as somebody polls who is not enlisted, new runs
// of the task queue are not routed, and the log says whom to give the plugin.

const (
	// enlistedFor is how long a worker is known to have the plugin after it said so.
	enlistedFor = 10 * time.Minute
	// pollLasts is longer than a poll of an idle worker: one that has not begun another
	// for so long has gone. The server's list does not say who stopped.
	pollLasts = 70 * time.Second
	// rememberedFor is how long a worker is known to have the plugin after this one saw that
	// it is enlisted, whatever Redis says by then: it may have lost its data, and with them
	// who has stopped since. Those who have not enlist again within lookSeldom.
	rememberedFor = pollLasts + lookSeldom
	// A worker looks around this often while it is young or holds, and otherwise.
	lookOften, lookSeldom = 5 * time.Second, time.Minute
	lookOftenFor          = 2 * time.Minute
	lookTimeout           = 2 * time.Second
)

// fleet is what a worker knows of the others that poll its task queue.
type fleet struct {
	w     *Worker
	holds atomic.Bool // new runs are not routed

	mu       sync.Mutex
	began    time.Time
	next     time.Time            // of the next look
	enlisted map[string]time.Time // workers, and when they were last seen to be enlisted
	strange  map[string]time.Time // last polls of workers that are not enlisted
	reported []string             // those that polled while this one looked
}

// look is called before each poll for workflow tasks; the first of a worker waits for
// it. What cannot be found out changes nothing.
func (f *fleet) look(ctx context.Context, describe func(context.Context) (*workflowservice.DescribeTaskQueueResponse, error)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	if now.Before(f.next) {
		return
	}
	if f.began.IsZero() {
		f.began = now
	}
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	err := f.enlist(ctx)
	said := err == nil
	if said {
		err = f.around(ctx, now, describe)
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		f.w.logger.Debug("[Slipstream] cannot tell whether all workers of the task queue have the plugin", "Error", err)
	}
	f.next = now.Add(lookSeldom)
	// Redis may have lost who has the plugin: who could not say so says it soon, or workers
	// that start meanwhile take it for a stranger.
	if !said || f.holds.Load() || now.Sub(f.began) < lookOftenFor {
		f.next = now.Add(lookOften)
	}
}

func (f *fleet) around(ctx context.Context, now time.Time, describe func(context.Context) (*workflowservice.DescribeTaskQueueResponse, error)) error {
	if f.w.rt.o.Disabled {
		return nil // this worker routes nothing
	}
	queue, err := describe(ctx)
	if err != nil {
		return err
	}
	enlisted, err := f.w.rt.queue.Enlisted(ctx, f.pool())
	if err != nil {
		return err
	}
	f.remember(enlisted, now)
	isStrange := func(p *taskqueuepb.PollerInfo) bool {
		_, has := f.enlisted[p.GetIdentity()]
		return !has && buildOf(p) == f.w.build && now.Sub(p.GetLastAccessTime().AsTime()) <= pollLasts
	}
	if slices.ContainsFunc(queue.GetPollers(), isStrange) {
		// Redis may have lost who is enlisted, and hears it again within a minute. Whose
		// executors are there it hears all the time.
		present, err := f.w.rt.queue.Workers(ctx, f.pool())
		if err != nil {
			return err
		}
		f.remember(present, now)
	}
	strange := map[string]time.Time{}
	var polling []string
	for _, p := range queue.GetPollers() {
		if !isStrange(p) {
			continue
		}
		name, last := p.GetIdentity(), p.GetLastAccessTime().AsTime()
		strange[name] = last
		if before, known := f.strange[name]; (known && last.After(before)) || slices.Contains(f.reported, name) {
			polling = append(polling, name)
		}
	}
	f.conclude(strange, polling)
	return nil
}

// remember notes who is enlisted, and forgets who has not been for long.
func (f *fleet) remember(enlisted map[string]bool, now time.Time) {
	maps.DeleteFunc(f.enlisted, func(_ string, seen time.Time) bool { return now.Sub(seen) > rememberedFor })
	if f.enlisted == nil {
		f.enlisted = make(map[string]time.Time, len(enlisted))
	}
	for name := range enlisted {
		f.enlisted[name] = now
	}
}

// conclude sets what follows: polling are the strange ones that are there for certain.
func (f *fleet) conclude(strange map[string]time.Time, polling []string) {
	slices.Sort(polling)
	switch {
	case len(polling) > 0 && !slices.Equal(polling, f.reported):
		f.w.logger.Error("[Slipstream] workers without the plugin poll this task queue, and could not go on with a routed run: no new runs are routed. "+
			"Give them the plugin, with Options.Disabled first, or stop them", "Workers", polling)
	case len(strange) > 0 && !f.holds.Load():
		f.w.logger.Info("[Slipstream] a worker without the plugin has polled this task queue lately: no new runs are routed until it has gone",
			"Workers", slices.Sorted(maps.Keys(strange)), "AtMost", pollLasts)
	case len(strange) == 0 && f.holds.Load():
		f.w.logger.Info("[Slipstream] all workers of this task queue have the plugin: new runs are routed")
	}
	f.strange, f.reported = strange, polling
	f.holds.Store(len(strange) > 0)
}

// enlist says that this worker has the plugin.
func (f *fleet) enlist(ctx context.Context) error {
	return f.w.rt.queue.Enlist(ctx, f.pool(), f.w.identity, enlistedFor)
}

func (f *fleet) pool() string { return PoolName(f.w.taskQueue, "", "") }

// buildOf is the build that a poller serves; workflow tasks go to others of it only.
func buildOf(p *taskqueuepb.PollerInfo) string {
	if o := p.GetDeploymentOptions(); o.GetWorkerVersioningMode() == enumspb.WORKER_VERSIONING_MODE_VERSIONED {
		return o.GetDeploymentName() + "." + o.GetBuildId()
	}
	if c := p.GetWorkerVersionCapabilities(); c.GetUseVersioning() { //nolint:staticcheck // deprecated, but workers send it
		return c.GetBuildId()
	}
	return ""
}

// Holds tells whether new runs of the task queue must not be routed now.
func (r *Runtime) Holds(taskQueue string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, w := range r.workers {
		if w.taskQueue == taskQueue && w.fleet.holds.Load() {
			return true
		}
	}
	return false
}

// lookAround has the worker that is about to poll look around. Sticky queues are its own.
func lookAround(ctx context.Context, r *workflowservice.PollWorkflowTaskQueueRequest, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts []grpc.CallOption) {
	if r.GetTaskQueue().GetKind() == enumspb.TASK_QUEUE_KIND_STICKY {
		return
	}
	w := runtimes.worker(r.GetWorkerInstanceKey())
	if w == nil || w.taskQueue != r.GetTaskQueue().GetName() {
		return
	}
	w.fleet.look(ctx, func(ctx context.Context) (*workflowservice.DescribeTaskQueueResponse, error) {
		reply := &workflowservice.DescribeTaskQueueResponse{}
		err := invoke(ctx, workflowservice.WorkflowService_DescribeTaskQueue_FullMethodName, &workflowservice.DescribeTaskQueueRequest{
			Namespace: r.GetNamespace(), TaskQueue: &taskqueuepb.TaskQueue{Name: w.taskQueue, Kind: enumspb.TASK_QUEUE_KIND_NORMAL},
			TaskQueueType: enumspb.TASK_QUEUE_TYPE_WORKFLOW,
		}, reply, cc, opts...)
		return reply, err
	})
}
