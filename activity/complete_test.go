package activity

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	sdkactivity "go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	sdkworkflow "go.temporal.io/sdk/workflow"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/slipstream-go/slipstream/batchqueue"
	"github.com/slipstream-go/slipstream/internal/wire"
	"github.com/slipstream-go/slipstream/workflow"
)

// post is a server that writes down what it is told to signal.
type post struct {
	workflowservice.WorkflowServiceClient
	signals []*workflowservice.SignalWorkflowExecutionRequest
	starts  []*workflowservice.SignalWithStartWorkflowExecutionRequest
	refuse  error
}

// postClient is a client of it.
type postClient struct {
	client.Client
	post *post
}

func (c postClient) WorkflowService() workflowservice.WorkflowServiceClient { return c.post }

func (p *post) host() *host { return &host{client: postClient{post: p}} }

func (p *post) SignalWorkflowExecution(_ context.Context, r *workflowservice.SignalWorkflowExecutionRequest, _ ...grpc.CallOption) (*workflowservice.SignalWorkflowExecutionResponse, error) {
	p.signals = append(p.signals, r)
	return &workflowservice.SignalWorkflowExecutionResponse{}, p.refuse
}

func (p *post) SignalWithStartWorkflowExecution(_ context.Context, r *workflowservice.SignalWithStartWorkflowExecutionRequest, _ ...grpc.CallOption) (*workflowservice.SignalWithStartWorkflowExecutionResponse, error) {
	p.starts = append(p.starts, r)
	return &workflowservice.SignalWithStartWorkflowExecutionResponse{}, p.refuse
}

// outcomesOf are the outcomes of a batch as the queue hands them to the Deliverer.
func outcomesOf(t *testing.T, c *counter, o BatchOptions, tasks ...Task) *batchqueue.Batch {
	t.Helper()
	made, err := c.rt.newBatch(t.Context(), &o, tasks)
	require.NoError(t, err)
	b := &batchqueue.Batch{ID: "digest", Run: made.wave.Run, Common: made.wave.Common}
	for _, task := range made.wave.Tasks {
		envelope, err := decodeCall(task.Payload)
		require.NoError(t, err)
		b.Outcomes = append(b.Outcomes, batchqueue.Outcome{Number: task.Number, Fingerprint: task.Fingerprint, Kind: batchqueue.KindCompleted, Attempt: 1, Executor: "e", Payload: envelope.Input})
	}
	return b
}

func receiving(o *OnComplete) BatchOptions {
	options := options("b")
	options.OnComplete = o
	return options
}

func TestCompletionsAreSignalled(t *testing.T) {
	c := newCounter(t, client.Options{})
	p := &post{}
	o := receiving(&OnComplete{WorkflowID: "w", RunID: "r", SignalName: "done", Context: map[string]int{"order": 17}})
	o.Pool = "p"
	b := outcomesOf(t, c, o, taskA("x"), taskA([]byte("raw")), Task{Activity: "B", StartToCloseTimeout: time.Minute})
	b.Outcomes = append(b.Outcomes[1:], b.Outcomes[0]) // in the order in which they end
	require.NoError(t, c.w.deliver(t.Context(), p.host(), b))
	require.NoError(t, c.w.deliver(t.Context(), p.host(), b))
	require.Len(t, p.signals, 2)
	require.True(t, proto.Equal(p.signals[0], p.signals[1]), "a re-send is equal")
	s := p.signals[0]
	require.Equal(t, []string{"namespace", "w", "r", "done"}, []string{s.GetNamespace(), s.GetWorkflowExecution().GetWorkflowId(), s.GetWorkflowExecution().GetRunId(), s.GetSignalName()})
	require.NotEmpty(t, s.GetIdentity())
	require.NotNil(t, s.GetHeader())
	require.Len(t, s.GetInput().GetPayloads(), 1)
	require.JSONEq(t, `[
		{"batch": "b", "index": 1, "activity": "A", "kind": "completed", "attempt": 1, "worker": "e", "context": {"value": {"order": 17}},
			"payloads": [{"metadata": {"encoding": "YmluYXJ5L3BsYWlu"}, "data": "cmF3"}]},
		{"batch": "b", "index": 2, "activity": "B", "kind": "completed", "attempt": 1, "worker": "e", "context": {"value": {"order": 17}}},
		{"batch": "b", "index": 0, "activity": "A", "kind": "completed", "attempt": 1, "worker": "e", "context": {"value": {"order": 17}},
			"payloads": [{"value": "x"}]}
	]`, string(s.GetInput().GetPayloads()[0].GetData()))
	var completions []workflow.Completion
	require.NoError(t, json.Unmarshal(s.GetInput().GetPayloads()[0].GetData(), &completions))
	require.Equal(t, workflow.OutcomeCompleted, completions[2].Outcome)

	later := outcomesOf(t, c, o, taskA("x"))
	require.NoError(t, c.w.deliver(t.Context(), p.host(), later))
	require.NotEqual(t, s.GetRequestId(), p.signals[2].GetRequestId(), "a later batch of the same ID must not look like a repetition")
}

