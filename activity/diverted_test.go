package activity

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	sdkactivity "go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/slipstream-go/slipstream/batchqueue"
)

func failed(t *testing.T, answer any) *workflowservice.RespondActivityTaskFailedRequest {
	t.Helper()
	r, ok := answer.(*workflowservice.RespondActivityTaskFailedRequest)
	require.True(t, ok, "%v", answer)
	return r
}

// oneString decodes details that are one string.
func oneString(t *testing.T, p *commonpb.Payloads) string {
	t.Helper()
	var s string
	require.NoError(t, converter.GetDefaultDataConverter().FromPayloads(p, &s))
	return s
}

// Failures are answered as the SDK answers them, and never tried again by the queue.
func TestDivertedFailuresAreThoseInPlace(t *testing.T) {
	for _, how := range []string{"plain", "wrapped", "custom", "application", "non-retryable", "benign", "canceled out of the blue", "result too"} {
		t.Run(how, func(t *testing.T) {
			play := func(divert bool) *workflowservice.RespondActivityTaskFailedRequest {
				s := newDivertingSite(t, client.Options{})
				s.plugin.rt.o.Divert = divert
				s.start(t, worker.Options{}, failing)
				task := taskOf(t, "noContext", how)
				task.TaskToken = []byte("token ")
				s.frontend.tasks <- task
				answer := failed(t, s.frontend.answer(t))
				require.Equal(t, divert, s.diverted(t) == 1)
				answer.WorkerVersion, answer.Deployment, answer.DeploymentOptions = nil, nil, nil //nolint:staticcheck // deprecated, but the SDK sends them
				return answer
			}
			require.Equal(t, play(false).String(), play(true).String())
		})
	}
}

func TestAnOversizeFailureOfADivertedTaskIsOneThatTheServerTakes(t *testing.T) {
	s := newDivertingSite(t, client.Options{})
	s.start(t, worker.Options{}, large)
	s.frontend.tasks <- taskOf(t, "noContext", -1<<21)
	answer := failed(t, s.frontend.answer(t))
	require.Equal(t, "Failure exceeds size limit.", answer.GetFailure().GetMessage())
	require.True(t, answer.GetFailure().GetApplicationFailureInfo().GetNonRetryable())
}

// Who returns ErrResultPending owns the token: nobody else answers it.
func TestPendingDivertedTasksAreNotAnswered(t *testing.T) {
	s := newDivertingSite(t, client.Options{})
	s.start(t, worker.Options{}, func(ctx context.Context) error {
		token := sdkactivity.GetInfo(ctx).TaskToken
		go func() { _ = s.client.CompleteActivity(context.Background(), token, "by another way", nil) }()
		return sdkactivity.ErrResultPending
	})
	s.frontend.tasks <- taskOf(t, "noContext")
	require.Equal(t, "by another way", oneString(t, completed(t, s.frontend.answer(t)).GetResult()))
	require.Eventually(t, func() bool {
		stats, err := s.queue.Stats(t.Context(), "queue")
		return err == nil && stats.Delivered == 1
	}, 10*time.Second, 10*time.Millisecond)
	require.Empty(t, s.frontend.answers)
}

func TestHeartbeatRepliesEndTheContextAsInTheSDK(t *testing.T) {
	for name, c := range map[string]struct {
		set   func(f *frontend)
		cause string
		want  any
	}{
		"canceled": {func(f *frontend) { f.cancel = true }, "canceled", &workflowservice.RespondActivityTaskCanceledRequest{}},
		"paused":   {func(f *frontend) { f.paused = true }, "activity paused", &workflowservice.RespondActivityTaskFailedRequest{}},
		"reset":    {func(f *frontend) { f.reset = true }, "activity reset", &workflowservice.RespondActivityTaskFailedRequest{}},
		"stale":    {func(f *frontend) { f.stale = serviceerror.NewNotFound("gone") }, "gone", &workflowservice.RespondActivityTaskFailedRequest{}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newDivertingSite(t, client.Options{})
			s.frontend.reply(func() { c.set(s.frontend) })
			causes := make(chan string, 1)
			s.start(t, worker.Options{}, func(ctx context.Context) error {
				sdkactivity.RecordHeartbeat(ctx, "progress")
				causes <- context.Cause(ctx).Error()
				return ctx.Err()
			})
			task := taskOf(t, "noContext")
			task.HeartbeatTimeout = durationpb.New(time.Minute)
			s.frontend.tasks <- task
			h := s.frontend.heartbeat(t)
			require.Equal(t, task.TaskToken, h.GetTaskToken())
			require.Equal(t, "progress", oneString(t, h.GetDetails()))
			require.Equal(t, "identity", h.GetIdentity())
			require.Equal(t, c.cause, <-causes)
			require.IsType(t, c.want, s.frontend.answer(t))
			require.EqualValues(t, 1, s.diverted(t))
		})
	}
}

