package activity

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	commandpb "go.temporal.io/api/command/v1"
	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/worker"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/slipstream-go/slipstream/batchqueue"
	"github.com/slipstream-go/slipstream/internal/redistest"
	"github.com/slipstream-go/slipstream/internal/wire"
	"github.com/slipstream-go/slipstream/workflow"
)

// The task queue and run of the SDK's test environment.
const (
	testQueue = "default-test-taskqueue"
	testRun   = "default-test-run-id"
)

// desk dispatches from local activities of the SDK's test environment.
type desk struct {
	redis *miniredis.Miniredis
	queue *batchqueue.Queue
	rt    *Runtime
	w     *Worker
}

func newDesk(t *testing.T, o RuntimeOptions) *desk {
	t.Helper()
	d := &desk{redis: redistest.StartMini(t)}
	rdb := redis.NewClient(&redis.Options{Addr: d.redis.Addr(), ContextTimeoutEnabled: true, MaxRetries: -1})
	t.Cleanup(func() { _ = rdb.Close() })
	var err error
	d.queue, err = batchqueue.New(rdb, batchqueue.Options{Namespace: "namespace"})
	require.NoError(t, err)
	o.Queue = d.queue
	if o.MaxPayloadBytes == 0 {
		o.MaxPayloadBytes = 1 << 16
	}
	d.rt = NewRuntime(NewClient(&client.Options{Namespace: "namespace", Logger: testLogger}), o)
	d.rt.Configure(worker.PluginConfigureWorkerOptions{
		WorkerInstanceKey: "instance", TaskQueue: testQueue, WorkerOptions: &worker.Options{},
		WorkerRegistryOptions: &worker.PluginConfigureWorkerRegistryOptions{},
	})
	d.w = d.rt.Worker("instance")
	d.w.settle()
	close(d.w.announced)
	d.w.begun.Store(true)
	d.rt.workerStarted(context.Background())
	t.Cleanup(func() { d.w.Stop(context.Background(), func(context.Context) {}) })
	return d
}

func (d *desk) announce(t *testing.T, pool string, types ...string) {
	t.Helper()
	require.NoError(t, d.queue.Announce(context.Background(), pool, types))
}

// local runs f as a local activity of the worker.
func (d *desk) local(t *testing.T, f any, args ...any) []byte {
	t.Helper()
	env := (&testsuite.WorkflowTestSuite{}).NewTestActivityEnvironment()
	env.SetTestTimeout(time.Minute) // else it ends the window
	env.SetWorkerOptions(worker.Options{BackgroundActivityContext: context.WithValue(context.Background(), workerKey{}, d.w)})
	v, err := env.ExecuteLocalActivity(f, args...)
	require.NoError(t, err)
	var b []byte
	require.NoError(t, v.Get(&b))
	return b
}

func (d *desk) dispatch(t *testing.T, wave *wire.Wave) *wire.Marker {
	t.Helper()
	wave.First = wave.Calls[0].Number
	m, err := wire.DecodeMarker(d.local(t, workflow.SlipstreamDispatch, workflow.Dispatcher(d.rt), wave))
	require.NoError(t, err)
	require.Equal(t, testRun, m.RunID)
	require.Len(t, m.Answers, len(wave.Calls))
	return m
}

func (d *desk) reconcile(t *testing.T, ask *wire.Ask) *wire.AskReply {
	t.Helper()
	r, err := wire.DecodeAskReply(d.local(t, workflow.SlipstreamReconcile, workflow.Dispatcher(d.rt), ask))
	require.NoError(t, err)
	return r
}

