package activity

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	failurepb "go.temporal.io/api/failure/v1"
	sdkactivity "go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/worker"
	sdkworkflow "go.temporal.io/sdk/workflow"
	"google.golang.org/protobuf/proto"

	"github.com/slipstream-go/slipstream/batchqueue"
	"github.com/slipstream-go/slipstream/internal/wire"
)

func TestContextKeysAreFound(t *testing.T) {
	require.NotNil(t, headerKey, "interceptor.Header reads its context in a new way")
	require.NotNil(t, outboundKey, "activity.IsActivity reads its context in a new way")
}

// bench runs an activity in both ways: plainly, by the SDK, and as a routed call.
type bench struct {
	client  client.Options
	options worker.Options
	header  *commonpb.Header
	details *commonpb.Payloads // of the attempt before
	retry   batchqueue.RetryPolicy
	fatal   []string // non-retryable error types
	cancel  error    // cause with which the queue cancels the attempt at once
	name    string   // type name to call instead of the function's
}

var testLogger = log.NewStructuredLogger(slog.New(slog.DiscardHandler))

func (b *bench) dc() converter.DataConverter {
	if b.client.DataConverter != nil {
		return b.client.DataConverter
	}
	return converter.GetDefaultDataConverter()
}

func (b *bench) plain(t *testing.T, activity any, args ...any) (converter.EncodedValue, error) {
	env := (&testsuite.WorkflowTestSuite{}).NewTestActivityEnvironment()
	env.SetWorkerOptions(b.options)
	env.SetDataConverter(b.dc())
	env.SetContextPropagators(b.client.ContextPropagators)
	if b.header != nil {
		env.SetHeader(proto.Clone(b.header).(*commonpb.Header))
	}
	env.RegisterActivity(activity)
	return env.ExecuteActivity(activity, args...)
}

// worker makes a worker with a host context that the SDK's test environment provides.
func (b *bench) worker(t testing.TB, activity any) (*Worker, *host) {
	b.client.Logger = testLogger
	b.client.Namespace = "namespace"
	rt := NewRuntime(NewClient(&b.client), RuntimeOptions{MaxPayloadBytes: 1 << 16})
	options := b.options
	rt.Configure(worker.PluginConfigureWorkerOptions{
		WorkerInstanceKey: "instance", TaskQueue: "queue", WorkerOptions: &options,
		WorkerRegistryOptions: &worker.PluginConfigureWorkerRegistryOptions{},
	})
	w := rt.Worker("instance")
	w.settle()
	w.registry.add(activity, sdkactivity.RegisterOptions{})

	catcher := &hostCatcher{}
	env := (&testsuite.WorkflowTestSuite{}).NewTestActivityEnvironment()
	options.Interceptors = []interceptor.WorkerInterceptor{catcher}
	env.SetWorkerOptions(options)
	env.RegisterActivityWithOptions(runHost, sdkactivity.RegisterOptions{Name: hostActivity})
	_, err := env.ExecuteActivity(hostActivity)
	require.NoError(t, err)
	require.NotNil(t, catcher.host)
	return w, catcher.host
}

type hostCatcher struct {
	interceptor.WorkerInterceptorBase
	host *host
}

func (c *hostCatcher) InterceptActivity(ctx context.Context, next interceptor.ActivityInboundInterceptor) interceptor.ActivityInboundInterceptor {
	c.host = newHost(ctx)
	return next
}

