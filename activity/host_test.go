package activity

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/api/serviceerror"
	sdkactivity "go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/worker"
	sdkworkflow "go.temporal.io/sdk/workflow"
	"go.uber.org/goleak"

	"github.com/slipstream-go/slipstream/batchqueue"
	"github.com/slipstream-go/slipstream/internal/redistest"
	"github.com/slipstream-go/slipstream/internal/wire"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, redistest.IgnoreRedials())
}

// enqueue puts one routed call into the queue, as dispatch does.
func (s *site) enqueue(t *testing.T, activityType string, header *commonpb.Header, args ...any) {
	t.Helper()
	s.enqueueNumber(t, 1, activityType, header, args...)
}

func (s *site) enqueueNumber(t *testing.T, number uint64, activityType string, header *commonpb.Header, args ...any) {
	t.Helper()
	input, err := converter.GetDefaultDataConverter().ToPayloads(args...)
	require.NoError(t, err)
	encoded, err := wire.EncodePayloads(input)
	require.NoError(t, err)
	common, err := encodeAddress(&address{Namespace: "namespace", WorkflowID: "workflow", RunID: "run", WorkflowType: "W", TaskQueue: "queue", Header: header})
	require.NoError(t, err)
	e, err := s.queue.Enqueue(context.Background(), PoolName("queue", "", ""), &batchqueue.Wave{
		Run: "run", ID: number, Common: common, Slot: -1,
		Tasks: []batchqueue.Task{{Number: number, Fingerprint: 9, Type: activityType, Payload: encodeCall(&call{Input: encoded}),
			Options: batchqueue.TaskOptions{StartToClose: time.Minute}}},
	})
	require.NoError(t, err)
	require.Equal(t, batchqueue.AnswerQueued, e.Answers[0].State)
}

// run starts a worker, runs one routed call and returns its outcome.
func (s *site) run(t *testing.T, o worker.Options, register func(worker.Worker), activityType string, header *commonpb.Header, args ...any) wire.Outcome {
	t.Helper()
	w := worker.New(s.client, "queue", o)
	register(w)
	require.NoError(t, w.Start())
	defer w.Stop()
	s.enqueue(t, activityType, header, args...)
	signal := s.frontend.signal(t)
	require.Equal(t, wire.SignalName, signal.GetSignalName())
	require.Equal(t, "run", signal.GetWorkflowExecution().GetRunId())
	require.Equal(t, "identity", signal.GetIdentity())
	require.NotEmpty(t, signal.GetRequestId())
	require.Equal(t, header.GetFields()["key"].GetData(), signal.GetHeader().GetFields()["key"].GetData())
	outcomes, err := wire.DecodeSignal(signal.GetInput())
	require.NoError(t, err)
	require.Len(t, outcomes, 1)
	require.Equal(t, wire.Identity{RunID: "run", Number: 1, Fingerprint: 9}, outcomes[0].Identity)
	return outcomes[0]
}

func text(t *testing.T, o wire.Outcome) string {
	t.Helper()
	require.Equal(t, wire.KindCompleted, o.Kind)
	var s string
	require.NoError(t, converter.GetDefaultDataConverter().FromPayload(o.Payloads[0], &s))
	return s
}

func registerNoContext(w worker.Worker) { w.RegisterActivity(noContext) }

func TestHostContextLeavesNoTraceAtTheServer(t *testing.T) {
	s := newSite(t, client.Options{})
	require.Equal(t, "<x>", text(t, s.run(t, worker.Options{}, registerNoContext, "noContext", nil, "x")))
	s.frontend.mu.Lock()
	defer s.frontend.mu.Unlock()
	require.Zero(t, s.frontend.answered)
	require.Positive(t, s.frontend.polls["queue"])
	require.Empty(t, s.log.at("error"))
}