// executor runs tasks of a pool by a function.
func (d *desk) executor(t *testing.T, pool string, types []string, handle func(*batchqueue.Delivery) batchqueue.Result) {
	t.Helper()
	e, err := d.queue.NewExecutor(batchqueue.ExecutorOptions{
		Pool: pool, Types: types, DrainTimeout: time.Second,
		Handler: func(_ context.Context, del *batchqueue.Delivery) batchqueue.Result { return handle(del) },
		Deliver: func(context.Context, *batchqueue.Batch) error { return batchqueue.ErrRunDeaf }, // the tests pull
	})
	require.NoError(t, err)
	require.NoError(t, e.Start(context.Background()))
	t.Cleanup(func() { require.NoError(t, e.Stop(context.Background())) })
}

func completing(del *batchqueue.Delivery) batchqueue.Result {
	c, err := decodeCall(del.Payload)
	if err != nil {
		return batchqueue.Result{Kind: batchqueue.KindFailed}
	}
	return batchqueue.Result{Kind: batchqueue.KindCompleted, Payload: c.Input}
}

func callOf(number uint64, activityType string, args ...any) wire.Call {
	input, err := converter.GetDefaultDataConverter().ToPayloads(args...)
	if err != nil {
		panic(err)
	}
	return wire.Call{
		Number: number, Type: activityType, TaskQueue: testQueue, ActivityID: fmt.Sprint(number), Input: input,
		Options: wire.CallOptions{StartToClose: time.Minute, Retry: &commonpb.RetryPolicy{InitialInterval: durationpb.New(time.Second)}},
	}
}

func waveOf(calls ...wire.Call) *wire.Wave {
	return &wire.Wave{Calls: calls, Headers: make([]*commonpb.Header, len(calls)), Fallback: len(calls)}
}

func states(m *wire.Marker) []wire.State {
	out := make([]wire.State, len(m.Answers))
	for i := range m.Answers {
		out[i] = m.Answers[i].State
	}
	return out
}

func TestDispatchQueuesByPool(t *testing.T) {
	d := newDesk(t, RuntimeOptions{})
	d.announce(t, PoolName(testQueue, "", ""), "A")
	d.announce(t, PoolName(testQueue, "p", ""), "B")
	d.announce(t, PoolName("elsewhere", "", ""), "A")
	b, other := callOf(2, "B"), callOf(3, "A")
	b.Pool, other.TaskQueue = "p", "elsewhere"
	m := d.dispatch(t, waveOf(callOf(1, "A"), b, other, callOf(4, "A")))
	require.Equal(t, []wire.State{wire.StateQueued, wire.StateQueued, wire.StateQueued, wire.StateQueued}, states(m))
	pools := make([]string, 4)
	for i := range m.Answers {
		pools[i] = m.Addresses[m.Answers[i].Address].Pool
		require.NotZero(t, m.Answers[i].Fingerprint)
	}
	require.Equal(t, []string{testQueue, testQueue + "/p", "elsewhere", testQueue}, pools)
	require.Equal(t, "4 queued", m.Summary)

	again := d.dispatch(t, waveOf(callOf(1, "A")))
	require.Equal(t, m.Answers[0].Fingerprint, again.Answers[0].Fingerprint, "an equal call has an equal identity")
	stats, err := d.queue.Stats(context.Background(), testQueue)
	require.NoError(t, err)
	require.EqualValues(t, 2, stats.Depth())
}

func TestDispatchAddsTheBuildOfItsWorkerOnly(t *testing.T) {
	d := newDesk(t, RuntimeOptions{})
	d.w.build = "build"
	d.announce(t, PoolName(testQueue, "", "build"), "A")
	d.announce(t, PoolName("elsewhere", "", ""), "A")
	other := callOf(2, "A")
	other.TaskQueue = "elsewhere"
	m := d.dispatch(t, waveOf(callOf(1, "A"), other))
	require.Equal(t, []wire.State{wire.StateQueued, wire.StateQueued}, states(m))
	require.Equal(t, []wire.Address{{Pool: testQueue + "@build", Slot: m.Addresses[0].Slot}, {Pool: "elsewhere", Slot: m.Addresses[1].Slot}}, m.Addresses)
}

