package activity

import (
	"cmp"
	"context"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"hash/fnv"
	"maps"
	"strings"
	"sync"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	sdkactivity "go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/interceptor"
	"google.golang.org/protobuf/proto"

	"github.com/slipstream-go/slipstream/batchqueue"
)

// A marked activity may arrive as an ordinary activity task: of a workflow that is not
// routed, of a worker without the plugin, of another language. It is diverted: put into
// the queue, where it is a run of its own with one task, and its slot in the SDK's worker
// is free again at once. An executor runs it, and the slot's Deliverer answers its token.
//
// Temporal has started the attempt and keeps its clocks and its retries. So the queue
// tries nothing again, and nothing is diverted that would have to wait there.

const (
	// divertedNumber is the number of the one task of a diverted run.
	divertedNumber = 1
	// Temporal answers a token once and nobody asks the queue, so that the record of a
	// diverted run has to outlive only a repeated enqueue.
	divertedRetention = 30 * time.Second
	// insistTimeout is how long an activity that may start only once is held while Redis
	// does not say whether it has it. Shorter than the retention of its record, so that
	// the repeated enqueue cannot start it again.
	insistTimeout = 20 * time.Second
)

// divertInbound decides about an activity task where the user's interceptors have not
// seen it yet: they run in the executor, once, around the handler.
type divertInbound struct {
	interceptor.ActivityInboundInterceptorBase
	w    *Worker
	task *activityTask
}

// diverting returns the interceptor for an activity that may be diverted, nil for others.
func diverting(ctx context.Context) *divertInbound {
	w := workerFrom(ctx)
	if w == nil || !sdkactivity.IsActivity(ctx) {
		return nil
	}
	if t := arrived.take(sdkactivity.GetInfo(ctx).TaskToken); t != nil {
		return &divertInbound{w: w, task: t}
	}
	return nil
}

func (i *divertInbound) ExecuteActivity(ctx context.Context, in *interceptor.ExecuteActivityInput) (any, error) {
	diverted, err := i.w.divert(ctx, i.task)
	switch {
	case err != nil:
		return nil, err
	case diverted:
		return nil, sdkactivity.ErrResultPending
	}
	return i.Next.ExecuteActivity(ctx, in)
}

// divert puts the task into the queue. If it reports false, the task runs in place. An
// error is how the attempt ends: it may start only once, and perhaps it has.
func (w *Worker) divert(ctx context.Context, t *activityTask) (bool, error) {
	pool, e := w.divertedTo(sdkactivity.GetInfo(ctx), t)
	if e == nil {
		return false, nil
	}
	free := e.Free(t.GetActivityType().GetName())
	if free == 0 {
		return false, nil
	}
	d, err := w.newDiversion(ctx, pool, t)
	if err != nil {
		if n, say := w.rt.uncarried.Failed(time.Now()); say {
			w.logger.Warn("[Slipstream] an activity task cannot go through the queue; it runs in place",
				"ActivityType", t.GetActivityType().GetName(), "Tasks", n, "Error", err)
		}
		return false, nil
	}
	missed := errInPlace
	defer func() { d.endSpan(missed) }()
	if !w.unclaimed.add(d.wave.Run, free) {
		return false, nil
	}
	if !w.rt.breaker.allow() {
		w.unclaimed.remove(d.wave.Run)
		return false, nil
	}
	w.vigils.expect(d)
	diverted, err := d.enqueue(ctx)
	if !diverted {
		w.unclaimed.remove(d.wave.Run)
		w.vigils.over(d.wave.Run)
		missed = cmp.Or(err, errInPlace)
		return false, err
	}
	missed = nil
	add(w.rt.metrics.tasksDiverted, 1, w.rt.metrics.with(labels{pool: pool}))
	w.vigils.keep(d)
	return true, nil
}

// unclaimed are the tasks that this worker has diverted just now, by the queue's run.
// Each will need a permit, which its executor does not know yet.
type unclaimed struct {
	mu   sync.Mutex
	runs map[string]time.Time
}

// claimedWithin is the time after which a diverted task counts as claimed, if not here
// then by another worker. From then on a claim of ours that has not come back is taken to
// bring it.
const claimedWithin = 500 * time.Millisecond