func TestHostContextHasWhatThePlainActivityHas(t *testing.T) {
	type databaseKey struct{}
	s := newSite(t, client.Options{})
	activity := func(ctx context.Context) (string, error) {
		if sdkactivity.GetClient(ctx) != s.client {
			return "", errors.New("another client")
		}
		select {
		case <-sdkactivity.GetWorkerStopChannel(ctx):
			return "", errors.New("stopping already")
		default:
		}
		sdkactivity.GetLogger(ctx).Info("from the handler")
		sdkactivity.GetMetricsHandler(ctx).Counter("c").Inc(1)
		return fmt.Sprint(ctx.Value(databaseKey{})), nil
	}
	o := worker.Options{BackgroundActivityContext: context.WithValue(context.Background(), databaseKey{}, "database")}
	outcome := s.run(t, o, func(w worker.Worker) {
		w.RegisterActivityWithOptions(activity, sdkactivity.RegisterOptions{Name: "noContext"})
	}, "noContext", nil)
	require.Equal(t, "database", text(t, outcome))
	for _, e := range s.log.at("info") {
		if e.message == "from the handler" {
			require.Equal(t, []any{
				"Namespace", "namespace", "TaskQueue", "queue", "WorkerID", "identity",
				"ActivityID", "1", "ActivityType", "noContext", "Attempt", int32(1), "WorkflowType", "W", "WorkflowID", "workflow", "RunID", "run",
			}, e.keyvals)
			return
		}
	}
	require.Fail(t, "nothing logged")
}

func TestHostContextBesideAStrictPropagator(t *testing.T) {
	s := newSite(t, client.Options{ContextPropagators: []sdkworkflow.ContextPropagator{propagator{}}})
	header := &commonpb.Header{Fields: map[string]*commonpb.Payload{"key": {Data: []byte("v")}}}
	require.Equal(t, "<x>", text(t, s.run(t, worker.Options{}, registerNoContext, "noContext", header, "x")))
}

func TestHostContextBesideASessionWorker(t *testing.T) {
	s := newSite(t, client.Options{})
	w := worker.New(s.client, "queue", worker.Options{EnableSessionWorker: true})
	registerNoContext(w)
	require.NoError(t, w.Start())
	defer w.Stop()
	s.frontend.eventually(t, "the session's pollers and the main one poll", func() bool { return len(s.frontend.polls) == 3 })
	s.enqueue(t, "noContext", nil, "x")
	outcomes, err := wire.DecodeSignal(s.frontend.signal(t).GetInput())
	require.NoError(t, err)
	require.Equal(t, "<x>", text(t, outcomes[0]))
}

func TestHostContextWithOneSlot(t *testing.T) {
	s := newSite(t, client.Options{})
	o := worker.Options{MaxConcurrentActivityExecutionSize: 1, MaxConcurrentActivityTaskPollers: 1}
	require.Equal(t, "<x>", text(t, s.run(t, o, registerNoContext, "noContext", nil, "x")))
}

func TestUserInterceptorsSeeHandlersButNotTheHostActivity(t *testing.T) {
	var mu sync.Mutex
	var seen []string
	s := newSite(t, client.Options{Interceptors: []interceptor.ClientInterceptor{&recorder{name: "client", mu: &mu, seen: &seen}}})
	o := worker.Options{Interceptors: []interceptor.WorkerInterceptor{&recorder{name: "worker", mu: &mu, seen: &seen}}}
	s.run(t, o, registerNoContext, "noContext", nil, "x")
	mu.Lock()
	defer mu.Unlock()
	var executions []string
	for _, line := range seen {
		if len(line) > 16 && line[7:15] == "executes" {
			executions = append(executions, line[:15])
		}
	}
	require.Equal(t, []string{"client executes", "worker executes"}, executions)
}

func TestTwoWorkersOfOneClient(t *testing.T) {
	s := newSite(t, client.Options{})
	other := worker.New(s.client, "other", worker.Options{})
	other.RegisterActivity(noContext)
	require.NoError(t, other.Start())
	defer other.Stop()
	require.Equal(t, "<x>", text(t, s.run(t, worker.Options{}, registerNoContext, "noContext", nil, "x")))
}

func TestWorkersWithoutExecutor(t *testing.T) {
	for name, c := range map[string]struct {
		o        worker.Options
		register func(worker.Worker)
	}{
		"local activities only": {worker.Options{LocalActivityWorkerOnly: true}, registerNoContext},
		"no marked type":        {worker.Options{}, func(w worker.Worker) { w.RegisterActivity(onlyError) }},
		"workflows only":        {worker.Options{}, func(worker.Worker) {}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, client.Options{})
			w := worker.New(s.client, "queue", c.o)
			c.register(w)
			require.NoError(t, w.Start())
			w.Stop()
			types, err := s.queue.Announced(context.Background(), PoolName("queue", "", ""))
			require.NoError(t, err)
			require.Empty(t, types)
			require.Empty(t, s.log.at("error"))
		})
	}
}

