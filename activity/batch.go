package activity

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
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
	id    string
	pool  string // full name
	types []string
	wave  *batchqueue.Wave
	// taskQueue is the caller's, for messages.
	taskQueue string
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("slipstream: "+format+": %w", append(args, batchqueue.ErrInvalid)...)
}

// newBatch checks and encodes. It talks to nobody.
func (r *Runtime) newBatch(ctx context.Context, o *BatchOptions, tasks []Task) (*batch, error) {
	if err := o.validate(len(tasks)); err != nil {
		return nil, err
	}
	names, pool, err := r.marked(o, tasks)
	if err != nil {
		return nil, err
	}
	d, err := r.client.newDrafts()
	if err != nil {
		return nil, fmt.Errorf("slipstream: %w", err)
	}
	defer d.Close()
	b := &batch{id: cmp.Or(o.ID, rand.Text()), pool: PoolName(o.TaskQueue, pool, ""), taskQueue: o.TaskQueue}
	a := &address{Namespace: r.client.Namespace, RunID: rand.Text(), TaskQueue: o.TaskQueue, Batch: b.id}
	b.wave = &batchqueue.Wave{
		Run:       Handle{ID: b.id}.run(),
		ID:        1,
		Retention: cmp.Or(o.Retention, defaultBatchRetention),
		Slot:      unknownSlot,
		Tasks:     make([]batchqueue.Task, len(tasks)),
	}
	for i := range tasks {
		if b.wave.Tasks[i], err = r.draftTask(ctx, d, a, i, &tasks[i]); err != nil {
			return nil, err
		}
	}
	for _, name := range names {
		if !slices.Contains(b.types, name) {
			b.types = append(b.types, name)
		}
	}
	if o.OnComplete != nil {
		overhead, err := draftReceiver(ctx, d, a, o.OnComplete)
		if err != nil {
			return nil, err
		}
		a.Types = encodeTypes(names)
		b.wave.OutcomeOverhead = completionOverhead + overhead + len(b.id) + len(slices.MaxFunc(b.types, func(x, y string) int { return cmp.Compare(len(x), len(y)) }))
	}
	if b.wave.Common, err = encodeAddress(a); err != nil {
		return nil, fmt.Errorf("slipstream: %w", err)
	}
	if size := len(b.wave.Common); size > maxCommonBytes {
		return nil, invalid("what the tasks share (headers, OnComplete with context and workflow arguments) has %d bytes, the most is %d: store the data elsewhere and pass a reference", size, maxCommonBytes)
	}
	return b, nil
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

// marked returns the type of each task, and the name of the pool that all of them have.
func (r *Runtime) marked(o *BatchOptions, tasks []Task) (names []string, pool string, err error) {
	names = make([]string, len(tasks))
	for i := range tasks {
		name, err := typeName(tasks[i].Activity)
		if err != nil {
			return nil, "", invalid("Tasks[%d].Activity: %w", i, err)
		}
		of, ok := r.o.Marks[name]
		switch {
		case !ok:
			return nil, "", fmt.Errorf("slipstream: Tasks[%d].Activity: %q is not among the plugin's Marks, add {Activity: %q}: %w", i, name, name, ErrNotMarked)
		case o.Pool != "":
			of = o.Pool
		case i > 0 && of != pool:
			return nil, "", invalid("Tasks[%d].Activity: the mark of %q has the pool %q, that of %q %q; set BatchOptions.Pool, or make a batch for each", i, name, of, names[0], pool)
		}
		names[i], pool = name, of
	}
	return names, pool, nil
}

// draftTask encodes a task. The header of the first is that of all which have an equal one.
func (r *Runtime) draftTask(ctx context.Context, d *drafts, a *address, i int, t *Task) (batchqueue.Task, error) {
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
	if size := proto.Size(request.GetInput()); size > r.o.MaxPayloadBytes {
		return fail(fmt.Errorf("Args have %d bytes, the limit is %d: store the data elsewhere and pass a reference", size, r.o.MaxPayloadBytes))
	}
	o.Complete(0)
	envelope := call{NonRetryable: o.Retry.GetNonRetryableErrorTypes()}
	if envelope.Input, err = payloadsBytes(request.GetInput()); err != nil {
		return fail(err)
	}
	if i == 0 {
		a.Header = request.GetHeader()
	} else if !proto.Equal(request.GetHeader(), a.Header) {
		if envelope.Header, err = encodeHeader(request.GetHeader()); err != nil {
			return fail(err)
		}
	}
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

// draftReceiver encodes who is told, and returns how many bytes the context value takes in
// a completion.
func draftReceiver(ctx context.Context, d *drafts, a *address, o *OnComplete) (overhead int, err error) {
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
	size := proto.Size(value)
	if size > maxContextBytes {
		return 0, invalid("OnComplete.Context has %d bytes, the most is %d: store the data elsewhere and pass a reference", size, maxContextBytes)
	}
	return base64Bytes(size), nil
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

// enqueue sends the batch. What has no sure answer is sent once more: that adds nothing
// twice.
func (r *Runtime) enqueue(ctx context.Context, b *batch) (Handle, error) {
	fail := func(err error) error {
		return fmt.Errorf("slipstream: enqueue batch %q of %d tasks in pool %q: %w", b.id, len(b.wave.Tasks), b.pool, err)
	}
	if !r.breaker.allow() {
		return Handle{}, fail(batchqueue.ErrUnavailable)
	}
	slot, err := r.sendBatch(ctx, b)
	if ctx.Err() == nil {
		r.breaker.report(!errors.Is(err, batchqueue.ErrUnavailable) && !errors.Is(err, batchqueue.ErrFull))
	}
	h := Handle{ID: b.id, pool: b.pool, slot: slot}
	switch {
	case err == nil:
		r.count("slipstream_tasks_enqueued", len(b.wave.Tasks))
		return h, nil
	case errors.Is(err, ErrUnsure):
		return h, fail(err)
	}
	return Handle{}, fail(err)
}

// sendBatch returns the batch's slot. An error other than ErrUnsure says that nothing was
// sent.
func (r *Runtime) sendBatch(ctx context.Context, b *batch) (int, error) {
	if err := r.checkHandled(ctx, b); err != nil {
		return unknownSlot, err
	}
	wave := *b.wave
	var lost error
	for range 2 {
		out, err := r.enqueueOnce(ctx, b.pool, &wave)
		if err != nil {
			return unknownSlot, err
		}
		wave.Slot, wave.Tasks, lost = out.Slot, unsureTasks(&wave, &out), firstError(&out)
		if lost == nil || ctx.Err() != nil {
			break
		}
	}
	if lost != nil && wave.Slot >= 0 { // otherwise not even its slot was found
		lost = fmt.Errorf("%w: %w", ErrUnsure, lost)
	}
	return wave.Slot, lost
}

func (r *Runtime) enqueueOnce(ctx context.Context, pool string, wave *batchqueue.Wave) (batchqueue.Enqueued, error) {
	ctx, cancel := context.WithTimeout(ctx, redisTimeout)
	defer cancel()
	return r.queue.Enqueue(ctx, pool, wave)
}

func unsureTasks(wave *batchqueue.Wave, out *batchqueue.Enqueued) []batchqueue.Task {
	var unsure []batchqueue.Task
	for i := range out.Answers {
		if out.Answers[i].State == batchqueue.AnswerUnsure {
			unsure = append(unsure, wave.Tasks[i])
		}
	}
	return unsure
}

func firstError(out *batchqueue.Enqueued) error {
	for i := range out.Answers {
		if out.Answers[i].State == batchqueue.AnswerUnsure {
			return out.Answers[i].Err
		}
	}
	return nil
}

// checkHandled takes the same second look at announcements as a dispatch does.
func (r *Runtime) checkHandled(ctx context.Context, b *batch) error {
	ctx, cancel := context.WithTimeout(ctx, redisTimeout)
	defer cancel()
	known, err := r.announced.handled(ctx, b.pool, b.types, r.hurry(b.taskQueue))
	if err != nil {
		return err
	}
	for _, name := range b.types {
		if !known[name] {
			return fmt.Errorf("%w: %q is not announced in pool %q; is a worker with the plugin and this activity running on task queue %q?", ErrNotHandled, name, b.pool, b.taskQueue)
		}
	}
	return nil
}

// hurry is closed once a worker of this process has announced its types on the task queue;
// nil if there is none.
func (r *Runtime) hurry(taskQueue string) <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, w := range r.workers {
		if w.taskQueue == taskQueue {
			return w.announced
		}
	}
	return nil
}