// add reports whether there is a permit for one more, if free permits are not taken.
func (u *unclaimed) add(run string, free int) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.runs) >= free {
		maps.DeleteFunc(u.runs, func(_ string, at time.Time) bool { return time.Since(at) > claimedWithin })
	}
	if len(u.runs) >= free {
		return false
	}
	if u.runs == nil {
		u.runs = map[string]time.Time{}
	}
	u.runs[run] = time.Now()
	return true
}

func (u *unclaimed) remove(run string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.runs, run)
}

// divertedTo returns the pool that the task may be diverted to and this worker's
// executor of that pool; no executor: the task has to run in place (protocol R4).
func (w *Worker) divertedTo(info sdkactivity.Info, t *activityTask) (string, *batchqueue.Executor) {
	mark, marked := w.rt.o.Marks[t.GetActivityType().GetName()]
	switch {
	case !w.rt.o.Divert, !marked,
		info.TaskQueue != w.taskQueue,                  // a session's own
		t.GetWorkflowExecution().GetWorkflowId() == "", // a standalone activity
		!proto.Equal(t.GetPriority(), &commonpb.Priority{}) && t.GetPriority() != nil:
		return "", nil
	}
	select {
	case <-w.announced: // executors are complete
	default:
		return "", nil
	}
	select {
	case <-w.stopping:
		return "", nil
	default:
	}
	pool := PoolName(w.taskQueue, mark, w.build)
	return pool, w.executors[pool]
}

// diversion is one task on its way into the queue, and while it waits there.
type diversion struct {
	w    *Worker
	task *activityTask
	pool string
	wave *batchqueue.Wave
	once bool // the activity may start only once
	span *enqueueSpan
}

func (w *Worker) newDiversion(ctx context.Context, pool string, t *activityTask) (*diversion, error) {
	d := &diversion{w: w, task: t, pool: pool, once: t.GetRetryPolicy().GetMaximumAttempts() == 1}
	id, err := identityOf(t)
	if err != nil {
		return nil, err
	}
	carried, err := carry(t)
	if err != nil {
		return nil, err
	}
	run := t.GetWorkflowExecution()
	a := &address{
		Namespace: t.GetWorkflowNamespace(), WorkflowID: run.GetWorkflowId(), RunID: run.GetRunId(),
		WorkflowType: t.GetWorkflowType().GetName(), TaskQueue: w.taskQueue, TaskToken: t.GetTaskToken(),
		Heartbeats: t.GetHeartbeatTimeout().AsDuration() > 0, LossFinal: isFinal(lossOf(t), t.GetRetryPolicy().GetNonRetryableErrorTypes()),
	}
	d.span = w.rt.tracing.enqueue(ctx, pool, a, t.GetHeader())
	a.Trace = d.span.encoded()
	common, err := encodeAddress(a)
	if err != nil {
		d.span.finish(err)
		return nil, err
	}
	task := batchqueue.Task{
		Number: divertedNumber, Fingerprint: id, Type: t.GetActivityType().GetName(), Payload: encodeCall(&call{Task: carried}),
		Options: batchqueue.TaskOptions{
			// Beyond it Temporal waits no longer.
			ScheduleToClose: leftOf(t),
			// An attempt whose executor is lost is Temporal's to try again.
			Retry: batchqueue.RetryPolicy{FinalStartToClose: true},
		},
	}
	retention := divertedRetention
	if d.once {
		task.Options.Retry.MaximumAttempts = 1
		retention = keptAtLeast
	}
	d.wave = &batchqueue.Wave{
		Run: divertedRun(t, id), ID: divertedNumber, Common: common, Tasks: []batchqueue.Task{task}, Retention: retention, Slot: unknownSlot,
	}
	d.span.tasks, d.span.wave = []int{0}, d.wave
	return d, nil
}

// identityOf is different for each attempt that Temporal starts. The token alone nearly
// is; after a reset the numbers of attempts begin anew.
func identityOf(t *activityTask) (uint64, error) {
	started, err := proto.MarshalOptions{Deterministic: true}.Marshal(t.GetStartedTime())
	if err != nil {
		return 0, err
	}
	h := fnv.New64a()
	_, _ = h.Write(t.GetTaskToken())
	_, _ = h.Write(started)
	return h.Sum64(), nil
}

// divertedRun names the queue's run of one attempt, readable for operators.
func divertedRun(t *activityTask, id uint64) string {
	suffix := base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(binary.BigEndian.AppendUint64(nil, id))
	return strings.Join([]string{t.GetWorkflowExecution().GetRunId(), t.GetActivityId(), suffix}, "/")
}

