package plugin

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	sdkactivity "go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/worker"
	sdkworkflow "go.temporal.io/sdk/workflow"
	"go.uber.org/goleak"

	"github.com/slipstream-go/slipstream/activity"
	"github.com/slipstream-go/slipstream/batchqueue"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newPlugin(t *testing.T, o Options) *Plugin {
	t.Helper()
	o.RedisURL = "redis://" + miniredis.RunT(t).Addr()
	if o.Marks == nil {
		o.Marks = []Mark{{Activity: act}}
	}
	p, err := New(o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	return p
}

var quiet = log.NewStructuredLogger(slog.New(slog.DiscardHandler))

// lazy makes a client that has not connected yet.
func lazy(t *testing.T, o client.Options) client.Client {
	t.Helper()
	o.Logger = quiet
	o.WorkerHeartbeatInterval = -1
	c, err := client.NewLazyClient(o)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

type someInterceptor struct{ interceptor.InterceptorBase }

func TestConfigureClientPutsOursFirst(t *testing.T) {
	p := newPlugin(t, Options{})
	require.Equal(t, "slipstream-go.slipstream", p.Name())
	theirs := &someInterceptor{}
	backing := make([]interceptor.ClientInterceptor, 1, 5)
	backing[0] = theirs
	o := client.Options{Interceptors: backing}
	require.NoError(t, p.ConfigureClient(context.Background(), client.PluginConfigureClientOptions{ClientOptions: &o}))
	require.Equal(t, []interceptor.ClientInterceptor{p.interceptor, theirs}, o.Interceptors)
	require.Equal(t, []interceptor.ClientInterceptor{theirs}, backing, "the user's slice is left alone")
	require.Len(t, o.ConnectionOptions.DialOptions, 1)
}

func TestOneValueServesOneClient(t *testing.T) {
	p := newPlugin(t, Options{})
	c := lazy(t, client.Options{Plugins: []client.Plugin{p}})
	_, err := client.NewLazyClient(client.Options{Plugins: []client.Plugin{p}, Logger: quiet})
	require.ErrorContains(t, err, "already serves a client; make another one with plugin.New")
	_, err = client.NewClientFromExisting(c, client.Options{Plugins: []client.Plugin{p}, Logger: quiet})
	require.ErrorContains(t, err, "already serves a client")
}

func TestAFailedDialDoesNotUseThePluginUp(t *testing.T) {
	p := newPlugin(t, Options{})
	broken := errors.New("no connection")
	o := client.PluginNewClientOptions{ClientOptions: client.Options{Namespace: "n", Logger: quiet}}
	err := p.NewClient(context.Background(), o, func(context.Context, client.PluginNewClientOptions) error { return broken })
	require.ErrorIs(t, err, broken)
	require.Nil(t, p.dispatcher())
	lazy(t, client.Options{Plugins: []client.Plugin{p}})
	require.NotNil(t, p.dispatcher())
}

func TestRoutingNeedsAClientAndNoExternalStorage(t *testing.T) {
	p := newPlugin(t, Options{})
	require.False(t, p.enabled())
	lazy(t, client.Options{Plugins: []client.Plugin{p}})
	require.True(t, p.enabled())

	p = newPlugin(t, Options{Disabled: true})
	lazy(t, client.Options{Plugins: []client.Plugin{p}})
	require.False(t, p.enabled())
	require.NotNil(t, p.dispatcher(), "runs that were routed go on")

	p = newPlugin(t, Options{})
	o := client.PluginNewClientOptions{ClientOptions: client.Options{Namespace: "n", Logger: quiet,
		ExternalStorage: converter.ExternalStorage{Drivers: make([]converter.StorageDriver, 1)}}}
	require.NoError(t, p.NewClient(context.Background(), o, func(context.Context, client.PluginNewClientOptions) error { return nil }))
	require.False(t, p.enabled())
}

func TestTheQueueNeedsAClient(t *testing.T) {
	p := newPlugin(t, Options{Marks: []Mark{{Activity: double}}, Disabled: true})
	q := p.Queue()
	task := activity.Task{Activity: double, Args: []any{1}, StartToCloseTimeout: time.Minute}
	o := activity.BatchOptions{TaskQueue: "q"}
	_, err := q.Enqueue(t.Context(), o, task)
	require.ErrorIs(t, err, errNoClient)
	lazy(t, client.Options{Plugins: []client.Plugin{p}})
	queue, err := batchqueue.New(p.settings.redis, p.settings.queueOptions("default"))
	require.NoError(t, err)
	require.NoError(t, queue.Announce(t.Context(), "q", []string{"double"}))
	h, err := q.Enqueue(t.Context(), o, task)
	require.NoError(t, err, "the queue taken before the client was made works, disabled or not")
	_, err = q.Status(t.Context(), h)
	require.NoError(t, err)

	p = newPlugin(t, Options{})
	stored := client.PluginNewClientOptions{ClientOptions: client.Options{Namespace: "n", Logger: quiet,
		ExternalStorage: converter.ExternalStorage{Drivers: make([]converter.StorageDriver, 1)}}}
	require.NoError(t, p.NewClient(context.Background(), stored, func(context.Context, client.PluginNewClientOptions) error { return nil }))
	_, err = p.Queue().Enqueue(t.Context(), o, task)
	require.ErrorIs(t, err, errExternalStorage)
}

func TestConvertersAreTheClientsFinalOnes(t *testing.T) {
	p := newPlugin(t, Options{})
	require.Nil(t, p.dataConverter())
	require.Nil(t, p.failureConverter())
	dc := converter.NewCompositeDataConverter(converter.NewJSONPayloadConverter())
	lazy(t, client.Options{Plugins: []client.Plugin{p, lateConverter{dc: dc}}})
	require.Equal(t, converter.MakeTransferAware(dc), p.dataConverter())
	require.NotNil(t, p.failureConverter())
}

// lateConverter is a plugin after ours that sets the converter.
type lateConverter struct {
	client.PluginBase
	dc converter.DataConverter
}

func (lateConverter) Name() string { return "late" }

func (l lateConverter) ConfigureClient(_ context.Context, o client.PluginConfigureClientOptions) error {
	o.ClientOptions.DataConverter = l.dc
	return nil
}

func TestThePluginMustNotBeGivenTwice(t *testing.T) {
	p := newPlugin(t, Options{})
	c := lazy(t, client.Options{Plugins: []client.Plugin{p}})
	require.PanicsWithError(t, errTwice.Error(), func() {
		worker.New(c, "q", worker.Options{Plugins: []worker.Plugin{p}})
	})
}

func TestWorkerHooksWithoutAClientDoNothing(t *testing.T) {
	p := newPlugin(t, Options{})
	options := worker.Options{}
	require.NoError(t, p.ConfigureWorker(context.Background(), worker.PluginConfigureWorkerOptions{WorkerOptions: &options}))
	require.Equal(t, worker.Options{}, options)
	started, stopped := false, false
	require.NoError(t, p.StartWorker(context.Background(), worker.PluginStartWorkerOptions{}, func(context.Context, worker.PluginStartWorkerOptions) error {
		started = true
		return nil
	}))
	p.StopWorker(context.Background(), worker.PluginStopWorkerOptions{}, func(context.Context, worker.PluginStopWorkerOptions) { stopped = true })
	require.True(t, started)
	require.True(t, stopped)
}

// started drives the worker hooks of a plugin with a client, without a server.
func started(t *testing.T, p *Plugin, options *worker.Options, next error) (stop func(), start error) {
	t.Helper()
	lazy(t, client.Options{Plugins: []client.Plugin{p}})
	require.NoError(t, p.ConfigureWorker(context.Background(), worker.PluginConfigureWorkerOptions{
		WorkerInstanceKey: "k", TaskQueue: "q", WorkerOptions: options, WorkerRegistryOptions: &worker.PluginConfigureWorkerRegistryOptions{},
	}))
	start = p.StartWorker(context.Background(), worker.PluginStartWorkerOptions{WorkerInstanceKey: "k"},
		func(context.Context, worker.PluginStartWorkerOptions) error { return next })
	stop = func() {
		called := false
		p.StopWorker(context.Background(), worker.PluginStopWorkerOptions{WorkerInstanceKey: "k"},
			func(context.Context, worker.PluginStopWorkerOptions) { called = true })
		require.True(t, called)
	}
	return stop, start
}

func TestAWorkerThatDoesNotStartLeavesNothing(t *testing.T) {
	broken := errors.New("broken")
	stop, err := started(t, newPlugin(t, Options{}), &worker.Options{}, broken)
	require.ErrorIs(t, err, broken)
	stop() // the SDK calls it in any case; goleak tells whether anything was left
	stop()
}

func TestStopIsPassedOnEvenTwice(t *testing.T) {
	stop, err := started(t, newPlugin(t, Options{}), &worker.Options{}, nil)
	require.NoError(t, err)
	stop()
	stop()
}

func TestReplayersFollowRecordsAndStartNothing(t *testing.T) {
	p := newPlugin(t, Options{})
	theirs := &someInterceptor{}
	o := worker.WorkflowReplayerOptions{Interceptors: []interceptor.WorkerInterceptor{theirs}}
	require.NoError(t, p.ConfigureWorkflowReplayer(context.Background(), worker.PluginConfigureWorkflowReplayerOptions{WorkflowReplayerOptions: &o}))
	require.Len(t, o.Interceptors, 2)
	require.Same(t, theirs, o.Interceptors[1])
	called := false
	require.NoError(t, p.ReplayWorkflow(context.Background(), worker.PluginReplayWorkflowOptions{}, func(context.Context, worker.PluginReplayWorkflowOptions) error {
		called = true
		return nil
	}))
	require.True(t, called)
}

func double(_ context.Context, n int) (int, error) { return 2 * n, nil }

func doubling(ctx sdkworkflow.Context, n int) (int, error) {
	ctx = sdkworkflow.WithActivityOptions(ctx, sdkworkflow.ActivityOptions{StartToCloseTimeout: time.Minute})
	err := sdkworkflow.ExecuteActivity(ctx, double, n).Get(ctx, &n)
	return n, err
}

func TestTestEnvironmentsStayPlain(t *testing.T) {
	p := newPlugin(t, Options{Marks: []Mark{{Activity: double}}})
	run := func(env *testsuite.TestWorkflowEnvironment) int {
		env.RegisterWorkflow(doubling)
		env.ExecuteWorkflow(doubling, 4)
		require.NoError(t, env.GetWorkflowError())
		var n int
		require.NoError(t, env.GetWorkflowResult(&n))
		return n
	}
	var suite testsuite.WorkflowTestSuite
	suite.SetLogger(quiet)
	env := suite.NewTestWorkflowEnvironment()
	env.SetWorkerOptions(worker.Options{DeadlockDetectionTimeout: time.Minute, Plugins: []worker.Plugin{p}})
	env.SetTestTimeout(time.Minute)
	env.RegisterActivity(double)
	require.Equal(t, 8, run(env))

	env = suite.NewTestWorkflowEnvironment()
	env.SetWorkerOptions(worker.Options{DeadlockDetectionTimeout: time.Minute, Plugins: []worker.Plugin{p}})
	env.SetTestTimeout(time.Minute)
	env.RegisterActivityWithOptions(double, sdkactivity.RegisterOptions{Name: "double"})
	env.OnActivity(double, mock.Anything, mock.Anything).Return(99, nil)
	require.Equal(t, 99, run(env))
}