func TestDispatchKeepsHeadersApart(t *testing.T) {
	d := newDesk(t, RuntimeOptions{Window: 20 * time.Second})
	d.announce(t, testQueue, "A")
	headers := make(chan string, 3)
	d.executor(t, testQueue, []string{"A"}, func(del *batchqueue.Delivery) batchqueue.Result {
		a, err := decodeAddress(del.Common)
		c, errCall := decodeCall(del.Payload)
		if err == nil && errCall == nil {
			header, _ := c.headerOr(a.Header)
			headers <- fmt.Sprint(del.Number, string(header.GetFields()["k"].GetData()))
		}
		return completing(del)
	})
	one := &commonpb.Header{Fields: map[string]*commonpb.Payload{"k": {Data: []byte("one")}}}
	two := &commonpb.Header{Fields: map[string]*commonpb.Payload{"k": {Data: []byte("two")}}}
	wave := waveOf(callOf(1, "A", "x"), callOf(2, "A", "y"), callOf(3, "A", "z"))
	wave.Headers = []*commonpb.Header{one, two, one}
	m := d.dispatch(t, wave)
	require.Equal(t, []wire.State{wire.StateDone, wire.StateDone, wire.StateDone}, states(m))
	require.ElementsMatch(t, []string{"1one", "2two", "3one"}, []string{<-headers, <-headers, <-headers})
}

func TestDispatchGoesPlainWhereNobodyHandlesTheType(t *testing.T) {
	d := newDesk(t, RuntimeOptions{})
	d.announce(t, testQueue, "A")
	wave := waveOf(callOf(1, "A"), callOf(2, "B"), callOf(3, "B"))
	wave.Fallback = 1
	m := d.dispatch(t, wave)
	require.Equal(t, []wire.State{wire.StateQueued, wire.StatePlain, wire.StateWaiting}, states(m))
	require.Equal(t, -1, m.Answers[1].Address)

	// Whoever announces it is heard at once, although its absence is remembered.
	d.announce(t, testQueue, "B")
	require.Equal(t, []wire.State{wire.StateQueued}, states(d.dispatch(t, waveOf(callOf(4, "B")))))
}

func TestDispatchGoesPlainWhileThePoolDrains(t *testing.T) {
	d := newDesk(t, RuntimeOptions{})
	d.announce(t, testQueue, "A")
	config, err := d.queue.SetConfig(t.Context(), testQueue, batchqueue.PoolConfig{Slots: 1, Draining: true})
	require.NoError(t, err)
	m := d.dispatch(t, waveOf(callOf(1, "A"), callOf(2, "A")))
	require.Equal(t, wire.StatePlain, m.Answers[0].State)
	require.Equal(t, wire.StatePlain, m.Answers[1].State)
	stats, err := d.queue.Stats(t.Context(), testQueue)
	require.NoError(t, err)
	require.Zero(t, stats.Enqueued)

	config.Draining = false
	_, err = d.queue.SetConfig(t.Context(), testQueue, config)
	require.NoError(t, err)
	require.Equal(t, wire.StateQueued, d.dispatch(t, waveOf(callOf(3, "A"))).Answers[0].State)
}

func TestDispatchWaitsForAWorkerThatAnnouncesNow(t *testing.T) {
	d := newDesk(t, RuntimeOptions{})
	d.w.announced = make(chan struct{})
	done := make(chan *wire.Marker)
	go func() { done <- d.dispatch(t, waveOf(callOf(1, "A"))) }() //nolint:testifylint // a failure there shows as a time-out here
	d.announce(t, testQueue, "A")
	close(d.w.announced)
	require.Equal(t, []wire.State{wire.StateQueued}, states(<-done))
}