func TestAConnectionWithoutThePluginIsNamed(t *testing.T) {
	s := newSite(t, client.Options{})
	bare, err := client.Dial(client.Options{HostPort: s.frontend.address, Namespace: "namespace", Logger: s.log, WorkerHeartbeatInterval: -1})
	require.NoError(t, err)
	defer bare.Close()
	p := &plugged{o: s.plugin.o}
	c, err := client.NewClientFromExisting(bare, client.Options{Namespace: "namespace", Logger: s.log, Plugins: []client.Plugin{p}, WorkerHeartbeatInterval: -1})
	require.NoError(t, err)
	defer c.Close()
	w := worker.New(c, "queue", worker.Options{})
	w.RegisterActivity(noContext)
	require.NoError(t, w.Start())
	defer w.Stop()
	errs := s.log.at("error")
	require.Len(t, errs, 1)
	require.Contains(t, errs[0].message, "no executor in this worker")
	require.Contains(t, fmt.Sprint(errs[0].keyvals), "no activity poll of the worker passed Slipstream's gRPC interceptor")
	types, err := s.queue.Announced(context.Background(), PoolName("queue", "", ""))
	require.NoError(t, err)
	require.Empty(t, types, "a worker without executor announces nothing")
}

func TestATunerNeedsAConcurrency(t *testing.T) {
	s := newSite(t, client.Options{})
	tuner, err := worker.NewFixedSizeTuner(worker.FixedSizeTunerOptions{NumWorkflowSlots: 5, NumActivitySlots: 5, NumLocalActivitySlots: 5, NumNexusSlots: 5})
	require.NoError(t, err)
	w := worker.New(s.client, "queue", worker.Options{Tuner: tuner})
	w.RegisterActivity(noContext)
	require.ErrorContains(t, w.Start(), "set plugin.Options.Concurrency")
	w.Stop()

	s.plugin.rt.o.Concurrency = 7
	require.Equal(t, "<x>", text(t, s.run(t, worker.Options{Tuner: tuner}, registerNoContext, "noContext", nil, "x")))
}

// What a former release announced a worker serves, whatever is marked now, but it does not announce it anew.
func TestAWorkerWithoutMarksServesWhatWasAnnounced(t *testing.T) {
	s := newSite(t, client.Options{})
	s.plugin.rt.o.Marks = nil
	require.NoError(t, s.queue.Announce(context.Background(), PoolName("queue", "", ""), []string{"noContext"}))
	both := func(w worker.Worker) { w.RegisterActivity(noContext); w.RegisterActivity(onlyError) }
	require.Equal(t, "<x>", text(t, s.run(t, worker.Options{}, both, "noContext", nil, "x")))
	types, err := s.queue.Announced(context.Background(), PoolName("queue", "", ""))
	require.NoError(t, err)
	require.Equal(t, map[string]bool{"noContext": true}, types, "the former release's, until they end")
}

// A release that removes all marks while Redis is away cannot read what was announced.
func TestAWorkerWithoutMarksServesWhatItCannotTell(t *testing.T) {
	s := newSite(t, client.Options{})
	s.plugin.rt.o.Marks = nil
	address := s.redis.Addr()
	s.redis.Close()
	w := worker.New(s.client, "queue", worker.Options{})
	w.RegisterActivity(noContext)
	require.NoError(t, w.Start())
	defer w.Stop()
	require.NoError(t, s.redis.StartAddr(address))
	s.enqueue(t, "noContext", nil, "x")
	s.frontend.signal(t)
}

