package activity

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/api/workflowservice/v1"
	sdkactivity "go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/worker"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/slipstream-go/slipstream/batchqueue"
	"github.com/slipstream-go/slipstream/internal/wire"
)

func TestLimitsThatMeanNone(t *testing.T) {
	for set, want := range map[float64]float64{0: 0, -1: 0, 0.5: 0.5, 99_999: 99_999, 100_000: 0, 1e9: 0} {
		require.InDelta(t, want, limitOf(set), 0, "%v", set)
	}
}

// sdkOutbound stands for the SDK's own outbound interceptor.
type sdkOutbound struct {
	interceptor.ActivityOutboundInterceptorBase
	info sdkactivity.Info
}

func (o *sdkOutbound) GetInfo(context.Context) sdkactivity.Info { return o.info }

func TestWhatCountsAgainstTheBudget(t *testing.T) {
	var b bench
	w, h := b.worker(t, noContext)
	w.rt.o.Marks = map[string]string{"noContext": "elsewhere"}
	var err error
	w.budget, err = batchqueue.NewBudget(batchqueue.BudgetOptions{})
	require.NoError(t, err)
	info := func(name string, local bool) *sdkOutbound {
		return &sdkOutbound{info: sdkactivity.Info{ActivityType: sdkactivity.Type{Name: name}, IsLocalActivity: local}}
	}
	ours := context.WithValue(t.Context(), workerKey{}, w)
	idle := context.WithValue(t.Context(), workerKey{}, &Worker{rt: w.rt})
	for name, c := range map[string]struct {
		ctx      context.Context
		outbound interceptor.ActivityOutboundInterceptor
		counts   bool
	}{
		"marked":                         {ours, info("noContext", false), true},
		"unmarked":                       {ours, info("other", false), false},
		"local":                          {ours, info("noContext", true), false},
		"routed, which has its permit":   {ours, newOutbound(w, h, &info("noContext", false).info), false},
		"no worker of ours":              {t.Context(), info("noContext", false), false},
		"a worker that runs none marked": {idle, info("noContext", false), false},
	} {
		next := &innermost{}
		got := InterceptActivity(context.WithValue(c.ctx, outboundKey, c.outbound), next)
		_, counts := got.(*guest)
		require.Equal(t, c.counts, counts, name)
		if !counts {
			require.Same(t, next, got, name)
		}
	}
}

// stage holds the calls of an activity until the test lets them go.
type stage struct {
	mu    sync.Mutex
	began []string // protected by mu
	gates map[string]chan struct{}
	deaf  bool
}

func newStage(names ...string) *stage {
	s := &stage{gates: map[string]chan struct{}{}}
	for _, name := range names {
		s.gates[name] = make(chan struct{})
	}
	return s
}

func (s *stage) play(ctx context.Context, name string) (string, error) {
	s.mu.Lock()
	s.began = append(s.began, name)
	s.mu.Unlock()
	done := ctx.Done()
	if s.deaf {
		done = nil
	}
	select {
	case <-s.gates[name]:
	case <-done:
		return "", ctx.Err()
	}
	return name, nil
}

func (s *stage) seen() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.began)
}

func (s *stage) awaitSeen(t *testing.T, names ...string) {
	t.Helper()
	require.Eventually(t, func() bool { return len(s.seen()) >= len(names) }, 20*time.Second, 5*time.Millisecond)
	require.Equal(t, names, s.seen())
}

// plainTask is an activity task as the server would send it; its token is the argument.
func plainTask(t *testing.T, activityType, arg string) *workflowservice.PollActivityTaskQueueResponse {
	t.Helper()
	input, err := converter.GetDefaultDataConverter().ToPayloads(arg)
	require.NoError(t, err)
	now := timestamppb.Now()
	return &workflowservice.PollActivityTaskQueueResponse{
		TaskToken: []byte(arg), ActivityId: arg, ActivityType: &commonpb.ActivityType{Name: activityType}, Input: input,
		WorkflowNamespace: "namespace", WorkflowExecution: &commonpb.WorkflowExecution{WorkflowId: "plain", RunId: "plain"},
		WorkflowType:  &commonpb.WorkflowType{Name: "W"},
		ScheduledTime: now, CurrentAttemptScheduledTime: now, StartedTime: now, Attempt: 1,
		StartToCloseTimeout: durationpb.New(time.Minute),
	}
}

// startStage starts a worker of which the marked type "noContext" and the unmarked one
// "other" play on the stage.
func (s *site) startStage(t *testing.T, o worker.Options, stage *stage) worker.Worker {
	t.Helper()
	w := worker.New(s.client, "queue", o)
	for _, name := range []string{"noContext", "other"} {
		w.RegisterActivityWithOptions(stage.play, sdkactivity.RegisterOptions{Name: name})
	}
	require.NoError(t, w.Start())
	return w
}

// one is a site whose workers run one marked activity at a time.
func one(t *testing.T) *site {
	t.Helper()
	s := newSite(t, client.Options{})
	s.plugin.rt.o.Concurrency = 1
	return s
}

func TestPlainAndRoutedRunsShareTheWorkersPermits(t *testing.T) {
	s, stage := one(t), newStage("routed", "plain", "unmarked")
	defer s.startStage(t, worker.Options{}, stage).Stop()
	s.enqueue(t, "noContext", nil, "routed")
	stage.awaitSeen(t, "routed")
	s.frontend.tasks <- plainTask(t, "noContext", "plain")
	s.frontend.tasks <- plainTask(t, "other", "unmarked")
	stage.awaitSeen(t, "routed", "unmarked")
	close(stage.gates["unmarked"])
	s.frontend.eventually(t, "the unmarked one is reported", func() bool { return s.frontend.answered == 1 })
	require.Equal(t, []string{"routed", "unmarked"}, stage.seen())
	close(stage.gates["routed"])
	stage.awaitSeen(t, "routed", "unmarked", "plain")

	s.enqueueNumber(t, 2, "noContext", nil, "routed")
	s.frontend.signal(t)
	require.Len(t, stage.seen(), 3, "the plain one has the permit")
	close(stage.gates["plain"])
	s.frontend.signal(t)
	stage.awaitSeen(t, "routed", "unmarked", "plain", "routed")
}