// The SDK has its own words for arguments that are too large.
func TestDispatchGoesPlainWhereArgumentsAreTooLarge(t *testing.T) {
	d := newDesk(t, RuntimeOptions{MaxPayloadBytes: 100})
	d.announce(t, testQueue, "A")
	wave := waveOf(callOf(1, "A", strings.Repeat("x", 200)), callOf(2, "A"))
	wave.Fallback = 1
	require.Equal(t, []wire.State{wire.StatePlain, wire.StateQueued}, states(d.dispatch(t, wave)))
}

func TestDispatchKnowsEarlyOutcomes(t *testing.T) {
	d := newDesk(t, RuntimeOptions{})
	d.announce(t, testQueue, "A")
	c := callOf(1, "A", "x")
	identity := wire.Identity{RunID: testRun, Number: 1, Fingerprint: wire.Fingerprint(testRun, &c)}
	wave := waveOf(c, callOf(2, "A"))
	wave.Early = []wire.Identity{{RunID: "former", Number: 2, Fingerprint: 5}, identity}
	require.Equal(t, []wire.State{wire.StateEarly, wire.StateQueued}, states(d.dispatch(t, wave)))
}

func TestRedisAwayIsFallbackWithinItsBound(t *testing.T) {
	d := newDesk(t, RuntimeOptions{})
	d.announce(t, testQueue, "A")
	require.Equal(t, []wire.State{wire.StateQueued}, states(d.dispatch(t, waveOf(callOf(1, "A")))))
	d.redis.SetError("LOADING")
	once := callOf(3, "A")
	once.Options.Retry.MaximumAttempts = 1
	wave := waveOf(callOf(2, "A"), once, callOf(4, "A"), callOf(5, "A"))
	wave.Fallback = 2
	m := d.dispatch(t, wave)
	// Whether number 3 was added is not known, so it must not run plainly. Nor may 5 wait
	// as if it were known: it is unsure too.
	require.Equal(t, []wire.State{wire.StatePlain, wire.StateUnsure, wire.StatePlain, wire.StateUnsure}, states(m))
	require.GreaterOrEqual(t, m.Answers[1].Address, 0)

	// The breaker is open now: nothing is sent, so everything is sure.
	d.rt.breaker.lock()
	wave = waveOf(callOf(6, "A"), callOf(7, "A"))
	wave.Calls[0].Options.Retry.MaximumAttempts = 1
	wave.Fallback = 1
	require.Equal(t, []wire.State{wire.StatePlain, wire.StateWaiting}, states(d.dispatch(t, wave)))

	d.redis.SetError("")
	d.rt.breaker.nextTry = time.Now()
	require.Equal(t, []wire.State{wire.StateQueued}, states(d.dispatch(t, waveOf(callOf(8, "A")))))
	require.Zero(t, d.rt.breaker.wait, "the probe closed the breaker")
	require.Empty(t, d.rt.strays.tasks, "what may have been queued was cancelled at the first contact")
}

// A full Redis refuses what is new; that too is fallback, not failure.
func TestFullRedisIsFallback(t *testing.T) {
	d := newDesk(t, RuntimeOptions{})
	d.announce(t, testQueue, "A")
	require.Equal(t, []wire.State{wire.StateQueued}, states(d.dispatch(t, waveOf(callOf(1, "A")))))
	d.redis.SetError("OOM command not allowed when used memory > 'maxmemory'.")
	require.Equal(t, []wire.State{wire.StatePlain}, states(d.dispatch(t, waveOf(callOf(2, "A")))))
	d.redis.SetError("")
	d.rt.breaker.nextTry = time.Now()
	require.Equal(t, []wire.State{wire.StateQueued}, states(d.dispatch(t, waveOf(callOf(3, "A")))))
}

