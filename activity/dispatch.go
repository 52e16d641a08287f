package activity

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	sdkactivity "go.temporal.io/sdk/activity"

	"github.com/slipstream-go/slipstream/batchqueue"
	"github.com/slipstream-go/slipstream/internal/wire"
)

const (
	// redisTimeout bounds one attempt to reach Redis: a workflow task waits for it.
	redisTimeout = 5 * time.Second
	// markerBytes bounds the outcomes in one marker; one larger outcome is taken alone.
	markerBytes = 512 << 10
	// keptTaskTimeouts is for how many workflow task time-outs the queue keeps what it
	// handed over, should the workflow task be lost (protocol T).
	keptTaskTimeouts = 10
	keptAtLeast      = 2 * time.Minute
	// unknownSlot: the queue has to find the run's slot.
	unknownSlot = -1
)

// dispatch is one wave on its way into the queue. It lives as long as its local activity.
type dispatch struct {
	r      *Runtime
	w      *Worker // the worker whose workflow task this is; nil in an unknown worker
	info   sdkactivity.Info
	wave   *wire.Wave
	marker *wire.Marker
	groups []*group
	// unsent are the calls that are not in the queue, or perhaps not, and may go plain.
	unsent []unsent
	taken  int // bytes of outcomes in the marker
	spans  []*enqueueSpan
	// then are the steps of the last chain, thenQueued the same as the queue takes them.
	then       []wire.Step
	thenQueued []batchqueue.Step
}

type unsent struct {
	call int
	// group is set when the queue may have the task all the same.
	group *group
}

// Dispatch puts a wave into the queue (protocol D1). Everything that goes wrong with
// Redis is in the answers; an error means that the local activity itself ended.
func (r *Runtime) Dispatch(ctx context.Context, wave *wire.Wave) ([]byte, error) {
	info := sdkactivity.GetInfo(ctx)
	d := &dispatch{r: r, w: workerFrom(ctx), info: info, wave: wave, marker: &wire.Marker{
		RunID:   info.WorkflowExecution.RunID,
		First:   wave.First,
		Answers: make([]wire.Answer, len(wave.Calls)),
	}}
	defer d.endSpans()
	if err := d.group(ctx, d.prepare()); err != nil {
		return nil, err
	}
	window := d.openWindow()
	for _, g := range d.groups {
		d.send(ctx, g)
	}
	d.endSpans()
	if err := d.await(ctx, window); err != nil {
		return nil, err
	}
	d.fallBack()
	d.finish()
	return wire.EncodeMarker(d.marker), nil
}

// prepare fills in what each answer has in any case. It returns the calls that may go
// into the queue: those whose arguments are within the limit. The others go plain, so
// that what becomes of them, and in which words, is the SDK's business: it fails the
// workflow task until somebody mends the workflow.
func (d *dispatch) prepare() []int {
	sendable := make([]int, 0, len(d.wave.Calls))
	for i := range d.wave.Calls {
		c := &d.wave.Calls[i]
		a := &d.marker.Answers[i]
		*a = wire.Answer{Number: c.Number, Type: c.Name(), Fingerprint: c.Fingerprint, Address: -1}
		if a.Fingerprint == 0 {
			a.Fingerprint = wire.Fingerprint(d.marker.RunID, c)
		}
		if wire.PayloadsSize(c.Input) > d.r.o.MaxPayloadBytes {
			d.unsent = append(d.unsent, unsent{call: i})
			continue
		}
		sendable = append(sendable, i)
	}
	return sendable
}

// send puts a group into the queue and notes the answers. A task whose answer is lost is
// asked for once more: the enqueue is idempotent.
func (d *dispatch) send(ctx context.Context, g *group) {
	if !d.r.breaker.allow() {
		d.leave(g, nil)
		return
	}
	ok := d.handled(ctx, g)
	if ok && len(g.queued.Tasks) > 0 {
		ok = d.enqueue(ctx, g)
		if !ok && ctx.Err() == nil {
			ok = d.enqueue(ctx, g)
		}
		d.giveUp(g)
	}
	if ctx.Err() == nil {
		d.r.breaker.report(ok)
	}
	if ok {
		d.r.strays.cancel(ctx, d.r.queue)
		if d.w != nil {
			d.w.inherit(ctx, g.pool)
		}
	}
}

// handled takes the calls out of the group that no worker of the pool handles, and all of
// them while the pool drains. It reports whether Redis answered; if not, the group is empty
// afterwards.
func (d *dispatch) handled(ctx context.Context, g *group) bool {
	var types []string
	for _, i := range g.calls {
		for _, name := range d.wave.Calls[i].Types() {
			if !slices.Contains(types, name) {
				types = append(types, name)
			}
		}
	}
	var hurry <-chan struct{}
	if d.w != nil {
		hurry = d.w.announced
	}
	ctx, cancel := context.WithTimeout(ctx, redisTimeout)
	defer cancel()
	draining, err := d.r.queue.Draining(ctx, g.pool)
	if err != nil {
		d.leave(g, nil)
		return false
	}
	if draining {
		add(d.r.metrics.drained, d.leave(g, nil), d.r.metrics.with(labels{pool: g.pool}))
		return true
	}
	known, err := d.r.announced.handled(ctx, g.pool, types, hurry)
	if err != nil {
		d.leave(g, nil)
		return false
	}
	absent := func(i int) bool {
		return slices.ContainsFunc(d.wave.Calls[i].Types(), func(name string) bool { return !known[name] })
	}
	if slices.ContainsFunc(g.calls, absent) {
		add(d.r.metrics.notHandled, d.leave(g, absent), d.r.metrics.with(labels{pool: g.pool}))
	}
	return true
}