// leftOf is the time that Temporal gives to an attempt that it has just started, by its
// own clock.
func leftOf(t *activityTask) time.Duration {
	left := t.GetStartToCloseTimeout().AsDuration()
	if whole := t.GetScheduleToCloseTimeout().AsDuration(); whole > 0 {
		left = min(left, whole-t.GetStartedTime().AsTime().Sub(t.GetScheduledTime().AsTime()))
	}
	return max(left, time.Millisecond)
}

// lossOf is the time-out by which Temporal would notice that the attempt was lost.
func lossOf(t *activityTask) enumspb.TimeoutType {
	if t.GetHeartbeatTimeout().AsDuration() > 0 {
		return enumspb.TIMEOUT_TYPE_HEARTBEAT
	}
	return enumspb.TIMEOUT_TYPE_START_TO_CLOSE
}

// carry encodes what a handler's worker needs of a task. What is in the address too is
// left out.
func carry(t *activityTask) ([]byte, error) {
	return proto.Marshal(&activityTask{
		ActivityType: t.GetActivityType(), ActivityId: t.GetActivityId(), Header: t.GetHeader(), Input: t.GetInput(), HeartbeatDetails: t.GetHeartbeatDetails(),
		ScheduledTime: t.GetScheduledTime(), StartedTime: t.GetStartedTime(), Attempt: t.GetAttempt(),
		ScheduleToCloseTimeout: t.GetScheduleToCloseTimeout(), StartToCloseTimeout: t.GetStartToCloseTimeout(), HeartbeatTimeout: t.GetHeartbeatTimeout(),
		RetryPolicy: t.GetRetryPolicy(),
	})
}

// enqueue puts the task into the queue; an enqueue whose answer is lost is repeated, which
// changes nothing if the first one arrived.
func (d *diversion) enqueue(ctx context.Context) (bool, error) {
	answer := d.try(ctx)
	if answer.State == batchqueue.AnswerUnsure && ctx.Err() == nil {
		answer = d.try(ctx)
	}
	sure := answer.State != batchqueue.AnswerUnsure
	if sure || ctx.Err() == nil {
		d.w.rt.breaker.report(sure)
	}
	switch {
	case sure:
		d.w.rt.strays.cancel(ctx, d.w.rt.queue)
		return answer.State == batchqueue.AnswerQueued, nil
	case d.wave.Slot < 0:
		return false, nil // not even its slot was found: nothing was sent
	case d.once:
		return d.insist(ctx)
	}
	d.w.rt.strays.add(stray{d.pool, d.wave.Slot, d.wave.Run, d.identity()})
	return false, nil
}

func (d *diversion) identity() batchqueue.Identity {
	return batchqueue.Identity{Number: divertedNumber, Fingerprint: d.wave.Tasks[0].Fingerprint}
}

// try enqueues once. A task that the queue cannot carry is answered with the zero state.
func (d *diversion) try(ctx context.Context) batchqueue.Answer {
	ctx, cancel := context.WithTimeout(ctx, redisTimeout)
	defer cancel()
	enqueued, err := d.w.rt.put(ctx, d.pool, d.wave)
	if err != nil {
		if n, say := d.w.rt.undiverted.Failed(time.Now()); say {
			d.w.logger.Warn("[Slipstream] the queue does not take an activity task; it runs in place", "Pool", d.pool, "Tasks", n, "Error", err)
		}
		return batchqueue.Answer{}
	}
	d.wave.Slot = enqueued.Slot
	return enqueued.Answers[0]
}

// insist goes on asking for a task that may start only once and may be in the queue:
// neither may it run in place, nor is it lost as long as Redis comes back soon.
func (d *diversion) insist(ctx context.Context) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, insistTimeout)
	defer cancel()
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		answer := d.try(ctx)
		switch {
		case answer.State != batchqueue.AnswerUnsure:
			return answer.State == batchqueue.AnswerQueued, nil
		case errors.Is(answer.Err, batchqueue.ErrFull):
			// Redis answers. What it has not stored until now it will not store.
			_, err := d.w.rt.queue.Status(ctx, d.pool, d.wave.Run, divertedNumber)
			if err == nil || errors.Is(err, batchqueue.ErrNotFound) {
				return err == nil, nil
			}
		}
		if !sleep(ctx, wait) {
			return false, lostError(lossOf(d.task), false, "the queue did not say whether it has the task, and the activity may start only once")
		}
	}
}