// Details that the throttle held back come with the failure.
func TestTheLastDetailsComeWithTheFailure(t *testing.T) {
	s := newDivertingSite(t, client.Options{})
	s.start(t, worker.Options{}, func(ctx context.Context) error {
		for _, details := range []string{"one", "two", "three"} {
			sdkactivity.RecordHeartbeat(ctx, details)
		}
		return errors.New("failed")
	})
	task := taskOf(t, "noContext")
	task.HeartbeatTimeout = durationpb.New(time.Minute)
	s.frontend.tasks <- task
	answer := failed(t, s.frontend.answer(t))
	require.Equal(t, "three", oneString(t, answer.GetLastHeartbeatDetails()))
	require.Equal(t, "one", oneString(t, s.frontend.heartbeat(t).GetDetails()))
	require.Empty(t, s.frontend.heartbeats)
}

// A deadline that has passed is Temporal's to report.
func TestATimedOutAttemptIsNotAnswered(t *testing.T) {
	s := newDivertingSite(t, client.Options{})
	ended := make(chan error, 1)
	s.start(t, worker.Options{}, func(ctx context.Context) error {
		sdkactivity.RecordHeartbeat(ctx, "one")
		sdkactivity.RecordHeartbeat(ctx, "two")
		<-ctx.Done()
		ended <- ctx.Err()
		return nil
	})
	task := taskOf(t, "noContext")
	task.StartToCloseTimeout = durationpb.New(3 * time.Second) // it begins with the enqueue
	s.frontend.tasks <- task
	select {
	case err := <-ended:
		require.ErrorIs(t, err, context.DeadlineExceeded)
	case <-time.After(20 * time.Second):
		require.FailNow(t, "the handler never ended")
	}
	require.Equal(t, "one", oneString(t, s.frontend.heartbeat(t).GetDetails()))
	require.Equal(t, "two", oneString(t, s.frontend.heartbeat(t).GetDetails()), "still in time for the next attempt")
	require.Eventually(t, func() bool {
		stats, err := s.queue.Stats(t.Context(), "queue")
		return err == nil && stats.Delivered == 1
	}, 10*time.Second, 10*time.Millisecond)
	require.Empty(t, s.frontend.answers)
}

// Temporal hears of a lost attempt as soon as the queue knows, and decides what follows.
func TestALostAttemptIsReported(t *testing.T) {
	for name, c := range map[string]struct {
		heartbeat    time.Duration
		fatal        []string
		timeout      enumspb.TimeoutType
		nonRetryable bool
	}{
		"without heartbeat":     {0, nil, enumspb.TIMEOUT_TYPE_START_TO_CLOSE, false},
		"with heartbeat":        {time.Minute, nil, enumspb.TIMEOUT_TYPE_HEARTBEAT, false},
		"not to be retried":     {0, []string{"TemporalTimeout:StartToClose"}, enumspb.TIMEOUT_TYPE_START_TO_CLOSE, true},
		"another time-out only": {0, []string{"TemporalTimeout:Heartbeat"}, enumspb.TIMEOUT_TYPE_START_TO_CLOSE, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newDivertingSite(t, client.Options{})
			w := s.start(t, worker.Options{}, noContext)
			task := taskOf(t, "noContext", "x")
			task.HeartbeatTimeout = durationpb.New(c.heartbeat)
			task.RetryPolicy.NonRetryableErrorTypes = c.fatal
			d, err := w.newDiversion(t.Context(), "queue", task)
			require.NoError(t, err)
			require.True(t, d.wave.Tasks[0].Options.Retry.FinalStartToClose, "the queue does not try it again")
			require.NoError(t, w.deliver(t.Context(), w.host, &batchqueue.Batch{Run: d.wave.Run, Common: d.wave.Common,
				Outcomes: []batchqueue.Outcome{{Number: 1, Kind: batchqueue.KindStartToClose, Executor: "e"}}}))
			r := failed(t, s.frontend.answer(t))
			require.Equal(t, task.TaskToken, r.GetTaskToken())
			require.Equal(t, "e", r.GetIdentity())
			require.Equal(t, "workflow:workflow", r.GetResourceId())
			require.Equal(t, ErrTypeWorkerLost, r.GetFailure().GetApplicationFailureInfo().GetType())
			require.Equal(t, c.nonRetryable, r.GetFailure().GetApplicationFailureInfo().GetNonRetryable())
			require.Equal(t, c.timeout, r.GetFailure().GetCause().GetTimeoutFailureInfo().GetTimeoutType())
		})
	}
}

