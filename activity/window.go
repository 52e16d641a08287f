package activity

import (
	"context"
	"math"
	"time"

	"github.com/slipstream-go/slipstream/batchqueue"
	"github.com/slipstream-go/slipstream/internal/wire"
)

// maxWindowCalls is the largest wave that a dispatch waits for.
const maxWindowCalls = 100

// window is a dispatch's wait for the results of its own wave (protocol D5).
type window struct {
	length       time.Duration // 0: closed from the start
	expectations map[*group]*batchqueue.Expectation
}

// openWindow decides whether to wait, before anything is sent: whoever finishes a task
// must already know where to tell it. It costs a slot for local activities and one for
// workflow tasks, so it is only opened where the wait is likely to pay.
func (d *dispatch) openWindow() *window {
	win := &window{expectations: map[*group]*batchqueue.Expectation{}}
	inbox := d.r.currentInbox()
	if inbox == nil || d.wave.NoWindow || len(d.wave.Calls) > maxWindowCalls || d.w == nil || !d.w.enterWindow() {
		return win
	}
	for _, g := range d.groups {
		for k, i := range g.calls {
			c := &d.wave.Calls[i]
			length := d.windowOf(c)
			if length > 0 && !g.queued.Tasks[k].Early && d.r.latency.fits(length, c.Types()...) && d.r.latency.fits(length, c.Name()) {
				g.awaited = append(g.awaited, c.Number)
				win.length = max(win.length, length)
			}
		}
		if len(g.awaited) > 0 {
			g.queued.Inbox = inbox.ID()
			win.expectations[g] = inbox.Expect(d.marker.RunID, g.awaited)
		}
	}
	if len(win.expectations) == 0 {
		d.w.leaveWindow()
		return win
	}
	for g := range win.expectations {
		g.queued.Window = win.length
	}
	return win
}

// windowOf is how long the wave may wait for a call; of a chain, the shortest of its steps.
func (d *dispatch) windowOf(c *wire.Call) time.Duration {
	shortest := time.Duration(math.MaxInt64)
	for _, name := range c.Types() {
		length, marked := d.r.o.Windows[name]
		if !marked {
			length = d.r.o.Window // a release before this one marked it
		}
		shortest = min(shortest, length)
	}
	if limit := d.wave.TaskTimeout / 4; limit > 0 {
		shortest = min(shortest, limit)
	}
	return shortest
}

// await waits until the awaited calls are done, the window ends or the worker stops, and
// takes what is finished. An error means that the local activity ended meanwhile; the
// queue closes the window by itself then.
func (d *dispatch) await(ctx context.Context, win *window) error {
	if win.length == 0 {
		return ctx.Err()
	}
	defer d.w.leaveWindow()
	for _, e := range win.expectations {
		defer e.Cancel()
	}
	started := time.Now()
	end := time.NewTimer(win.length)
	defer end.Stop()
	over := false
	for _, g := range d.groups {
		e := win.expectations[g]
		if e == nil {
			continue
		}
		queued := false
		for _, i := range g.calls {
			if a := &d.marker.Answers[i]; a.State != wire.StateQueued {
				e.Arrived(a.Number)
			} else {
				queued = true
			}
		}
		if !queued {
			delete(win.expectations, g) // not in the queue: no window is open there
			continue
		}
		if over {
			continue
		}
		select {
		case <-e.Done():
		case <-end.C:
			over = true
		case <-d.w.stopping:
			over = true
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	for _, g := range d.groups {
		if win.expectations[g] != nil {
			d.closeWindow(ctx, g)
		}
	}
	d.learn(win, time.Since(started))
	return ctx.Err()
}

// closeWindow takes every finished outcome of the run from the group's slot. If Redis
// does not answer twice, the calls stay queued: the token expires, and whatever was
// taken is readable by an ask.
func (d *dispatch) closeWindow(ctx context.Context, g *group) {
	ctx, cancel := context.WithTimeout(ctx, redisTimeout)
	defer cancel()
	var outcomes []batchqueue.Outcome
	var err error
	began := time.Now()
	for range 2 { // a repeated closing call gets the same answer
		outcomes, err = d.r.queue.CloseWindow(ctx, g.pool, g.queued.Slot, d.marker.RunID, g.queued.ID, d.room())
		if err == nil {
			break
		}
	}
	if err != nil {
		if n, say := d.r.closeOutage.Failed(time.Now()); say {
			d.r.log.Warn("[Slipstream] windows are not closed; their results come later", "Pool", g.pool, "Failures", n, "Error", err)
		}
		return
	}
	if n, lasted, say := d.r.closeOutage.Worked(time.Now()); say {
		d.r.log.Info("[Slipstream] windows are closed again", "Pool", g.pool, "Failures", n, "Lasted", lasted)
	}
	d.r.metrics.fetched(g.pool, wayWindow, len(outcomes))
	d.r.tracing.handedOver(began, g.pool, g.queued.Slot, wayWindow, g.span.encoded(), outcomes, d.marker.RunID, d.info.WorkflowExecution.ID)
	for k := range outcomes {
		o := &outcomes[k]
		if i := d.callOf(o); i >= 0 {
			d.done(i, o)
			continue
		}
		d.marker.Taken = append(d.marker.Taken, wireOutcome(d.marker.RunID, o))
		d.taken += len(o.Payload)
	}
}

// callOf returns the call of this wave that the outcome belongs to, -1 if none does.
func (d *dispatch) callOf(o *batchqueue.Outcome) int {
	for i := range d.marker.Answers {
		if a := &d.marker.Answers[i]; a.Number == o.Number && a.Fingerprint == o.Fingerprint && a.State == wire.StateQueued {
			return i
		}
	}
	return -1
}

// learn remembers whether the wait has paid, type by type. A call that did not make it
// counts as twice the window: how long it really takes is not known here.
func (d *dispatch) learn(win *window, waited time.Duration) {
	hits, misses := 0, 0
	for g := range win.expectations {
		awaited := map[uint64]bool{}
		for _, n := range g.awaited {
			awaited[n] = true
		}
		for _, i := range g.calls {
			a := &d.marker.Answers[i]
			switch {
			case !awaited[a.Number]:
			case a.State == wire.StateDone:
				hits++
				d.r.latency.observe(a.Type, waited)
			case a.State == wire.StateQueued:
				misses++
				d.r.latency.observe(a.Type, 2*win.length)
			}
		}
	}
	add(d.r.metrics.windowHits, hits, d.r.metrics.with(labels{}))
	add(d.r.metrics.windowMiss, misses, d.r.metrics.with(labels{}))
}