// An activity that waits for a permit heartbeats, so that the server does not give it
// up, hears of its cancellation, and is reported as canceled without having begun.
func TestAPlainRunThatWaitsIsCanceled(t *testing.T) {
	s, stage := one(t), newStage("routed", "plain", "next")
	defer s.startStage(t, worker.Options{}, stage).Stop()
	s.enqueue(t, "noContext", nil, "routed")
	stage.awaitSeen(t, "routed")
	task := plainTask(t, "noContext", "plain")
	task.HeartbeatTimeout = durationpb.New(200 * time.Millisecond)
	s.frontend.tasks <- task
	s.frontend.eventually(t, "heartbeats", func() bool { return s.frontend.beats["plain"] >= 2 })
	s.frontend.mu.Lock()
	s.frontend.cancel = true
	s.frontend.mu.Unlock()
	s.frontend.eventually(t, "report", func() bool { return slices.Equal(s.frontend.canceled, []string{"plain"}) })
	require.Equal(t, []string{"routed"}, stage.seen())

	s.frontend.tasks <- plainTask(t, "noContext", "next")
	close(stage.gates["routed"])
	stage.awaitSeen(t, "routed", "next")
	close(stage.gates["next"])
	s.frontend.eventually(t, "report", func() bool { return s.frontend.answered == 2 })
}

// Progress of the attempt before is not wiped out by heartbeats of one that waits. What
// the server has given up meanwhile does not begin.
func TestAPlainRunThatWaitsKeepsTheProgressOfTheAttemptBefore(t *testing.T) {
	s, stage := one(t), newStage("routed", "plain")
	defer s.startStage(t, worker.Options{}, stage).Stop()
	s.enqueue(t, "noContext", nil, "routed")
	stage.awaitSeen(t, "routed")
	task := plainTask(t, "noContext", "plain")
	task.HeartbeatTimeout, task.Attempt = durationpb.New(300*time.Millisecond), 2
	task.HeartbeatDetails = task.GetInput()
	s.frontend.tasks <- task
	s.frontend.eventually(t, "report, without heartbeats", func() bool { return s.frontend.failed == 1 && len(s.frontend.beats) == 0 })
	require.Equal(t, []string{"routed"}, stage.seen())
	close(stage.gates["routed"])
	s.frontend.signal(t)
	require.Equal(t, []string{"routed"}, stage.seen())
}

func TestAPlainRunThatWaitsEndsWithItsTime(t *testing.T) {
	s, stage := one(t), newStage("routed", "late", "plain")
	defer s.startStage(t, worker.Options{}, stage).Stop()
	s.enqueue(t, "noContext", nil, "routed")
	stage.awaitSeen(t, "routed")
	task := plainTask(t, "noContext", "late")
	task.StartToCloseTimeout = durationpb.New(100 * time.Millisecond)
	s.frontend.tasks <- task
	require.Eventually(t, func() bool {
		return slices.ContainsFunc(s.log.at("info"), func(e logEntry) bool { return e.message == "Activity complete after timeout." })
	}, 20*time.Second, 5*time.Millisecond, "the SDK's word on it")
	s.frontend.tasks <- plainTask(t, "noContext", "plain")
	close(stage.gates["routed"])
	stage.awaitSeen(t, "routed", "plain")
	close(stage.gates["plain"])
	s.frontend.eventually(t, "report", func() bool { return s.frontend.answered == 1 })
}

// A handler that ignores its end keeps its permit; what waits for that must not keep the
// worker from stopping.
func TestAWorkerStopsWhilePlainRunsWait(t *testing.T) {
	s, stage := one(t), newStage("routed", "plain")
	stage.deaf = true
	w := s.startStage(t, worker.Options{WorkerStopTimeout: time.Second}, stage)
	s.enqueue(t, "noContext", nil, "routed")
	stage.awaitSeen(t, "routed")
	s.frontend.tasks <- plainTask(t, "noContext", "plain")
	s.frontend.eventually(t, "the plain one is polled", func() bool { return len(s.frontend.tasks) == 0 })
	began := time.Now()
	w.Stop()
	require.Less(t, time.Since(began), 20*time.Second)
	require.Equal(t, []string{"routed"}, stage.seen())
	close(stage.gates["routed"])
}

// Both limits are lower bounds of the time that calls take.
func TestRatesOfTheWorkerHold(t *testing.T) {
	for name, o := range map[string]worker.Options{
		"worker":     {WorkerActivitiesPerSecond: 2},
		"task queue": {TaskQueueActivitiesPerSecond: 2},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, client.Options{})
			w := worker.New(s.client, "queue", o)
			registerNoContext(w)
			began := time.Now() // its first looks for work are starts too
			require.NoError(t, w.Start())
			defer w.Stop()
			const calls = 6
			for n := range uint64(calls) {
				s.enqueueNumber(t, n+1, "noContext", nil, fmt.Sprint(n))
			}
			for done := 0; done < calls; {
				outcomes, err := wire.DecodeSignal(s.frontend.signal(t).GetInput())
				require.NoError(t, err)
				done += len(outcomes)
			}
			require.GreaterOrEqual(t, time.Since(began), 1900*time.Millisecond, "6 at 2 a second, of which 2 at once")
		})
	}
}