func TestAnswersAreRepeatedUntilTemporalHasThemOrDoesNotWantThem(t *testing.T) {
	for name, c := range map[string]struct {
		refuse error
		again  bool
	}{
		"not found":         {serviceerror.NewNotFound("gone"), false},
		"invalid":           {serviceerror.NewInvalidArgument("never"), false},
		"unavailable":       {serviceerror.NewUnavailable("soon"), true},
		"not active":        {serviceerror.NewNamespaceNotActive("namespace", "here", "there"), true},
		"exhausted":         {serviceerror.NewResourceExhausted(0, "slowly"), true},
		"no such namespace": {serviceerror.NewNamespaceNotFound("namespace"), false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newDivertingSite(t, client.Options{})
			s.frontend.reply(func() { s.frontend.refuse = c.refuse })
			s.start(t, worker.Options{}, noContext)
			s.frontend.tasks <- taskOf(t, "noContext", "x")
			first := completed(t, s.frontend.answer(t))
			if c.again {
				s.frontend.reply(func() { s.frontend.refuse = nil })
			}
			require.Eventually(t, func() bool {
				stats, err := s.queue.Stats(t.Context(), "queue")
				return err == nil && stats.Delivered == 1 && stats.Outbox == 0
			}, 10*time.Second, 10*time.Millisecond)
			require.Equal(t, c.again, len(s.frontend.answers) > 0)
			for len(s.frontend.answers) > 0 {
				require.Equal(t, first.String(), completed(t, s.frontend.answer(t)).String())
			}
		})
	}
}

// An outcome that cannot be read is no reason to hold up the others.
func TestAnUnreadableOutcomeIsDropped(t *testing.T) {
	s := newDivertingSite(t, client.Options{})
	w := s.start(t, worker.Options{}, noContext)
	d, err := w.newDiversion(t.Context(), "queue", taskOf(t, "noContext", "x"))
	require.NoError(t, err)
	err = w.deliver(t.Context(), w.host, &batchqueue.Batch{Run: d.wave.Run, Common: d.wave.Common, Outcomes: []batchqueue.Outcome{
		{Number: 1, Kind: batchqueue.KindCompleted, Payload: []byte("junk")},
		{Number: 1, Kind: batchqueue.KindFailed, Payload: encodeReport(&report{})},
		{Number: 1, Kind: batchqueue.KindCompleted, Payload: encodeReport(&report{})},
	}})
	require.NoError(t, err)
	require.Nil(t, completed(t, s.frontend.answer(t)).GetResult())
	require.Empty(t, s.frontend.answers)
	require.Len(t, s.log.at("error"), 1, "said once a minute")
}

// The record of a diverted run is kept for a repeated enqueue, not for a run that asks.
func TestDivertedRunsLeaveRedisSoon(t *testing.T) {
	for attempts, kept := range map[int32]time.Duration{5: divertedRetention, 1: keptAtLeast} {
		s := newDivertingSite(t, client.Options{})
		w := s.start(t, worker.Options{}, noContext)
		task := taskOf(t, "noContext", "x")
		task.RetryPolicy.MaximumAttempts = attempts
		d, err := w.newDiversion(t.Context(), "queue", task)
		require.NoError(t, err)
		s.frontend.tasks <- task
		completed(t, s.frontend.answer(t))
		require.Eventually(t, func() bool {
			status, err := s.queue.Status(t.Context(), "queue", d.wave.Run, 1)
			return err == nil && status.State == batchqueue.StateAcknowledged
		}, 10*time.Second, 10*time.Millisecond)
		s.redis.FastForward(kept - time.Second)
		_, err = s.queue.Status(t.Context(), "queue", d.wave.Run, 1)
		require.NoError(t, err)
		s.redis.FastForward(time.Second)
		_, err = s.queue.Status(t.Context(), "queue", d.wave.Run, 1)
		require.ErrorIs(t, err, batchqueue.ErrNotFound)
	}
}