func TestWindowTakesResults(t *testing.T) {
	d := newDesk(t, RuntimeOptions{Window: 20 * time.Second})
	d.announce(t, testQueue, "A")
	d.executor(t, testQueue, []string{"A"}, completing)
	m := d.dispatch(t, waveOf(callOf(1, "A", "x"), callOf(2, "A", "y")))
	require.Equal(t, []wire.State{wire.StateDone, wire.StateDone}, states(m))
	var s string
	require.NoError(t, converter.GetDefaultDataConverter().FromPayload(m.Answers[1].Outcome.Payloads[0], &s))
	require.Equal(t, "y", s)
	require.Equal(t, "2 done", m.Summary)

	// The same wave again, for instance after a lost workflow task, gets the same answers.
	m = d.dispatch(t, waveOf(callOf(1, "A", "x"), callOf(2, "A", "y")))
	require.Equal(t, []wire.State{wire.StateDone, wire.StateDone}, states(m))
}

func TestWindowLeavesWhatIsSlow(t *testing.T) {
	d := newDesk(t, RuntimeOptions{Window: 4 * time.Second})
	d.announce(t, testQueue, "fast", "slow")
	slow, release := context.WithCancel(context.Background())
	d.executor(t, testQueue, []string{"fast", "slow"}, func(del *batchqueue.Delivery) batchqueue.Result {
		if del.Type == "slow" {
			<-slow.Done()
		}
		return completing(del)
	})
	t.Cleanup(release)
	m := d.dispatch(t, waveOf(callOf(1, "fast"), callOf(2, "slow")))
	require.Equal(t, []wire.State{wire.StateDone, wire.StateQueued}, states(m))
	require.False(t, d.rt.latency.fits(4*time.Second, "slow"), "a type that was too slow is not waited for next time")

	d.rt.latency.observe("slow", 10*time.Hour)
	d.rt.o.Window = time.Hour // would hang if it were waited for
	require.Equal(t, []wire.State{wire.StateQueued}, states(d.dispatch(t, waveOf(callOf(3, "slow")))))
	d.rt.o.Window = 20 * time.Second
	release()

	// Finished outcomes of earlier waves come along with the next window.
	for _, number := range []uint64{2, 3} {
		require.Eventually(t, func() bool {
			status, err := d.queue.Status(t.Context(), testQueue, testRun, number)
			return err == nil && status.State == batchqueue.StateFinished
		}, 10*time.Second, time.Millisecond)
	}
	d.rt.latency.observe("fast", 0)
	m = d.dispatch(t, waveOf(callOf(4, "fast")))
	require.Len(t, m.Taken, 2)
}

func TestWindowsEndWhenTheWorkerStops(t *testing.T) {
	d := newDesk(t, RuntimeOptions{Window: time.Hour})
	d.announce(t, testQueue, "A")
	done := make(chan *wire.Marker)
	go func() { done <- d.dispatch(t, waveOf(callOf(1, "A"))) }() //nolint:testifylint // a failure there shows as a time-out here
	require.Eventually(t, func() bool { return d.w.windows.Load() == 1 }, 5*time.Second, time.Millisecond)
	close(d.w.stopping)
	d.w.once.Do(func() { d.rt.workerStopped(d.w) })
	require.Equal(t, []wire.State{wire.StateQueued}, states(<-done))
	require.Zero(t, d.w.windows.Load())
	require.Equal(t, []wire.State{wire.StateQueued}, states(d.dispatch(t, waveOf(callOf(2, "A")))), "no new windows either")
}

func TestNoWindowWhereItWouldNotPay(t *testing.T) {
	d := newDesk(t, RuntimeOptions{Window: time.Hour})
	d.announce(t, testQueue, "A")
	wave := waveOf(callOf(1, "A"))
	wave.NoWindow = true
	d.dispatch(t, wave)
	var many []wire.Call
	for n := range uint64(maxWindowCalls + 1) {
		many = append(many, callOf(n+2, "A"))
	}
	d.dispatch(t, waveOf(many...))
	d.rt.o.Windows = map[string]time.Duration{"A": 0} // the mark's own, no longer than that
	d.dispatch(t, waveOf(callOf(400, "A")))
	d.rt.o.Windows = nil
	d.w.windows.Store(d.w.maxWindows)
	d.dispatch(t, waveOf(callOf(500, "A")))
}