func (b *bench) delivery(t testing.TB, name string, args ...any) *batchqueue.Delivery {
	input, err := converter.WithDataConverterSerializationContext(b.dc(),
		converter.WorkflowSerializationContext{Namespace: "namespace", WorkflowID: "workflow"}).ToPayloads(args...)
	require.NoError(t, err)
	encoded, err := wire.EncodePayloads(input)
	require.NoError(t, err)
	common, err := encodeAddress(&address{
		Namespace: "namespace", WorkflowID: "workflow", RunID: "run", WorkflowType: "Workflow", TaskQueue: "queue", Header: b.header,
	})
	require.NoError(t, err)
	details, err := wire.EncodePayloads(b.details)
	require.NoError(t, err)
	return &batchqueue.Delivery{
		Pool: "queue", Run: "run", Number: 7, Type: name, Attempt: 2,
		Payload: encodeCall(&call{Input: encoded, NonRetryable: b.fatal}), Common: common,
		Options: batchqueue.TaskOptions{
			StartToClose: time.Minute, ScheduleToClose: time.Hour, Heartbeat: 3 * time.Second, Retry: b.retry,
		},
		ScheduledAt: time.Now().Add(-time.Second), AttemptScheduledAt: time.Now(), Heartbeat: details,
	}
}

// routed returns what the queue gets, and the failure it holds, if any.
func (b *bench) routed(t *testing.T, activity any, args ...any) (batchqueue.Result, *commonpb.Payloads, *failurepb.Failure) {
	w, h := b.worker(t, activity)
	name := b.name
	if name == "" {
		name = functionName(activity)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	if b.cancel != nil {
		cancel(cancelCause(b.cancel)) // as the executor does
	}
	d := b.delivery(t, name, args...)
	d.End = cancel
	result := w.handle(ctx, h, d)
	payloads, err := wire.DecodePayloads(result.Payload)
	require.NoError(t, err)
	if result.Kind != batchqueue.KindFailed {
		return result, payloads, nil
	}
	require.Len(t, payloads.GetPayloads(), 1)
	dc, _ := w.rt.client.converters("namespace", "workflow")
	failure, err := wire.DecodeFailure(dc, payloads.Payloads[0])
	require.NoError(t, err)
	return result, payloads, failure
}

type point struct {
	X, Y int
}

func echo(_ context.Context, p *point, s string, n int, raw []byte) (*point, error) {
	if p == nil {
		return nil, nil //nolint:nilnil // the case under test
	}
	return &point{X: p.X + n, Y: len(s) + len(raw)}, nil
}

func noContext(s string) (string, error)                                 { return "<" + s + ">", nil }
func onlyError(context.Context) error                                    { return nil }
func protoEcho(p *commonpb.WorkflowType) (*commonpb.WorkflowType, error) { return p, nil }

func TestResultsAreThoseOfAPlainActivity(t *testing.T) {
	for name, c := range map[string]struct {
		activity any
		args     []any
	}{
		"several arguments": {echo, []any{&point{1, 2}, "abc", 4, []byte{1}}},
		"nil pointers":      {echo, []any{(*point)(nil), "", 0, []byte(nil)}},
		"no context":        {noContext, []any{"x"}},
		"no result":         {onlyError, nil},
		"protobuf":          {protoEcho, []any{&commonpb.WorkflowType{Name: "W"}}},
	} {
		t.Run(name, func(t *testing.T) {
			var b bench
			plain, plainErr := b.plain(t, c.activity, c.args...)
			result, payloads, failure := b.routed(t, c.activity, c.args...)
			require.NoError(t, plainErr)
			require.Nil(t, failure)
			require.Equal(t, batchqueue.KindCompleted, result.Kind)
			require.Equal(t, plain.HasValue(), payloads != nil)
			require.True(t, proto.Equal(converter.GetPayloads(plain), payloads))
		})
	}
}

type customError struct{ code int }

func (e *customError) Error() string { return fmt.Sprintf("code %d", e.code) }

func failing(_ context.Context, how string) (string, error) {
	switch how {
	case "plain":
		return "", errors.New("plain")
	case "wrapped":
		return "", fmt.Errorf("outer: %w", &customError{3})
	case "custom":
		return "", &customError{4}
	case "application":
		return "", temporal.NewApplicationErrorWithOptions("app", "AppType", temporal.ApplicationErrorOptions{
			Details: []any{"d", 5}, Cause: errors.New("root"), NextRetryDelay: 7 * time.Second,
		})
	case "non-retryable":
		return "", temporal.NewNonRetryableApplicationError("never", "Fatal", errors.New("root"), "detail")
	case "benign":
		return "", temporal.NewApplicationErrorWithOptions("fine", "B", temporal.ApplicationErrorOptions{Category: temporal.ApplicationErrorCategoryBenign})
	case "canceled out of the blue":
		return "", temporal.NewCanceledError("x")
	case "result too":
		return "result", errors.New("error wins")
	}
	panic("panicking: " + how)
}

func TestFailuresAreThoseOfAPlainActivity(t *testing.T) {
	for _, how := range []string{"plain", "wrapped", "custom", "application", "non-retryable", "benign", "canceled out of the blue", "result too"} {
		t.Run(how, func(t *testing.T) {
			var b bench
			_, plainErr := b.plain(t, failing, how)
			_, _, failure := b.routed(t, failing, how)
			var ae *temporal.ActivityError
			require.ErrorAs(t, plainErr, &ae)
			want := temporal.GetDefaultFailureConverter().ErrorToFailure(ae).GetCause()
			require.Equal(t, want.String(), failure.String())
		})
	}
}

func TestPanicsBecomeTheSDKsPanicError(t *testing.T) {
	var b bench
	_, plainErr := b.plain(t, failing, "oops")
	result, _, failure := b.routed(t, failing, "oops")
	require.Equal(t, batchqueue.KindFailed, result.Kind)
	require.False(t, result.NonRetryable)

	var want, got *temporal.PanicError
	require.ErrorAs(t, plainErr, &want)
	require.ErrorAs(t, temporal.GetDefaultFailureConverter().FailureToError(failure), &got)
	require.Equal(t, want.Error(), got.Error())
	frames := func(stack string) []string { return strings.Split(stack, "\n")[:2] }
	require.Equal(t, "activity for queue [panic]:", frames(got.StackTrace())[0])
	require.Contains(t, frames(want.StackTrace())[1], "activity.failing(")
	require.Contains(t, frames(got.StackTrace())[1], "activity.failing(")
}

func unencodable(context.Context) error {
	return temporal.NewApplicationError("details", "T", func() {})
}

// The SDK means to do the same, but then reports nothing and lets the activity time out.
func TestDetailsThatCannotBeEncodedArePanics(t *testing.T) {
	var b bench
	result, _, failure := b.routed(t, unencodable)
	require.Equal(t, batchqueue.KindFailed, result.Kind)
	var got *temporal.PanicError
	require.ErrorAs(t, temporal.GetDefaultFailureConverter().FailureToError(failure), &got)
	require.Contains(t, got.Error(), "unable to encode")
}

func TestRetriesFollowTheServersRules(t *testing.T) {
	for how, c := range map[string]struct {
		fatal        []string
		nonRetryable bool
		delay        time.Duration
	}{
		"plain":         {nil, false, 0},
		"custom":        {[]string{"customError"}, true, 0},
		"wrapped":       {[]string{"customError"}, false, 0}, // the outermost error counts
		"application":   {nil, false, 7 * time.Second},
		"non-retryable": {nil, true, 0},
		"benign":        {[]string{"B"}, true, 0},
		"boom":          {[]string{"PanicError"}, true, 0},
	} {
		t.Run(how, func(t *testing.T) {
			b := bench{fatal: c.fatal}
			result, _, _ := b.routed(t, failing, how)
			require.Equal(t, batchqueue.KindFailed, result.Kind)
			require.Equal(t, c.nonRetryable, result.NonRetryable)
			require.Equal(t, c.delay, result.NextRetryDelay)
		})
	}
}

func pending(context.Context) error { return sdkactivity.ErrResultPending }

func TestPendingResultsFailAndNameTheFix(t *testing.T) {
	var b bench
	result, _, failure := b.routed(t, pending)
	require.True(t, result.NonRetryable)
	require.Equal(t, ErrTypeResultPending, failure.GetApplicationFailureInfo().GetType())
	require.Contains(t, failure.GetMessage(), `remove "pending" from the plugin's Marks`)
}

func TestUnknownTypesFailAsInTheSDK(t *testing.T) {
	b := bench{name: "unknown"}
	result, _, failure := b.routed(t, noContext, "x")
	require.False(t, result.NonRetryable)
	require.Equal(t, "ActivityNotRegisteredError", failure.GetApplicationFailureInfo().GetType())
	require.Equal(t, "unable to find activityType=unknown. Supported types: [noContext]", failure.GetMessage())
}

func untilDone(ctx context.Context, how string) error {
	<-ctx.Done()
	switch how {
	case "details":
		return temporal.NewCanceledError("why", 1)
	case "cause":
		return context.Cause(ctx)
	}
	return ctx.Err()
}

func TestCancelCauses(t *testing.T) {
	t.Run("canceled", func(t *testing.T) {
		b := bench{cancel: batchqueue.ErrCanceled}
		result, payloads, _ := b.routed(t, untilDone, "")
		require.Equal(t, batchqueue.KindCanceled, result.Kind)
		require.Nil(t, payloads)
	})
	t.Run("canceled with details", func(t *testing.T) {
		b := bench{cancel: batchqueue.ErrCanceled}
		result, payloads, _ := b.routed(t, untilDone, "details")
		require.Equal(t, batchqueue.KindCanceled, result.Kind)
		var why string
		var n int
		require.NoError(t, converter.GetDefaultDataConverter().FromPayloads(payloads, &why, &n))
		require.Equal(t, "why", why)
	})
	t.Run("worker stops", func(t *testing.T) {
		b := bench{cancel: batchqueue.ErrStopping}
		result, _, failure := b.routed(t, untilDone, "cause")
		require.Equal(t, batchqueue.KindFailed, result.Kind)
		require.Equal(t, worker.ErrWorkerShutdown.Error(), failure.GetMessage())
	})
	t.Run("background context", func(t *testing.T) {
		background, cancel := context.WithCancelCause(context.Background())
		b := bench{options: worker.Options{BackgroundActivityContext: background}}
		cancel(errors.New("process ends"))
		_, _, failure := b.routed(t, untilDone, "cause")
		require.Equal(t, "process ends", failure.GetMessage())
	})
}

func TestDeadlineExceeded(t *testing.T) {
	var b bench
	w, h := b.worker(t, untilDone)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	result := w.handle(ctx, h, b.delivery(t, "untilDone", "cause"))
	require.Equal(t, batchqueue.Result{Kind: batchqueue.KindFailed}, result, "nobody reads it: the queue reports the time-out")
}

func large(_ context.Context, n int) (string, error) {
	if n < 0 {
		return "", errors.New(strings.Repeat("x", -n))
	}
	return strings.Repeat("x", n), nil
}

func TestOversizeResults(t *testing.T) {
	var b bench
	_, _, failure := b.routed(t, large, 1<<17)
	require.Equal(t, "payloadSizeError", failure.GetApplicationFailureInfo().GetType())
	require.Contains(t, failure.GetMessage(), "[TMPRL1103]")

	result, _, failure := b.routed(t, large, -1<<17)
	require.True(t, result.NonRetryable)
	require.Equal(t, "Failure exceeds size limit.", failure.GetMessage())
	require.NotNil(t, failure.GetServerFailureInfo())
	require.Len(t, failure.GetCause().GetMessage(), keptFailureBytes)
}

func beating(ctx context.Context, n int) (string, error) {
	sdkactivity.RecordHeartbeat(ctx, strings.Repeat("x", n))
	if ctx.Err() != nil {
		return "", errors.New("the handler's error is not looked at")
	}
	return "done", nil
}

func leaving(ctx context.Context, n int) error {
	<-ctx.Done()
	return temporal.NewCanceledError(strings.Repeat("x", n))
}

func TestOversizeDetails(t *testing.T) {
	var b bench
	result, _, _ := b.routed(t, beating, 1<<10)
	require.Equal(t, batchqueue.KindCompleted, result.Kind)
	result, _, failure := b.routed(t, beating, 1<<17)
	require.Equal(t, batchqueue.KindFailed, result.Kind)
	require.Equal(t, "payloadSizeError", failure.GetApplicationFailureInfo().GetType())

	b.cancel = batchqueue.ErrCanceled
	result, _, failure = b.routed(t, leaving, 1<<17)
	require.Equal(t, batchqueue.KindFailed, result.Kind)
	require.Equal(t, "payloadSizeError", failure.GetApplicationFailureInfo().GetType())
}

// recorder is a user's interceptor; it writes down what it sees.
type recorder struct {
	interceptor.InterceptorBase
	name string
	mu   *sync.Mutex
	seen *[]string
}

func (r *recorder) notef(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	*r.seen = append(*r.seen, r.name+" "+fmt.Sprintf(format, args...))
}

func (r *recorder) InterceptActivity(ctx context.Context, next interceptor.ActivityInboundInterceptor) interceptor.ActivityInboundInterceptor {
	r.notef("intercepts %s", sdkactivity.GetInfo(ctx).ActivityType.Name)
	in := &recorderInbound{r: r}
	in.Next = next
	return in
}

type recorderInbound struct {
	interceptor.ActivityInboundInterceptorBase
	r *recorder
}

func (i *recorderInbound) Init(out interceptor.ActivityOutboundInterceptor) error {
	i.r.notef("inits")
	o := &recorderOutbound{r: i.r}
	o.Next = out
	return i.Next.Init(o)
}

func (i *recorderInbound) ExecuteActivity(ctx context.Context, in *interceptor.ExecuteActivityInput) (any, error) {
	header := interceptor.Header(ctx)
	i.r.notef("executes %v header %q value %v", in.Args, header["key"].GetData(), ctx.Value(propagatedKey{}))
	delete(header, "key") // must not reach another call
	result, err := i.Next.ExecuteActivity(context.WithValue(ctx, recorderKey{i.r.name}, "here"), in)
	i.r.notef("returns %v %v", result, err)
	return result, err
}

type (
	recorderKey   struct{ name string }
	propagatedKey struct{}
)

type recorderOutbound struct {
	interceptor.ActivityOutboundInterceptorBase
	r *recorder
}

func (o *recorderOutbound) GetInfo(ctx context.Context) sdkactivity.Info {
	if ctx.Value(recorderKey{"first"}) != nil { // by the handler; the test environment asks too
		o.r.notef("is asked for info")
	}
	return o.Next.GetInfo(ctx)
}

type propagator struct{}

func (propagator) Inject(context.Context, sdkworkflow.HeaderWriter) error                 { return nil }
func (propagator) InjectFromWorkflow(sdkworkflow.Context, sdkworkflow.HeaderWriter) error { return nil }
func (propagator) ExtractToWorkflow(ctx sdkworkflow.Context, _ sdkworkflow.HeaderReader) (sdkworkflow.Context, error) {
	return ctx, nil
}

func (propagator) Extract(ctx context.Context, r sdkworkflow.HeaderReader) (context.Context, error) {
	p, ok := r.Get("key")
	if !ok {
		return nil, errors.New("no key")
	}
	return context.WithValue(ctx, propagatedKey{}, string(p.GetData())), nil
}

func inspecting(ctx context.Context, n int) (string, error) {
	return fmt.Sprint(sdkactivity.GetInfo(ctx).ActivityType.Name, n, ctx.Value(recorderKey{"first"}), ctx.Value(recorderKey{"second"}),
		interceptor.Header(ctx) == nil, sdkactivity.IsActivity(ctx)), nil
}

func TestInterceptorsSeeWhatTheySeeOfAPlainActivity(t *testing.T) {
	run := func(run func(b *bench) []byte) ([]string, []byte) {
		var mu sync.Mutex
		var seen []string
		b := bench{
			client: client.Options{
				ContextPropagators: []sdkworkflow.ContextPropagator{propagator{}},
			},
			options: worker.Options{Interceptors: []interceptor.WorkerInterceptor{
				&recorder{name: "first", mu: &mu, seen: &seen}, &recorder{name: "second", mu: &mu, seen: &seen},
			}},
			header: &commonpb.Header{Fields: map[string]*commonpb.Payload{"key": {Data: []byte("v")}}},
		}
		data := run(&b)
		return seen, data
	}
	plain, plainResult := run(func(b *bench) []byte {
		v, err := b.plain(t, inspecting, 3)
		require.NoError(t, err)
		return converter.GetPayloads(v).Payloads[0].Data
	})
	routed, routedResult := run(func(b *bench) []byte {
		_, payloads, _ := b.routed(t, inspecting, 3)
		return payloads.GetPayloads()[0].Data
	})
	require.Equal(t, plain, routed)
	require.Equal(t, string(plainResult), string(routedResult))
}

func TestCallsOfAWaveDoNotShareTheirHeader(t *testing.T) {
	var mu sync.Mutex
	var seen []string
	b := bench{
		options: worker.Options{Interceptors: []interceptor.WorkerInterceptor{&recorder{name: "r", mu: &mu, seen: &seen}}},
		header:  &commonpb.Header{Fields: map[string]*commonpb.Payload{"key": {Data: []byte("v")}}},
	}
	w, h := b.worker(t, inspecting)
	d := b.delivery(t, "inspecting", 1)
	for range 2 {
		require.Equal(t, batchqueue.KindCompleted, w.handle(context.Background(), h, d).Kind)
	}
	require.Equal(t, 2, strings.Count(strings.Join(seen, "\n"), `executes [1] header "v"`))
}

func TestStrictPropagatorsFailTheAttempt(t *testing.T) {
	b := bench{client: client.Options{ContextPropagators: []sdkworkflow.ContextPropagator{propagator{}}}}
	result, _, failure := b.routed(t, inspecting, 1)
	require.Equal(t, batchqueue.KindFailed, result.Kind)
	require.Equal(t, "failed propagating header: no key", failure.GetMessage())
}

func TestInfo(t *testing.T) {
	b := bench{fatal: []string{"F"}, retry: batchqueue.RetryPolicy{
		InitialInterval: time.Second, BackoffCoefficient: 3, MaximumInterval: time.Minute, MaximumAttempts: 9,
	}}
	var got sdkactivity.Info
	var deadline time.Time
	look := func(ctx context.Context) error {
		got = sdkactivity.GetInfo(ctx)
		deadline, _ = ctx.Deadline()
		return nil
	}
	w, h := b.worker(t, look)
	w.registry.add(look, sdkactivity.RegisterOptions{Name: "look"})
	d := b.delivery(t, "look")
	started := time.Now()
	require.Equal(t, batchqueue.KindCompleted, w.handle(context.Background(), h, d).Kind)

	require.WithinDuration(t, started.Add(time.Minute), got.Deadline, time.Second)
	require.Equal(t, got.Deadline, deadline)
	require.WithinDuration(t, started, got.StartedTime, time.Second)
	require.Equal(t, sdkactivity.Info{
		TaskToken:              []byte("slipstream/run/7"),
		WorkflowType:           &sdkworkflow.Type{Name: "Workflow"},
		WorkflowNamespace:      "namespace", //nolint:staticcheck // deprecated, but plain activities have it
		WorkflowExecution:      sdkworkflow.Execution{ID: "workflow", RunID: "run"},
		ActivityID:             "7",
		ActivityType:           sdkactivity.Type{Name: "look"},
		TaskQueue:              "queue",
		Namespace:              "namespace",
		HeartbeatTimeout:       3 * time.Second,
		ScheduleToCloseTimeout: time.Hour,
		StartToCloseTimeout:    time.Minute,
		ScheduledTime:          d.ScheduledAt.UTC(),
		StartedTime:            got.StartedTime,
		Deadline:               got.Deadline,
		Attempt:                2,
		RetryPolicy: &temporal.RetryPolicy{
			InitialInterval: time.Second, BackoffCoefficient: 3, MaximumInterval: time.Minute, MaximumAttempts: 9,
			NonRetryableErrorTypes: []string{"F"},
		},
	}, got)
}

func TestHeartbeatDetails(t *testing.T) {
	dc := converter.GetDefaultDataConverter()
	details, err := dc.ToPayloads("step", 3)
	require.NoError(t, err)
	check := func(ctx context.Context, want bool) error {
		if sdkactivity.HasHeartbeatDetails(ctx) != want {
			return errors.New("wrong answer")
		}
		var s string
		var n int
		if err := sdkactivity.GetHeartbeatDetails(ctx, &s, &n); want && (err != nil || s != "step" || n != 3) {
			return fmt.Errorf("got %q %d: %w", s, n, err)
		} else if !want && !errors.Is(err, temporal.ErrNoData) {
			return fmt.Errorf("got %w", err)
		}
		sdkactivity.RecordHeartbeat(ctx, "next", 4)
		sdkactivity.RecordHeartbeat(ctx)
		sdkactivity.RecordHeartbeat(ctx, nil)
		return nil
	}
	for _, want := range []bool{false, true} {
		var b bench
		if want {
			b.details = details
		}
		w, h := b.worker(t, check)
		w.registry.add(check, sdkactivity.RegisterOptions{Name: "check"})
		require.Equal(t, batchqueue.KindCompleted, w.handle(context.Background(), h, b.delivery(t, "check", want)).Kind)
	}
}

func dynamic(ctx context.Context, args converter.EncodedValues) (string, error) {
	var s string
	err := args.Get(&s)
	return sdkactivity.GetInfo(ctx).ActivityType.Name + " " + s, err
}

func TestDynamicActivities(t *testing.T) {
	b := bench{name: "anything"}
	w, h := b.worker(t, noContext)
	w.registry.addDynamic(dynamic)
	require.Equal(t, []string{"anything", "noContext"}, w.registry.types(slices.Values([]string{"anything"})))
	result := w.handle(context.Background(), h, b.delivery(t, "anything", "goes"))
	payloads, err := wire.DecodePayloads(result.Payload)
	require.NoError(t, err)
	var s string
	require.NoError(t, converter.GetDefaultDataConverter().FromPayloads(payloads, &s))
	require.Equal(t, "anything goes", s)
}

func TestRegistryFollowsTheSDKsNames(t *testing.T) {
	r := newRegistry()
	r.add(translate, sdkactivity.RegisterOptions{})
	r.add(noContext, sdkactivity.RegisterOptions{Name: "renamed"})
	r.add(&translator{}, sdkactivity.RegisterOptions{Name: "prefix."})
	r.add(runHost, sdkactivity.RegisterOptions{Name: hostActivity})
	require.Equal(t, []string{"prefix.Back", "prefix.Count", "renamed", "translate"}, r.types(nil))
	require.Equal(t, "renamed", r.alias("noContext"))
}

func TestUndecodableTasksFail(t *testing.T) {
	var b bench
	w, h := b.worker(t, noContext)
	d := b.delivery(t, "noContext", "x")
	d.Payload = []byte{0xff}
	result := w.handle(context.Background(), h, d)
	require.Equal(t, batchqueue.KindFailed, result.Kind)
	require.True(t, result.NonRetryable, "it will never be readable")
	require.False(t, result.Declined)
}

// What a newer release wrote is left to its workers: no attempt is lost, not even the only
// one.
func TestTasksOfANewerReleaseAreLeftToItsWorkers(t *testing.T) {
	newer := appendVarint(nil, fieldVersion, envelopeVersion+1)
	for name, change := range map[string]func(*batchqueue.Delivery){
		"the task":    func(d *batchqueue.Delivery) { d.Payload = newer },
		"the address": func(d *batchqueue.Delivery) { d.Common = newer },
	} {
		t.Run(name, func(t *testing.T) {
			var b bench
			w, h := b.worker(t, noContext)
			d := b.delivery(t, "noContext", "x")
			d.Options.Retry.MaximumAttempts = 1
			change(d)
			result := w.handle(context.Background(), h, d)
			require.True(t, result.Declined)
		})
	}
}
