package activity

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/propagation"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	sdkactivity "go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/worker"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/slipstream-go/slipstream/batchqueue"
)

// pause stops all claims of the site's pool, or lets them go on.
func (s *site) pause(t *testing.T, paused bool) {
	t.Helper()
	config, err := s.queue.Config(t.Context(), "queue")
	require.NoError(t, err)
	config.Paused = paused
	_, err = s.queue.SetConfig(t.Context(), "queue", config)
	require.NoError(t, err)
	w := s.onlyWorker()
	require.Eventually(t, func() bool { return paused == (w.executors["queue"].Stats().Permits == 0) }, 10*time.Second, time.Millisecond)
}

// waiting puts a task into the queue that nobody claims, as if all executors had become
// busy just then.
func (s *site) waiting(t *testing.T, w *Worker, task *activityTask) *diversion {
	t.Helper()
	s.pause(t, true)
	d, err := w.newDiversion(t.Context(), "queue", task)
	require.NoError(t, err)
	diverted, err := d.enqueue(t.Context())
	require.NoError(t, err)
	require.True(t, diverted)
	w.vigils.expect(d)
	w.vigils.keep(d)
	return d
}

func beatingTask(t *testing.T, heartbeat time.Duration) *activityTask {
	t.Helper()
	task := taskOf(t, "noContext", "x")
	task.HeartbeatTimeout = durationpb.New(heartbeat)
	var err error
	task.HeartbeatDetails, err = converter.GetDefaultDataConverter().ToPayloads("from before")
	require.NoError(t, err)
	return task
}

func (s *site) requireNoVigil(t *testing.T, w *Worker) {
	t.Helper()
	require.Eventually(t, func() bool {
		w.vigils.mu.Lock()
		defer w.vigils.mu.Unlock()
		return len(w.vigils.open) == 0
	}, 10*time.Second, time.Millisecond)
}

// A task that waits in the queue does not time out, and does not lose the details of the
// attempt before. Once claimed, its handler is on its own.
func TestAWaitingTaskIsHeartbeatedUntilItIsClaimed(t *testing.T) {
	s := newDivertingSite(t, client.Options{})
	release := make(chan struct{})
	w := s.start(t, worker.Options{}, func(context.Context, string) error { <-release; return nil })
	task := beatingTask(t, 400*time.Millisecond)
	s.waiting(t, w, task)
	for range 3 {
		h := s.frontend.heartbeat(t)
		require.Equal(t, task.TaskToken, h.GetTaskToken())
		require.Equal(t, "from before", oneString(t, h.GetDetails()))
	}
	s.pause(t, false)
	s.requireNoVigil(t, w)
	w.vigils.looks.Wait() // one may have seen it wait
	for len(s.frontend.heartbeats) > 0 {
		<-s.frontend.heartbeats
	}
	close(release)
	completed(t, s.frontend.answer(t))
	require.Empty(t, s.frontend.heartbeats)
}

// It may be claimed before Redis's answer to the enqueue is here. A vigil that began then
// would send the details of the attempt before, if this one was handed over before its first
// look.
func TestATaskThatIsClaimedAtOnceHasNoVigil(t *testing.T) {
	s := newDivertingSite(t, client.Options{})
	redis := s.intercept()
	count := &spanCount{}
	s.plugin.rt.tracing = newTracing(Telemetry{TracerProvider: count, Propagator: propagation.TraceContext{}}, "namespace")
	started, release := make(chan struct{}), make(chan struct{})
	defer close(release)
	w := s.start(t, worker.Options{}, func(context.Context, string) error { close(started); <-release; return nil })
	redis.answered = started
	s.frontend.tasks <- beatingTask(t, time.Hour)
	select {
	case <-started:
	case <-time.After(20 * time.Second):
		require.FailNow(t, "the task was not claimed")
	}
	require.Eventually(t, func() bool { return count.begun.Load() == 2 && count.open.Load() == 1 }, 10*time.Second, time.Millisecond,
		"the task's way into the queue is over, its attempt is not")
	w.vigils.mu.Lock()
	defer w.vigils.mu.Unlock()
	require.Empty(t, w.vigils.open)
}

func TestATaskWithoutHeartbeatTimeoutIsLeftAlone(t *testing.T) {
	s := newDivertingSite(t, client.Options{})
	w := s.start(t, worker.Options{}, noContext)
	s.waiting(t, w, taskOf(t, "noContext", "x"))
	s.requireNoVigil(t, w)
}

// Claimed by another worker: the vigil ends at the next look.
func TestVigilEndsWhenAnotherWorkerHasTheTask(t *testing.T) {
	s := newDivertingSite(t, client.Options{})
	w := s.start(t, worker.Options{}, noContext)
	d := s.waiting(t, w, beatingTask(t, 400*time.Millisecond))
	s.frontend.heartbeat(t)
	require.NoError(t, s.queue.Discard(t.Context(), d.pool, d.wave.Slot, d.wave.Run, []batchqueue.Identity{d.identity()}))
	s.requireNoVigil(t, w)
}

