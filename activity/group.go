package activity

import (
	"context"
	"slices"

	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	"google.golang.org/protobuf/proto"

	"github.com/slipstream-go/slipstream/batchqueue"
	"github.com/slipstream-go/slipstream/internal/wire"
)

// group is the part of a wave that goes to one pool: the queue's wave. Its calls share
// the header of the first; one that differs (a tracer makes a span for each call) travels
// with its task.
type group struct {
	pool    string
	address int // in marker.Addresses
	header  *commonpb.Header
	shared  *address
	span    *enqueueSpan
	calls   []int
	queued  *batchqueue.Wave
	awaited []uint64 // numbers whose outcomes the window waits for
}

// group deals the calls out to pools.
func (d *dispatch) group(ctx context.Context, calls []int) error {
	groups := map[string]*group{}
	pools := poolsOf(d.w, d.info)
	for k, i := range calls {
		c := &d.wave.Calls[i]
		var header *commonpb.Header
		if i < len(d.wave.Headers) {
			header = d.wave.Headers[i]
		}
		pool := pools.name(c)
		g := groups[pool]
		if g == nil {
			a := &address{
				Namespace:    d.info.Namespace,
				WorkflowID:   d.info.WorkflowExecution.ID,
				RunID:        d.info.WorkflowExecution.RunID,
				WorkflowType: d.info.WorkflowType.Name,
				TaskQueue:    c.TaskQueue,
				Header:       header,
			}
			span := d.startSpan(ctx, pool, a, header)
			a.Trace = span.encoded()
			common, err := encodeAddress(a)
			if err != nil {
				return err
			}
			g = &group{pool: pool, address: d.addressOf(pool), header: header, shared: a, span: span, queued: &batchqueue.Wave{
				Run:       d.marker.RunID,
				ID:        c.Number, // a number belongs to one wave only
				Common:    common,
				HeldBelow: d.wave.HeldBelow,
				Again:     d.wave.Again,
				Retention: max(keptAtLeast, keptTaskTimeouts*d.wave.TaskTimeout),
				Slot:      unknownSlot,
				Tasks:     make([]batchqueue.Task, 0, len(calls)-k), // the rule: all calls go to one pool
			}}
			groups[pool] = g
			d.groups = append(d.groups, g)
		}
		task, err := d.task(ctx, i, header, g)
		if err != nil {
			return err
		}
		g.calls = append(g.calls, i)
		g.queued.Tasks = append(g.queued.Tasks, task)
	}
	return nil
}

// addressOf returns the pool's place in the marker. A run has one slot per pool.
func (d *dispatch) addressOf(pool string) int {
	for i := range d.marker.Addresses {
		if d.marker.Addresses[i].Pool == pool {
			return i
		}
	}
	d.marker.Addresses = append(d.marker.Addresses, wire.Address{Pool: pool})
	return len(d.marker.Addresses) - 1
}

func (d *dispatch) task(ctx context.Context, i int, header *commonpb.Header, g *group) (batchqueue.Task, error) {
	c, a := &d.wave.Calls[i], &d.marker.Answers[i]
	input, err := wire.EncodePayloads(c.Input)
	if err != nil {
		return batchqueue.Task{}, err
	}
	envelope := call{Input: input, NonRetryable: c.Options.Retry.GetNonRetryableErrorTypes(), Gather: c.Results}
	if c.ActivityID != wire.ActivityID(c.Number, 0) {
		envelope.ActivityID = c.ActivityID
	}
	span := g.span
	if header != g.header && !proto.Equal(header, g.header) {
		if envelope.Header, err = encodeHeader(header); err != nil {
			return batchqueue.Task{}, err
		}
		span = d.startSpan(ctx, g.pool, g.shared, header)
		envelope.Trace = span.encoded()
	}
	span.tasks, span.wave = append(span.tasks, i), g.queued
	identity := wire.Identity{RunID: d.marker.RunID, Number: c.Number, Fingerprint: a.Fingerprint}
	return batchqueue.Task{
		Number:      c.Number,
		Fingerprint: a.Fingerprint,
		Type:        c.Type,
		Payload:     encodeCall(&envelope),
		Options:     queueOptions(&c.Options),
		Then:        d.steps(i),
		Early:       slices.Contains(d.wave.Early, identity),
	}, nil
}

// steps are those of a chain after its first. Neighbours in the wave often share them.
func (d *dispatch) steps(i int) []batchqueue.Step {
	then := d.wave.Calls[i].Then
	if len(then) == 0 {
		return nil
	}
	if !sameSteps(then, d.then) {
		d.then, d.thenQueued = then, queueSteps(then)
	}
	return d.thenQueued
}

// queueOptions are the options that the queue itself acts upon.
func queueOptions(o *wire.CallOptions) batchqueue.TaskOptions {
	return batchqueue.TaskOptions{
		ScheduleToStart: o.ScheduleToStart,
		ScheduleToClose: o.ScheduleToClose,
		StartToClose:    o.StartToClose,
		Heartbeat:       o.Heartbeat,
		Retry: batchqueue.RetryPolicy{
			InitialInterval:    o.Retry.GetInitialInterval().AsDuration(),
			BackoffCoefficient: o.Retry.GetBackoffCoefficient(),
			MaximumInterval:    o.Retry.GetMaximumInterval().AsDuration(),
			MaximumAttempts:    int(o.Retry.GetMaximumAttempts()),
			FinalStartToClose:  isFinal(enumspb.TIMEOUT_TYPE_START_TO_CLOSE, o.Retry.GetNonRetryableErrorTypes()),
			FinalHeartbeat:     isFinal(enumspb.TIMEOUT_TYPE_HEARTBEAT, o.Retry.GetNonRetryableErrorTypes()),
		},
	}
}