// pulseLab is a pulse in a bubble of its own time.
func pulseLab(t *testing.T, test func(p *pulse, sent func() []string, end *error)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var sent []string
		var ended error
		p := newPulse(t.Context(), 10*time.Second, func(cause error) { ended = cause }, func(_ context.Context, details []byte) error {
			mu.Lock()
			defer mu.Unlock()
			sent = append(sent, string(details))
			if string(details) == "stop" {
				return errors.New("stopped")
			}
			return nil
		})
		test(p, func() []string {
			mu.Lock()
			defer mu.Unlock()
			return slices.Clone(sent)
		}, &ended)
	})
}

func TestPulseSendsTheFirstAtOnceAndTheLastOfEachInterval(t *testing.T) {
	pulseLab(t, func(p *pulse, sent func() []string, _ *error) {
		p.beat([]byte("1"))
		require.Equal(t, []string{"1"}, sent())
		p.beat([]byte("2"))
		p.beat([]byte("3"))
		require.Equal(t, []string{"1"}, sent())
		time.Sleep(11 * time.Second) //nolint:forbidigo // by synctest's clock
		synctest.Wait()
		require.Equal(t, []string{"1", "3"}, sent())
		time.Sleep(time.Minute) //nolint:forbidigo // by synctest's clock
		p.beat([]byte("4"))
		require.Equal(t, []string{"1", "3", "4"}, sent(), "after a quiet interval at once again")
		require.Nil(t, p.close())
		p.beat([]byte("5"))
		require.Len(t, sent(), 3)
	})
}

func TestPulseGivesBackWhatItDidNotSend(t *testing.T) {
	pulseLab(t, func(p *pulse, sent func() []string, _ *error) {
		p.beat([]byte("1"))
		p.beat([]byte("2"))
		require.Equal(t, "2", string(p.close()))
		time.Sleep(time.Minute) //nolint:forbidigo // by synctest's clock
		synctest.Wait()
		require.Equal(t, []string{"1"}, sent())
	})
}

func TestPulseEndsTheAttempt(t *testing.T) {
	pulseLab(t, func(p *pulse, _ func() []string, end *error) {
		p.beat([]byte("stop"))
		require.ErrorContains(t, *end, "stopped")
		p.close()
	})
}

// A heartbeat on its way is cut off when the handler returns; its details are not lost.
func TestPulseDoesNotWaitForAServerThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPulse(t.Context(), time.Second, func(error) { t.Error("the attempt was ended") }, func(ctx context.Context, _ []byte) error {
			<-ctx.Done()
			return ctx.Err()
		})
		go p.beat([]byte("1"))
		synctest.Wait()
		require.Equal(t, "1", string(p.close()))
	})
}

func TestHeartbeatsAreThrottledAsTheSDKDoes(t *testing.T) {
	for _, c := range []struct {
		o       worker.Options
		timeout time.Duration
		want    time.Duration
	}{
		{worker.Options{}, 0, 30 * time.Second},
		{worker.Options{}, 10 * time.Second, 8 * time.Second},
		{worker.Options{}, time.Hour, time.Minute},
		{worker.Options{DefaultHeartbeatThrottleInterval: time.Second}, 0, time.Second},
		{worker.Options{DefaultHeartbeatThrottleInterval: time.Second}, 10 * time.Second, 8 * time.Second},
		{worker.Options{MaxHeartbeatThrottleInterval: 2 * time.Second}, time.Hour, 2 * time.Second},
	} {
		w := &Worker{options: &c.o}
		require.Equal(t, c.want, w.heartbeatThrottle(c.timeout))
	}
}

func TestHeartbeatErrors(t *testing.T) {
	for _, err := range []error{
		serviceerror.NewUnavailable("u"), serviceerror.NewResourceExhausted(0, "r"), context.DeadlineExceeded, errors.New("x"), serviceerror.NewInternal("i"),
	} {
		require.True(t, passes(err), "%v", err)
	}
	for _, err := range []error{serviceerror.NewInvalidArgument("i"), serviceerror.NewPermissionDenied("p", ""), context.Canceled} {
		require.False(t, passes(err), "%v", err)
		require.False(t, isStale(err), "%v", err)
	}
	for _, err := range []error{serviceerror.NewNotFound("n"), serviceerror.NewNamespaceNotFound("n"), serviceerror.NewNamespaceNotActive("n", "a", "b")} {
		require.True(t, isStale(err), "%v", err)
	}
	require.True(t, temporal.IsCanceledError(endOfAttempt(&workflowservice.RecordActivityTaskHeartbeatResponse{CancelRequested: true, ActivityPaused: true})))
}