func TestCompletionsStartTheirWorkflow(t *testing.T) {
	c := newCounter(t, client.Options{})
	p := &post{}
	b := outcomesOf(t, c, receiving(&OnComplete{WorkflowID: "w", SignalName: "done", Start: &StartWorkflow{
		Options: client.StartWorkflowOptions{TaskQueue: "q", WorkflowRunTimeout: time.Hour}, Workflow: "W", Args: []any{"x", 2},
	}}), taskA("x"))
	require.NoError(t, c.w.deliver(t.Context(), p.host(), b))
	require.NoError(t, c.w.deliver(t.Context(), p.host(), b))
	require.Len(t, p.starts, 2)
	require.True(t, proto.Equal(p.starts[0], p.starts[1]))
	s := p.starts[0]
	require.Equal(t, []string{"w", "W", "q", "done"}, []string{s.GetWorkflowId(), s.GetWorkflowType().GetName(), s.GetTaskQueue().GetName(), s.GetSignalName()})
	require.Equal(t, time.Hour, s.GetWorkflowRunTimeout().AsDuration())
	require.Len(t, s.GetInput().GetPayloads(), 2)
	require.JSONEq(t, `[{"batch": "b", "index": 0, "activity": "A", "kind": "completed", "attempt": 1, "worker": "e", "payloads": [{"value": "x"}]}]`,
		string(s.GetSignalInput().GetPayloads()[0].GetData()), "there is no context value")
}

func TestWithoutReceiverNothingIsSent(t *testing.T) {
	c := newCounter(t, client.Options{})
	require.NoError(t, c.w.deliver(t.Context(), &host{}, outcomesOf(t, c, options("b"), taskA("x"))))
}

// Nobody asks for a batch: what the server will never take must not wait for that.
func TestRefusedCompletionsAreParked(t *testing.T) {
	c := newCounter(t, client.Options{})
	b := outcomesOf(t, c, receiving(&OnComplete{WorkflowID: "w", SignalName: "done"}), taskA("x"))
	for _, refusal := range []error{
		serviceerror.NewNotFound("no such workflow"), serviceerror.NewInvalidArgument("too many signals"),
		serviceerror.NewWorkflowExecutionAlreadyStarted("closed", "", ""),
	} {
		err := c.w.deliver(t.Context(), (&post{refuse: refusal}).host(), b)
		require.ErrorIs(t, err, batchqueue.ErrRunGone)
		require.ErrorIs(t, err, refusal)
	}
	err := c.w.deliver(t.Context(), (&post{refuse: serviceerror.NewUnavailable("later")}).host(), b)
	require.ErrorContains(t, err, "later")
	require.NotErrorIs(t, err, batchqueue.ErrRunGone)
}

type panicking struct{ converter.DataConverter }

func (panicking) ToPayloads(...any) (*commonpb.Payloads, error) { panic("no key") }

func TestAConverterThatPanicsEndsNoDeliverer(t *testing.T) {
	c := newCounter(t, client.Options{})
	b := outcomesOf(t, c, receiving(&OnComplete{WorkflowID: "w", SignalName: "done"}), taskA("x"))
	c.rt.client.DataConverter = panicking{converter.GetDefaultDataConverter()}
	require.ErrorContains(t, c.w.deliver(t.Context(), (&post{}).host(), b), "encode completions: panic: no key")
}

func TestDamagedAddressesAreErrors(t *testing.T) {
	c := newCounter(t, client.Options{})
	for _, a := range []*address{
		{Batch: "b", Receiver: "w", Signal: []byte{0xff}},
		{Batch: "b", Receiver: "w", Start: []byte{0xff}},
		{Batch: "b", Receiver: "w", Types: []byte{0xff}},
	} {
		common, err := encodeAddress(a)
		require.NoError(t, err)
		err = c.w.deliver(t.Context(), (&post{}).host(), &batchqueue.Batch{Common: common})
		require.ErrorContains(t, err, "decode")
	}
}

func TestTypesOfABatch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		types := rapid.SliceOfN(rapid.SampledFrom([]string{"A", "B", "C"}), 1, 50).Draw(t, "types")
		got, err := decodeTypes(encodeTypes(types))
		require.NoError(t, err)
		for i, name := range types {
			require.Equal(t, name, got.of(i))
		}
		require.Empty(t, got.of(len(types)))
	})
	uniform := make([]string, maxBatchTasks)
	for i := range uniform {
		uniform[i] = "A"
	}
	require.Less(t, len(encodeTypes(uniform)), 16)
}

// standalone returns what the executor makes of one task of a batch.
func standalone(t *testing.T, b *bench, o BatchOptions, activity any, name string, args ...any) batchqueue.Result {
	t.Helper()
	w, h := b.worker(t, activity)
	w.registry.add(activity, sdkactivity.RegisterOptions{Name: name})
	w.rt.o.Marks = map[string]string{name: ""}
	made, err := w.rt.newBatch(t.Context(), &o, []Task{{Activity: name, Args: args, StartToCloseTimeout: time.Minute}})
	require.NoError(t, err)
	task := made.wave.Tasks[0]
	return w.handle(t.Context(), h, &batchqueue.Delivery{
		Pool: made.pool, Run: made.wave.Run, Number: task.Number, Fingerprint: task.Fingerprint, Type: task.Type, Attempt: 1,
		Payload: task.Payload, Common: made.wave.Common, Options: task.Options, ScheduledAt: time.Now(), AttemptScheduledAt: time.Now(),
	})
}