func TestATunerWithoutMarksIsAWarning(t *testing.T) {
	s := newSite(t, client.Options{})
	s.plugin.rt.o.Marks = nil
	require.NoError(t, s.queue.Announce(context.Background(), PoolName("queue", "", ""), []string{"noContext"}))
	tuner, err := worker.NewFixedSizeTuner(worker.FixedSizeTunerOptions{NumWorkflowSlots: 5, NumActivitySlots: 5, NumLocalActivitySlots: 5, NumNexusSlots: 5})
	require.NoError(t, err)
	w := worker.New(s.client, "queue", worker.Options{Tuner: tuner})
	w.RegisterActivity(noContext)
	require.NoError(t, w.Start())
	defer w.Stop()
	warnings := s.log.own("warn")
	require.Len(t, warnings, 1)
	require.Contains(t, warnings[0].message, "no executor in this worker")
	require.Contains(t, fmt.Sprint(warnings[0].keyvals), "set plugin.Options.Concurrency")
}

func TestWorkerStopTimeoutIsRaised(t *testing.T) {
	s := newSite(t, client.Options{})
	o := worker.PluginConfigureWorkerOptions{
		WorkerInstanceKey: "k", TaskQueue: "q", WorkerOptions: &worker.Options{}, WorkerRegistryOptions: &worker.PluginConfigureWorkerRegistryOptions{},
	}
	s.plugin.rt.Configure(o)
	require.Equal(t, 5*time.Second, o.WorkerOptions.WorkerStopTimeout)
	require.Contains(t, s.log.at("info")[len(s.log.at("info"))-1].message, "WorkerStopTimeout is 0")
	o.WorkerOptions, o.WorkerInstanceKey = &worker.Options{WorkerStopTimeout: time.Second}, "l"
	s.plugin.rt.Configure(o)
	require.Equal(t, time.Second, o.WorkerOptions.WorkerStopTimeout)
}

func TestMarksThatNobodyRegistersAreNamed(t *testing.T) {
	s := newSite(t, client.Options{})
	s.plugin.rt.o.Marks = map[string]string{"noContext": "", "unheardof": "", "onlyError": ""}
	s.run(t, worker.Options{}, func(w worker.Worker) {
		w.RegisterActivity(noContext)
		w.RegisterActivityWithOptions(onlyError, sdkactivity.RegisterOptions{Name: "renamed"})
	}, "noContext", nil, "x")
	var got []string
	for _, e := range s.log.own("warn") {
		for i := 0; i < len(e.keyvals); i += 2 {
			if e.keyvals[i] == "Mark" {
				got = append(got, fmt.Sprint(e.keyvals[i+1], " ", e.message[:45]))
			}
		}
	}
	require.ElementsMatch(t, []string{
		"unheardof [Slipstream] no worker of this task queue reg",
		"onlyError [Slipstream] a marked activity is registered ",
	}, got)
}

func TestRedisAwayAtStart(t *testing.T) {
	s := newSite(t, client.Options{})
	address := s.redis.Addr()
	s.redis.Close()
	w := worker.New(s.client, "queue", worker.Options{})
	w.RegisterActivity(noContext)
	require.NoError(t, w.Start())
	defer w.Stop()
	require.Eventually(t, func() bool { return len(s.log.own("warn")) > 0 }, 20*time.Second, 10*time.Millisecond)
	require.Contains(t, s.log.own("warn")[0].message, "Redis is not reachable")
	require.NoError(t, s.redis.StartAddr(address))
	require.Eventually(t, func() bool {
		types, err := s.queue.Announced(context.Background(), PoolName("queue", "", ""))
		return err == nil && types["noContext"]
	}, 10*time.Second, 10*time.Millisecond)
	s.enqueue(t, "noContext", nil, "x")
	s.frontend.signal(t)
}

func TestDeliveryErrors(t *testing.T) {
	for _, c := range []struct{ err, want error }{
		{serviceerror.NewNotFound("gone"), batchqueue.ErrRunGone},
		{serviceerror.NewInvalidArgument("exceeded workflow execution limit for signal events"), batchqueue.ErrRunDeaf},
	} {
		require.ErrorIs(t, deliveryError(c.err), c.want)
		require.ErrorIs(t, deliveryError(c.err), c.err)
	}
	for _, err := range []error{serviceerror.NewUnavailable("u"), serviceerror.NewResourceExhausted(0, "r"), errors.New("x"), context.DeadlineExceeded} {
		require.NotErrorIs(t, deliveryError(err), batchqueue.ErrRunGone)
		require.NotErrorIs(t, deliveryError(err), batchqueue.ErrRunDeaf)
	}
}
