package activity

import (
	"slices"
	"strconv"

	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	sdkactivity "go.temporal.io/sdk/activity"
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
	calls   []int
	queued  *batchqueue.Wave
	awaited []uint64 // numbers whose outcomes the window waits for
}

// group deals the calls out to pools.
func (d *dispatch) group(calls []int) error {
	groups := map[string]*group{}
	for _, i := range calls {
		c := &d.wave.Calls[i]
		var header *commonpb.Header
		if i < len(d.wave.Headers) {
			header = d.wave.Headers[i]
		}
		pool := d.r.poolOf(d.w, d.info, c)
		g := groups[pool]
		if g == nil {
			common, err := encodeAddress(&address{
				Namespace:    d.info.Namespace,
				WorkflowID:   d.info.WorkflowExecution.ID,
				RunID:        d.info.WorkflowExecution.RunID,
				WorkflowType: d.info.WorkflowType.Name,
				TaskQueue:    c.TaskQueue,
				Header:       header,
			})
			if err != nil {
				return err
			}
			g = &group{pool: pool, address: d.addressOf(pool), header: header, queued: &batchqueue.Wave{
				Run:       d.marker.RunID,
				ID:        c.Number, // a number belongs to one wave only
				Common:    common,
				HeldBelow: d.wave.HeldBelow,
				Again:     d.wave.Again,
				Retention: max(keptAtLeast, keptTaskTimeouts*d.wave.TaskTimeout),
				Slot:      unknownSlot,
			}}
			groups[pool] = g
			d.groups = append(d.groups, g)
		}
		task, err := d.task(i, header, g.header)
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

// poolOf names the pool of a call. The build is that of the worker that dispatches; on
// another task queue it means nothing.
func (r *Runtime) poolOf(w *Worker, info sdkactivity.Info, c *wire.Call) string {
	taskQueue, build := c.TaskQueue, ""
	if taskQueue == "" {
		taskQueue = info.TaskQueue
	}
	if w != nil && taskQueue == w.taskQueue {
		build = w.build
	}
	return PoolName(taskQueue, c.Pool, build)
}

func (d *dispatch) task(i int, header, shared *commonpb.Header) (batchqueue.Task, error) {
	c, a := &d.wave.Calls[i], &d.marker.Answers[i]
	input, err := payloadsBytes(c.Input)
	if err != nil {
		return batchqueue.Task{}, err
	}
	envelope := call{Input: input, NonRetryable: c.Options.Retry.GetNonRetryableErrorTypes()}
	if c.ActivityID != strconv.FormatUint(c.Number, 10) {
		envelope.ActivityID = c.ActivityID
	}
	if header != shared && !proto.Equal(header, shared) {
		if envelope.Header, err = encodeHeader(header); err != nil {
			return batchqueue.Task{}, err
		}
	}
	identity := wire.Identity{RunID: d.marker.RunID, Number: c.Number, Fingerprint: a.Fingerprint}
	retry := c.Options.Retry
	return batchqueue.Task{
		Number:      c.Number,
		Fingerprint: a.Fingerprint,
		Type:        c.Type,
		Payload:     encodeCall(&envelope),
		Options: batchqueue.TaskOptions{
			ScheduleToStart: c.Options.ScheduleToStart,
			ScheduleToClose: c.Options.ScheduleToClose,
			StartToClose:    c.Options.StartToClose,
			Heartbeat:       c.Options.Heartbeat,
			Retry: batchqueue.RetryPolicy{
				InitialInterval:    retry.GetInitialInterval().AsDuration(),
				BackoffCoefficient: retry.GetBackoffCoefficient(),
				MaximumInterval:    retry.GetMaximumInterval().AsDuration(),
				MaximumAttempts:    int(retry.GetMaximumAttempts()),
				FinalStartToClose:  isFinal(enumspb.TIMEOUT_TYPE_START_TO_CLOSE, retry.GetNonRetryableErrorTypes()),
				FinalHeartbeat:     isFinal(enumspb.TIMEOUT_TYPE_HEARTBEAT, retry.GetNonRetryableErrorTypes()),
			},
		},
		Early: slices.Contains(d.wave.Early, identity),
	}, nil
}
