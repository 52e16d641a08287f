package activity

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"hash/fnv"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"google.golang.org/protobuf/proto"

	"github.com/slipstream-go/slipstream/batchqueue"
	"github.com/slipstream-go/slipstream/internal/wire"
)

// Bounds of a batch.
const (
	maxBatchTasks   = 100_000
	maxBatchID      = 500
	maxContextBytes = 8 << 10
	// maxCommonBytes bounds what every claim of a batch's tasks carries along.
	maxCommonBytes = 64 << 10

	defaultBatchRetention = 15 * time.Minute
	minBatchRetention     = 2 * time.Minute
)

// batch is a checked and encoded batch, ready to be sent.
type batch struct {
	id        string
	taskQueue string
	pool      string   // full name
	types     []string // each once
	wave      *batchqueue.Wave
	spans     []*enqueueSpan
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("slipstream: "+format+": %w", append(args, batchqueue.ErrInvalid)...)
}

// newBatch checks and encodes. It talks to nobody.
func (r *Runtime) newBatch(ctx context.Context, o *BatchOptions, tasks []Task) (_ *batch, err error) {
	if err := o.validate(len(tasks)); err != nil {
		return nil, err
	}
	names, pool, err := r.typesOf(o, tasks)
	if err != nil {
		return nil, err
	}
	d, err := r.client.newDrafts()
	if err != nil {
		return nil, fmt.Errorf("slipstream: %w", err)
	}
	defer d.Close()
	b := &batch{id: cmp.Or(o.ID, rand.Text()), taskQueue: o.TaskQueue, pool: PoolName(o.TaskQueue, pool, ""), types: distinct(names)}
	a := &address{Namespace: r.client.Namespace, RunID: rand.Text(), TaskQueue: o.TaskQueue, Batch: b.id}
	b.wave = &batchqueue.Wave{
		Run:       Handle{ID: b.id}.run(),
		ID:        1,
		Tasks:     make([]batchqueue.Task, len(tasks)),
		Retention: cmp.Or(o.Retention, defaultBatchRetention),
		Slot:      unknownSlot,
	}
	defer func() {
		if err != nil {
			b.endSpans(err)
		}
	}()
	for i := range tasks {
		if b.wave.Tasks[i], err = r.draftTask(ctx, d, b, a, i, &tasks[i]); err != nil {
			return nil, err
		}
	}
	if o.OnComplete != nil {
		contextBytes, err := draftReceiver(ctx, d, a, o.OnComplete)
		if err != nil {
			return nil, err
		}
		a.Types = encodeTypes(names)
		b.wave.OutcomeOverhead = completionOverhead + len(b.id) + longest(b.types) + base64Bytes(contextBytes)
	}
	if b.wave.Common, err = encodeAddress(a); err != nil {
		return nil, fmt.Errorf("slipstream: %w", err)
	}
	if size := len(b.wave.Common); size > maxCommonBytes {
		return nil, invalid("what the tasks share (headers, OnComplete with context and workflow arguments) has %d bytes, the most is %d: "+
			"store the data elsewhere and pass a reference", size, maxCommonBytes)
	}
	return b, nil
}