func TestReconcile(t *testing.T) {
	d := newDesk(t, RuntimeOptions{})
	d.announce(t, testQueue, "A")
	m := d.dispatch(t, waveOf(callOf(1, "A", "x"), callOf(2, "A", "y")))
	open := func(i int) wire.OpenCall {
		a := &m.Answers[i]
		return wire.OpenCall{Identity: wire.Identity{RunID: m.RunID, Number: a.Number, Fingerprint: a.Fingerprint}, Address: m.Addresses[a.Address], Type: "A"}
	}
	never := open(0)
	never.Number = 77
	lost, lostNever := callOf(2, "A", "y"), callOf(3, "A", "z")
	reply := d.reconcile(t, &wire.Ask{Open: []wire.OpenCall{open(0), never, {Type: "A", Call: &lost}, {Type: "A", Call: &lostNever}}})
	require.Equal(t, testRun, reply.RunID)
	require.Empty(t, reply.Taken)
	got := map[uint64]wire.Answer{}
	for _, a := range reply.Found {
		got[a.Number] = a
	}
	require.Len(t, got, 3)
	require.Equal(t, wire.StateNotHere, got[77].State)
	require.Equal(t, wire.StateQueued, got[2].State, "its dispatch was lost, but it is there")
	require.Equal(t, m.Answers[1].Fingerprint, got[2].Fingerprint)
	require.Equal(t, m.Addresses[0], reply.Addresses[got[2].Address])
	require.Equal(t, wire.StateNotHere, got[3].State)
	require.NotZero(t, got[3].Fingerprint)

	d.executor(t, testQueue, []string{"A"}, completing)
	var taken []wire.Outcome
	require.Eventually(t, func() bool {
		reply := d.reconcile(t, &wire.Ask{Open: []wire.OpenCall{open(0), open(1)}})
		taken = append(taken, reply.Taken...)
		numbers := map[uint64]bool{}
		for _, o := range taken {
			require.Equal(t, wire.KindCompleted, o.Kind)
			numbers[o.Number] = true
		}
		return numbers[1] && numbers[2]
	}, 5*time.Second, 5*time.Millisecond)

	d.redis.SetError("LOADING")
	reply = d.reconcile(t, &wire.Ask{Open: []wire.OpenCall{open(0), {Type: "A", Call: &lost}}})
	require.Len(t, reply.Found, 2)
	require.Equal(t, wire.StateUnsure, reply.Found[0].State)
	require.Equal(t, wire.StateUnsure, reply.Found[1].State)
}

// Cancelled calls whose dispatch was lost, and cancel requests that were: the next ask
// takes their tasks out, and nothing of the run stays open.
func TestReconcileTakesOrphansOut(t *testing.T) {
	d := newDesk(t, RuntimeOptions{})
	d.announce(t, testQueue, "A")
	m := d.dispatch(t, waveOf(callOf(1, "A", "x"), callOf(2, "A", "y"), callOf(3, "A", "z")))
	lost, other := callOf(1, "A", "x"), callOf(3, "A", "not what was dispatched")
	located := wire.OpenCall{
		Identity: wire.Identity{RunID: m.RunID, Number: 2, Fingerprint: m.Answers[1].Fingerprint}, Address: m.Addresses[0], Type: "A",
	}
	orphans := []wire.OpenCall{{Identity: wire.Identity{Number: 1}, Type: "A", Call: &lost}, located, {Identity: wire.Identity{Number: 3}, Type: "A", Call: &other}}

	log := &logRecorder{}
	d.rt.log = log
	d.redis.SetError("LOADING")
	for range 2 {
		reply := d.reconcile(t, &wire.Ask{Orphans: slices.Clone(orphans)})
		require.Len(t, reply.Found, 3)
		for i, a := range reply.Found {
			require.Equal(t, wire.StateUnsure, a.State, i)
		}
	}
	d.redis.SetError("")
	require.Len(t, log.at("warn"), 1, "said once a minute")

	reply := d.reconcile(t, &wire.Ask{Orphans: orphans})
	require.Empty(t, reply.Found)
	require.Empty(t, reply.Taken)
	require.Len(t, log.at("info"), 1, "and when it is over")
	tasks, err := d.queue.Tasks(context.Background(), testQueue, testRun)
	require.NoError(t, err)
	var got []batchqueue.TaskState
	for _, task := range tasks {
		got = append(got, task.State)
	}
	require.Equal(t, []batchqueue.TaskState{batchqueue.StateAcknowledged, batchqueue.StateAcknowledged, batchqueue.StateWaiting}, got,
		"another question under the same number is left alone")
}