func TestAWaitingTaskHearsOfItsCancellation(t *testing.T) {
	s := newDivertingSite(t, client.Options{})
	w := s.start(t, worker.Options{}, func(context.Context, string) error { panic("it runs") })
	s.frontend.reply(func() { s.frontend.cancel = true })
	task := beatingTask(t, 400*time.Millisecond)
	s.waiting(t, w, task)
	answer, ok := s.frontend.answer(t).(*workflowservice.RespondActivityTaskCanceledRequest)
	require.True(t, ok)
	require.Equal(t, task.TaskToken, answer.GetTaskToken())
	s.requireNoVigil(t, w)
}

func TestAWaitingTaskWhoseTokenIsStaleIsDropped(t *testing.T) {
	s := newDivertingSite(t, client.Options{})
	w := s.start(t, worker.Options{}, func(context.Context, string) error { panic("it runs") })
	s.frontend.reply(func() { s.frontend.stale = serviceerror.NewNotFound("gone") })
	d := s.waiting(t, w, beatingTask(t, 400*time.Millisecond))
	s.requireNoVigil(t, w)
	status, err := s.queue.Status(t.Context(), "queue", d.wave.Run, 1)
	require.NoError(t, err)
	require.Equal(t, batchqueue.StateAcknowledged, status.State)
	s.pause(t, false)
	require.Empty(t, s.frontend.answers)
}

// Paused: the handler hears of it once it runs, as a handler in place would.
func TestAWaitingTaskThatIsPausedGoesOnWaiting(t *testing.T) {
	s := newDivertingSite(t, client.Options{})
	w := s.start(t, worker.Options{}, noContext)
	s.frontend.reply(func() { s.frontend.paused = true })
	d := s.waiting(t, w, beatingTask(t, 400*time.Millisecond))
	s.frontend.heartbeat(t)
	s.frontend.heartbeat(t)
	require.True(t, d.waits(t.Context(), time.Second))
}

// While Redis is away nobody claims: the vigil goes on.
func TestVigilOutlivesAnOutageOfRedis(t *testing.T) {
	s := newDivertingSite(t, client.Options{})
	w := s.start(t, worker.Options{}, noContext)
	s.waiting(t, w, beatingTask(t, 400*time.Millisecond))
	address := s.redis.Addr()
	s.redis.Close()
	for range 3 {
		s.frontend.heartbeat(t)
	}
	require.NoError(t, s.redis.StartAddr(address))
	require.Eventually(t, func() bool { return s.rdb.Ping(t.Context()).Err() == nil }, 10*time.Second, 10*time.Millisecond)
}

func TestAStoppingWorkerLeavesWaitingTasksAWholeHeartbeatTimeout(t *testing.T) {
	s := newDivertingSite(t, client.Options{})
	w := worker.New(s.client, "queue", worker.Options{})
	w.RegisterActivityWithOptions(noContext, sdkactivity.RegisterOptions{Name: "noContext"})
	require.NoError(t, w.Start())
	d := s.waiting(t, s.worker(t), beatingTask(t, time.Hour))
	require.Empty(t, s.frontend.heartbeats)
	w.Stop()
	require.Equal(t, d.task.TaskToken, s.frontend.heartbeat(t).GetTaskToken())
}

// A worker that stops gives a running attempt to another one, which goes on with its
// details; Temporal hears of it in time.
func TestAReleasedAttemptGoesOnElsewhere(t *testing.T) {
	s := newDivertingSite(t, client.Options{})
	s.plugin.rt.o.DrainTimeout = time.Millisecond
	running := make(chan struct{}, 1)
	first := worker.New(s.client, "queue", worker.Options{})
	first.RegisterActivityWithOptions(func(ctx context.Context, _ string) (string, error) {
		sdkactivity.RecordHeartbeat(ctx, "half")
		sdkactivity.RecordHeartbeat(ctx, "almost")
		running <- struct{}{}
		<-ctx.Done()
		return "", context.Cause(ctx)
	}, sdkactivity.RegisterOptions{Name: "noContext"})
	require.NoError(t, first.Start())
	s.worker(t)
	task := beatingTask(t, time.Minute)
	s.frontend.tasks <- task
	<-running
	first.Stop()
	require.Equal(t, "half", oneString(t, s.frontend.heartbeat(t).GetDetails()))
	require.Equal(t, "almost", oneString(t, s.frontend.heartbeat(t).GetDetails()), "the last sign of life")

	s.start(t, worker.Options{}, func(ctx context.Context, _ string) (string, error) {
		var details string
		if err := sdkactivity.GetHeartbeatDetails(ctx, &details); err != nil {
			return "", err
		}
		if sdkactivity.GetInfo(ctx).Attempt != 3 {
			return "", errors.New("another attempt")
		}
		return details, nil
	})
	require.Equal(t, "almost", oneString(t, completed(t, s.frontend.answer(t)).GetResult()))
	require.Empty(t, s.frontend.answers)
}