// leave moves the matching calls of a group (nil: all) to those that may go plain, and
// returns their number. Nothing was sent of them.
func (d *dispatch) leave(g *group, match func(call int) bool) int {
	var calls []int
	var tasks []batchqueue.Task
	left := 0
	for k, i := range g.calls {
		if match == nil || match(i) {
			d.unsent = append(d.unsent, unsent{call: i})
			left++
			continue
		}
		calls, tasks = append(calls, i), append(tasks, g.queued.Tasks[k])
	}
	g.calls, g.queued.Tasks = calls, tasks
	return left
}

// enqueue sends those tasks of the group that have no sure answer. It reports whether
// all have one now.
func (d *dispatch) enqueue(ctx context.Context, g *group) bool {
	ctx, cancel := context.WithTimeout(ctx, redisTimeout)
	defer cancel()
	wave := *g.queued
	wave.Tasks = make([]batchqueue.Task, 0, len(g.calls))
	calls := make([]int, 0, len(g.calls))
	for k, i := range g.calls {
		if a := &d.marker.Answers[i]; a.State == wire.StateUnknown || a.State == wire.StateUnsure {
			wave.Tasks, calls = append(wave.Tasks, g.queued.Tasks[k]), append(calls, i)
		}
	}
	enqueued, err := d.r.put(ctx, g.pool, &wave)
	if err != nil {
		// The queue cannot carry such a wave at all; plain activities can.
		if n, say := d.r.refusals.Failed(time.Now()); say {
			d.r.log.Warn("[Slipstream] the queue does not take a wave; its calls run as ordinary activities", "Pool", g.pool, "Waves", n, "Error", err)
		}
		for _, i := range calls {
			d.unsent = append(d.unsent, unsent{call: i})
		}
		return true
	}
	g.queued.Slot = enqueued.Slot
	if enqueued.Slot >= 0 {
		d.marker.Addresses[g.address].Slot = enqueued.Slot
		d.r.residences.note(d.info.WorkflowExecution.ID, residence{g.pool, enqueued.Slot, d.marker.RunID})
	}
	sure := true
	for k, i := range calls {
		sure = d.note(g, i, &enqueued.Answers[k]) && sure
	}
	return sure
}

// note takes the queue's answer for a call and reports whether it is a sure one.
func (d *dispatch) note(g *group, i int, answer *batchqueue.Answer) bool {
	a := &d.marker.Answers[i]
	switch answer.State {
	case batchqueue.AnswerQueued:
		a.State, a.Address = wire.StateQueued, g.address
	case batchqueue.AnswerEarly:
		a.State = wire.StateEarly
	case batchqueue.AnswerDone:
		d.done(i, answer.Outcome)
	default:
		a.State = wire.StateUnsure
		return false
	}
	return true
}

// giveUp ends the search for answers that were lost twice.
func (d *dispatch) giveUp(g *group) {
	for _, i := range g.calls {
		if a := &d.marker.Answers[i]; a.State == wire.StateUnsure {
			u := unsent{call: i, group: g}
			if g.queued.Slot < 0 {
				u.group = nil // the run's slot was not even found: nothing was sent
			}
			d.unsent = append(d.unsent, u)
		}
	}
}

// room is what still fits into the marker. The one outcome that may be larger is one per
// marker, not per pool: the server ends a run that records a larger one than its limit.
func (d *dispatch) room() batchqueue.Room {
	return batchqueue.Room{Bytes: markerBytes - d.taken, OneLarger: d.taken == 0}
}

func (d *dispatch) done(i int, o *batchqueue.Outcome) {
	a := &d.marker.Answers[i]
	outcome := wireOutcome(d.marker.RunID, o)
	a.State, a.Outcome = wire.StateDone, &outcome
	d.taken += len(o.Payload)
}

// fallBack decides about the calls that are not in the queue: plain as long as the run
// may send more of them, later beyond that. What the queue may have all the same is
// cancelled there, unless it must not run twice: then it stays open, and an ask decides.
func (d *dispatch) fallBack() {
	budget := d.wave.Fallback
	for _, u := range d.unsent {
		a := &d.marker.Answers[u.call]
		c := &d.wave.Calls[u.call]
		short := budget < c.Weight()
		switch {
		case u.group != nil && (c.Once() || short):
			a.State, a.Address = wire.StateUnsure, u.group.address
		case short:
			a.State = wire.StateWaiting
		default:
			budget -= c.Weight()
			a.State = wire.StatePlain
			if u.group != nil {
				d.r.strays.add(stray{u.group.pool, u.group.queued.Slot, d.marker.RunID,
					batchqueue.Identity{Number: a.Number, Fingerprint: a.Fingerprint}})
			}
		}
	}
}

// finish writes the marker's summary, one line for people who read the history.
func (d *dispatch) finish() {
	counts := map[wire.State]int{}
	for i := range d.marker.Answers {
		counts[d.marker.Answers[i].State]++
	}
	d.r.metrics.answered(counts)
	var parts []string
	for s := wire.StateUnknown; s <= wire.StateWaiting; s++ {
		if counts[s] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", counts[s], answerNames[s]))
		}
	}
	if n := len(d.marker.Taken); n > 0 {
		parts = append(parts, fmt.Sprintf("%d of earlier waves", n))
	}
	d.marker.Summary = strings.Join(parts, ", ")
}