func TestATaskOfABatchIsAStandaloneActivity(t *testing.T) {
	var got sdkactivity.Info
	look := func(ctx context.Context, s string) (string, error) {
		got = sdkactivity.GetInfo(ctx)
		sdkactivity.GetLogger(ctx).Info("looking")
		sdkactivity.GetMetricsHandler(ctx).Counter("looks").Inc(1)
		return s, nil
	}
	b := bench{client: client.Options{ContextPropagators: []sdkworkflow.ContextPropagator{injecting{}}}}
	o := receiving(&OnComplete{WorkflowID: "w", SignalName: "done"})
	result := standalone(t, &b, o, look, "look", "x")
	require.Equal(t, batchqueue.KindCompleted, result.Kind)
	require.Equal(t, "b/0", got.ActivityID)
	require.NotEmpty(t, got.ActivityRunID)
	require.False(t, got.IsWorkflowActivity())
	require.Nil(t, got.WorkflowType)
	require.Zero(t, got.WorkflowExecution)
	require.Empty(t, got.WorkflowNamespace) //nolint:staticcheck // deprecated, but standalone activities have it empty
	require.Equal(t, "namespace", got.Namespace)
	require.Equal(t, time.Minute, got.StartToCloseTimeout)
}

func TestResultsOfBatches(t *testing.T) {
	long := func(n int) (string, error) { return strings.Repeat("x", n), nil }
	told := receiving(&OnComplete{WorkflowID: "w", SignalName: "done"})
	limit := (1<<16 - markerOverhead) / 4 * 3
	require.Equal(t, batchqueue.KindCompleted, standalone(t, &bench{}, told, long, "long", limit-100).Kind)
	require.Equal(t, batchqueue.KindFailed, standalone(t, &bench{}, told, long, "long", limit).Kind, "in base64 it would not fit into a signal")

	result := standalone(t, &bench{}, options("b"), long, "long", 100)
	require.Equal(t, batchqueue.Result{Kind: batchqueue.KindCompleted}, result, "nobody will read it")
	fails := func() error { return errors.New("broken") }
	require.Equal(t, batchqueue.KindFailed, standalone(t, &bench{}, options("b"), fails, "fails").Kind)
}

// bound is a converter that notes the contexts it was bound to.
type bound struct {
	converter.DataConverter
	encoded, decoded *[]string
	context          string
}

func (b bound) WithSerializationContext(c converter.SerializationContext) converter.DataConverter {
	switch c := c.(type) {
	case converter.WorkflowSerializationContext:
		b.context = "workflow " + c.WorkflowID
	case converter.ActivitySerializationContext:
		b.context = "activity " + c.ActivityType + " " + c.WorkflowID
	}
	return b
}

func (b bound) ToPayloads(v ...any) (*commonpb.Payloads, error) {
	*b.encoded = append(*b.encoded, b.context)
	return b.DataConverter.ToPayloads(v...)
}

func (b bound) FromPayloads(p *commonpb.Payloads, v ...any) error {
	*b.decoded = append(*b.decoded, b.context)
	return b.DataConverter.FromPayloads(p, v...)
}

// Arguments are those of a standalone activity; what comes back is for who is told.
func TestSerializationContextsOfBatches(t *testing.T) {
	echo := func(s string) (string, error) { return s, nil }
	for name, c := range map[string]struct {
		options BatchOptions
		encoded []string
	}{
		"told":   {receiving(&OnComplete{WorkflowID: "w", SignalName: "done"}), []string{"activity echo ", "workflow w", "workflow w"}},
		"nobody": {options("b"), []string{"activity echo ", "activity echo "}},
	} {
		t.Run(name, func(t *testing.T) {
			var encoded, decoded []string
			b := bench{client: client.Options{DataConverter: bound{converter.GetDefaultDataConverter(), &encoded, &decoded, ""}}}
			require.Equal(t, batchqueue.KindCompleted, standalone(t, &b, c.options, echo, "echo", "x").Kind)
			require.Equal(t, c.encoded, encoded, "arguments, the context value, the result")
			require.Equal(t, []string{"activity echo "}, decoded)
		})
	}
}

func TestEveryKindOfOutcomeHasAName(t *testing.T) {
	for kind := batchqueue.KindCompleted; kind <= batchqueue.KindPoison; kind++ {
		encoded, err := json.Marshal(wire.Completion{Outcome: wire.Outcome{Kind: wireKind(kind)}})
		require.NoError(t, err)
		var decoded workflow.Completion
		require.NoError(t, json.Unmarshal(encoded, &decoded))
		require.NotEmpty(t, decoded.Outcome)
		require.Equal(t, wireKind(kind).Class(), string(decoded.Outcome))
	}
}