func distinct(names []string) []string {
	var out []string
	for _, name := range names {
		if !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}

func longest(names []string) (n int) {
	for _, name := range names {
		n = max(n, len(name))
	}
	return n
}

func (o *BatchOptions) validate(tasks int) error {
	switch {
	case tasks == 0:
		return invalid("there are no tasks; give at least one")
	case tasks > maxBatchTasks:
		return invalid("there are %d tasks; a batch has at most %d, make several", tasks, maxBatchTasks)
	case len(o.ID) > maxBatchID:
		return invalid("BatchOptions.ID has %d bytes; give at most %d", len(o.ID), maxBatchID)
	case !utf8.ValidString(o.ID):
		return invalid("BatchOptions.ID %q is not UTF-8", o.ID)
	case o.TaskQueue == "":
		return invalid("BatchOptions.TaskQueue is empty; give the task queue of the workers that run the tasks")
	case o.Retention != 0 && o.Retention < minBatchRetention:
		return invalid("BatchOptions.Retention is %v; give at least %v, or 0 for %v", o.Retention, minBatchRetention, defaultBatchRetention)
	}
	if err := checkPoolName(o.Pool); err != nil {
		return invalid("BatchOptions.Pool: %w", err)
	}
	if o.OnComplete != nil {
		return o.OnComplete.validate()
	}
	return nil
}

func (o *OnComplete) validate() error {
	switch {
	case o.WorkflowID == "" || len(o.WorkflowID) > maxNameLength:
		return invalid("OnComplete.WorkflowID has %d bytes; give 1 to %d", len(o.WorkflowID), maxNameLength)
	case o.SignalName == "" || len(o.SignalName) > maxNameLength:
		return invalid("OnComplete.SignalName has %d bytes; give 1 to %d", len(o.SignalName), maxNameLength)
	case strings.HasPrefix(o.SignalName, "__"):
		return invalid("OnComplete.SignalName is %q; names that begin with two underscores belong to Temporal and Slipstream", o.SignalName)
	case o.Start == nil:
		return nil
	case o.RunID != "":
		return invalid("OnComplete.RunID and OnComplete.Start are both set; a workflow that may have to be started has no run yet, leave RunID out")
	case o.Start.Options.TaskQueue == "":
		return invalid("OnComplete.Start.Options.TaskQueue is empty; give the task queue of the workflow")
	}
	return nil
}

// typesOf returns the type of each task, and the pool that the marks of all of them name.
func (r *Runtime) typesOf(o *BatchOptions, tasks []Task) (names []string, pool string, err error) {
	names = make([]string, len(tasks))
	for i := range tasks {
		name, err := typeName(tasks[i].Activity)
		if err != nil {
			return nil, "", invalid("Tasks[%d].Activity: %w", i, err)
		}
		of, ok := r.o.Marks[name]
		switch {
		case !ok:
			return nil, "", fmt.Errorf("slipstream: Tasks[%d].Activity: %q is not among the plugin's Marks, add {Activity: %q} there: %w", i, name, name, ErrNotMarked)
		case o.Pool != "":
			of = o.Pool
		case i > 0 && of != pool:
			return nil, "", invalid("Tasks[%d].Activity: the mark of %q has the pool %q, that of %q %q; set BatchOptions.Pool, or make a batch for each",
				i, name, of, names[0], pool)
		}
		names[i], pool = name, of
	}
	return names, pool, nil
}

// draftTask encodes a task. The header of the first is that of all which have an equal one.
func (r *Runtime) draftTask(ctx context.Context, d *drafts, b *batch, a *address, i int, t *Task) (batchqueue.Task, error) {
	fail := func(err error) (batchqueue.Task, error) { return batchqueue.Task{}, invalid("Tasks[%d]: %w", i, err) }
	o := wire.CallOptions{
		ScheduleToClose: t.ScheduleToCloseTimeout,
		ScheduleToStart: t.ScheduleToStartTimeout,
		StartToClose:    t.StartToCloseTimeout,
		Heartbeat:       t.HeartbeatTimeout,
		Retry:           wire.RetryPolicy(t.RetryPolicy),
	}
	if err := o.Validate(); err != nil {
		return fail(err)
	}
	request, err := d.activity(ctx, client.StartActivityOptions{
		ID:                     taskID(a.Batch, uint64(i)+1),
		TaskQueue:              a.TaskQueue,
		ScheduleToCloseTimeout: t.ScheduleToCloseTimeout,
		ScheduleToStartTimeout: t.ScheduleToStartTimeout,
		StartToCloseTimeout:    t.StartToCloseTimeout,
		HeartbeatTimeout:       t.HeartbeatTimeout,
		RetryPolicy:            t.RetryPolicy,
	}, checkable(t.Activity), t.Args)
	if err != nil {
		return fail(err)
	}
	if size := wire.PayloadsSize(request.GetInput()); size > r.o.MaxPayloadBytes {
		return fail(fmt.Errorf("Args have %d bytes, the limit is %d: store the data elsewhere and pass a reference", size, r.o.MaxPayloadBytes))
	}
	o.Complete(0)
	envelope := call{NonRetryable: o.Retry.GetNonRetryableErrorTypes()}
	if envelope.Input, err = wire.EncodePayloads(request.GetInput()); err != nil {
		return fail(err)
	}
	var span *enqueueSpan
	switch {
	case i == 0:
		a.Header = request.GetHeader()
		span = b.startSpan(ctx, r.tracing, a, a.Header)
		a.Trace = span.encoded()
	case proto.Equal(request.GetHeader(), a.Header):
		span = b.spans[0]
	default:
		if envelope.Header, err = encodeHeader(request.GetHeader()); err != nil {
			return fail(err)
		}
		span = b.startSpan(ctx, r.tracing, a, request.GetHeader())
		envelope.Trace = span.encoded()
	}
	span.tasks, span.wave = append(span.tasks, i), b.wave
	return batchqueue.Task{
		Number: uint64(i) + 1,
		// The ID says what is asked: the same ID never supersedes.
		Fingerprint: fingerprintOf(a.Batch),
		Type:        request.GetActivityType().GetName(),
		Payload:     encodeCall(&envelope),
		Options:     queueOptions(&o),
	}, nil
}

// checkable returns what the SDK can check arguments against: the function, but for a
// method expression, which takes its receiver as well, only the name.
func checkable(activity any) any {
	if t := reflect.TypeOf(activity); t.Kind() == reflect.Func && t.NumIn() > 0 {
		name := functionName(activity)
		if _, method := t.In(0).MethodByName(name); method {
			return name
		}
	}
	return activity
}

// fingerprintOf is the fingerprint of all tasks of a batch.
func fingerprintOf(batch string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(batch))
	return h.Sum64()
}