func TestCancel(t *testing.T) {
	d := newDesk(t, RuntimeOptions{})
	d.announce(t, testQueue, "A")
	m := d.dispatch(t, waveOf(callOf(1, "A")))
	open := wire.OpenCall{Identity: wire.Identity{RunID: m.RunID, Number: 1, Fingerprint: m.Answers[0].Fingerprint}, Address: m.Addresses[0]}
	require.NoError(t, d.rt.Cancel(context.Background(), &wire.CancelRequest{Calls: []wire.OpenCall{open}}))
	reply := d.reconcile(t, &wire.Ask{Open: []wire.OpenCall{open}})
	require.Len(t, reply.Taken, 1)
	require.Equal(t, wire.KindCanceled, reply.Taken[0].Kind)

	d.redis.SetError("LOADING")
	require.Error(t, d.rt.Cancel(context.Background(), &wire.CancelRequest{Calls: []wire.OpenCall{open}}))
}

func TestOutcomesKeepTheirMeaning(t *testing.T) {
	for kind := batchqueue.KindCompleted; kind <= batchqueue.KindPoison; kind++ {
		require.EqualValues(t, kind, wireKind(kind), "both sets of numbers are stored; they are equal today")
	}
	failure, err := wire.EncodePayloads(&commonpb.Payloads{Payloads: []*commonpb.Payload{{Data: []byte("failure")}}})
	require.NoError(t, err)
	details, err := wire.EncodePayloads(&commonpb.Payloads{Payloads: []*commonpb.Payload{{Data: []byte("details")}}})
	require.NoError(t, err)
	o := wireOutcome("run", &batchqueue.Outcome{
		Number: 3, Fingerprint: 4, Kind: batchqueue.KindHeartbeat, Retry: batchqueue.RetryTimeout, Attempt: 2, Executor: "w",
		LastFailure: failure, Details: details,
	})
	require.Equal(t, wire.Identity{RunID: "run", Number: 3, Fingerprint: 4}, o.Identity)
	require.Equal(t, "failure", string(o.Payloads[0].Data))
	require.Equal(t, "details", string(o.Details[0].Data))
	require.EqualValues(t, 2, o.Attempt)
	require.Equal(t, "w", o.Worker)
	require.EqualValues(t, batchqueue.RetryTimeout, o.Retry)

	canceled := wireOutcome("run", &batchqueue.Outcome{Kind: batchqueue.KindCanceled, Attempt: 1, Executor: "w"})
	require.Empty(t, canceled.Payloads, "the handler gave no details")
	canceled = wireOutcome("run", &batchqueue.Outcome{Kind: batchqueue.KindCanceled})
	require.Equal(t, wire.NotStarted(), canceled.Payloads)
	canceled = wireOutcome("run", &batchqueue.Outcome{Kind: batchqueue.KindCanceled, Step: 2, Retry: batchqueue.RetryCancelRequested})
	require.Equal(t, wire.NotStarted(), canceled.Payloads, "a step that waited")
	require.EqualValues(t, 2, canceled.Step)
	canceled = wireOutcome("run", &batchqueue.Outcome{Kind: batchqueue.KindCanceled, Step: 2})
	require.Empty(t, canceled.Payloads, "a step that was not enqueued")

	damaged := wireOutcome("run", &batchqueue.Outcome{Kind: batchqueue.KindCompleted, Payload: []byte{0xff}})
	require.Empty(t, damaged.Payloads)
}