// taskID is the activity ID of a task of a batch. Numbers are from 1, indexes from 0.
func taskID(batch string, number uint64) string {
	return batch + "/" + strconv.FormatUint(number-1, 10)
}

// draftReceiver encodes who is told, and returns the size of the context value.
func draftReceiver(ctx context.Context, d *drafts, a *address, o *OnComplete) (contextBytes int, err error) {
	var value *commonpb.Payload
	a.Receiver = o.WorkflowID
	if o.Start == nil {
		var request *workflowservice.SignalWorkflowExecutionRequest
		if request, err = d.signal(ctx, o); err == nil {
			request.RequestId, request.Identity = "", "" // the Deliverer's
			value = contextValue(&request.Input)
			a.Signal, err = proto.Marshal(request)
		}
	} else {
		var request *workflowservice.SignalWithStartWorkflowExecutionRequest
		if request, err = d.signalWithStart(ctx, o); err == nil {
			request.RequestId, request.Identity = "", ""
			value = contextValue(&request.SignalInput)
			a.Start, err = proto.Marshal(request)
		}
	}
	if err != nil {
		return 0, invalid("OnComplete: %w", err)
	}
	size := wire.PayloadSize(value)
	if size > maxContextBytes {
		return 0, invalid("OnComplete.Context has %d bytes, the most is %d: store the data elsewhere and pass a reference", size, maxContextBytes)
	}
	return size, nil
}

// contextValue returns the one payload of the input, and empties it if it stands for nil.
func contextValue(input **commonpb.Payloads) *commonpb.Payload {
	if payloads := (*input).GetPayloads(); len(payloads) == 1 &&
		string(payloads[0].GetMetadata()[converter.MetadataEncoding]) != converter.MetadataEncodingNil {
		return payloads[0]
	}
	*input = nil
	return nil
}