func TestBreaker(t *testing.T) {
	var changes []bool
	b := &breaker{onChange: func(open bool) { changes = append(changes, open) }}
	require.True(t, b.allow())
	b.report(true)
	require.Empty(t, changes)
	b.report(false)
	b.report(false) // was under way when it opened
	require.Equal(t, breakerMinWait, b.wait)
	require.False(t, b.allow())
	b.nextTry = time.Now()
	require.True(t, b.allow(), "one probes")
	require.False(t, b.allow(), "the others go on")
	b.report(false)
	require.Equal(t, 2*breakerMinWait, b.wait)
	b.nextTry = time.Now()
	require.True(t, b.allow())
	b.report(true)
	require.True(t, b.allow())
	require.Equal(t, []bool{true, false}, changes)
}

func TestLatencies(t *testing.T) {
	l := newLatencies()
	require.True(t, l.fits(time.Millisecond, "unknown"))
	l.observe("A", 100*time.Millisecond)
	require.False(t, l.fits(50*time.Millisecond, "A"))
	for range 10 {
		l.observe("A", time.Millisecond)
	}
	require.True(t, l.fits(50*time.Millisecond, "A"))
	l.observe("A", time.Hour)
	require.False(t, l.fits(time.Minute, "A"))
	l.types["A"].at = time.Now().Add(-latencyKept - time.Second)
	require.True(t, l.fits(time.Minute, "A"), "old observations do not count")
}

func TestClosedRunsAreForgotten(t *testing.T) {
	d := newDesk(t, RuntimeOptions{Window: 20 * time.Second})
	d.announce(t, testQueue, "A")
	d.executor(t, testQueue, []string{"A"}, completing)
	require.Equal(t, []wire.State{wire.StateDone}, states(d.dispatch(t, waveOf(callOf(1, "A", "x")))))
	recorded := func() bool {
		for _, key := range d.redis.Keys() {
			if strings.Contains(key, ":run:") || strings.Contains(key, ":taken:") {
				return true
			}
		}
		return false
	}
	require.True(t, recorded())
	closing := &workflowservice.RespondWorkflowTaskCompletedRequest{
		Namespace: "namespace", ResourceId: "workflow:default-test-workflow-id",
		Commands: []*commandpb.Command{{CommandType: enumspb.COMMAND_TYPE_COMPLETE_WORKFLOW_EXECUTION}},
	}
	refused := errors.New("the task was lost")
	for _, c := range []struct {
		request *workflowservice.RespondWorkflowTaskCompletedRequest
		err     error
	}{
		{closing, refused},
		{&workflowservice.RespondWorkflowTaskCompletedRequest{Namespace: "namespace", ResourceId: closing.GetResourceId()}, nil},
		{&workflowservice.RespondWorkflowTaskCompletedRequest{Namespace: "other", ResourceId: closing.GetResourceId(), Commands: closing.GetCommands()}, nil},
	} {
		require.ErrorIs(t, InterceptUnary(context.Background(), "", c.request, nil, nil, func(context.Context, string, any, any, *grpc.ClientConn, ...grpc.CallOption) error {
			return c.err
		}), c.err)
		require.Len(t, d.rt.residences.open, 1)
	}
	require.NoError(t, InterceptUnary(context.Background(), "", closing, nil, nil, func(context.Context, string, any, any, *grpc.ClientConn, ...grpc.CallOption) error { return nil }))
	require.Eventually(t, func() bool { return !recorded() }, 5*time.Second, time.Millisecond)
}
