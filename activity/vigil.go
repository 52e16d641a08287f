package activity

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.temporal.io/sdk/temporal"

	"github.com/slipstream-go/slipstream/batchqueue"
)

// Temporal has started the attempt of a diverted task. Until an executor claims it,
// nobody would send heartbeats for it: so the worker that diverted it keeps vigil, and
// hears in the replies of a cancellation. Once claimed, the attempt's heartbeats are its
// handler's own. If the worker dies the heartbeat time-out ends the attempt, as it
// should.

// vigils are those of one worker.
type vigils struct {
	w      *Worker
	ctx    context.Context
	end    context.CancelFunc
	room   chan struct{} // bounds the looks that are under way
	looks  sync.WaitGroup
	mu     sync.Mutex
	open   map[string]*vigil // by the queue's run
	closed bool
}

// vigil is for one task that may wait in the queue.
type vigil struct {
	*diversion
	timer *time.Timer // nil until it begins
}

// maxLooks is how many tasks a worker looks at side by side.
const maxLooks = 32

// lastHeartbeats is how long a stopping worker takes for a last heartbeat to the tasks
// that it leaves waiting.
const lastHeartbeats = 3 * time.Second

func newVigils(w *Worker) *vigils {
	v := &vigils{w: w, room: make(chan struct{}, maxLooks), open: map[string]*vigil{}}
	v.ctx, v.end = context.WithCancel(context.Background())
	return v
}

// every is the time between two looks at a task: half of its heartbeat time-out, or the
// throttle if that is shorter.
func (v *vigils) every(d *diversion) time.Duration {
	timeout := d.task.GetHeartbeatTimeout().AsDuration()
	return min(timeout/2, v.w.heartbeatThrottle(timeout))
}

// expect prepares a vigil for a task on its way into the queue: it may be claimed, and its
// vigil over, before it is known to have arrived. A task without a heartbeat time-out needs
// none.
func (v *vigils) expect(d *diversion) {
	if d.task.GetHeartbeatTimeout().AsDuration() == 0 {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.closed {
		v.open[d.wave.Run] = &vigil{diversion: d}
	}
}

// keep begins the vigil that was prepared, unless it is over.
func (v *vigils) keep(d *diversion) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if g := v.open[d.wave.Run]; g != nil {
		g.timer = time.AfterFunc(v.every(d), func() { v.due(g) })
	}
}

// over ends the vigil for a task that this worker has claimed itself, or that is not in the
// queue.
func (v *vigils) over(run string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if g := v.open[run]; g != nil {
		delete(v.open, run)
		if g.timer != nil {
			g.timer.Stop()
		}
	}
}

func (v *vigils) due(g *vigil) {
	v.mu.Lock()
	if v.closed || v.open[g.wave.Run] != g {
		v.mu.Unlock()
		return
	}
	v.looks.Add(1)
	v.mu.Unlock()
	defer v.looks.Done()
	if !v.look(v.ctx, g.diversion) {
		v.over(g.wave.Run)
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.closed && v.open[g.wave.Run] == g {
		g.timer.Reset(v.every(g.diversion))
	}
}

// look sends a heartbeat if the task still waits, and reports whether it does. Details
// are those of the attempt before: without them Temporal would forget those.
func (v *vigils) look(ctx context.Context, d *diversion) (waits bool) {
	select {
	case v.room <- struct{}{}:
		defer func() { <-v.room }()
	case <-ctx.Done():
		return true
	}
	if !d.waits(ctx, v.every(d)/2) {
		return false
	}
	cause := v.w.heartbeat(ctx, d.task, d.task.GetHeartbeatDetails())
	tasks := []batchqueue.Identity{d.identity()}
	var err error
	switch {
	case temporal.IsCanceledError(cause):
		err = v.w.rt.queue.Cancel(ctx, d.pool, d.wave.Slot, d.wave.Run, tasks)
	case cause != nil && isStale(cause):
		err = v.w.rt.queue.Discard(ctx, d.pool, d.wave.Slot, d.wave.Run, tasks)
	default:
		return true // if it is paused or reset, its handler will hear
	}
	return err != nil // Redis did not answer: again at the next look
}

// waits tells whether nobody has claimed the task yet; where Redis does not answer in time
// nobody can.
func (d *diversion) waits(ctx context.Context, within time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, min(within, redisTimeout))
	defer cancel()
	status, err := d.w.rt.queue.Status(ctx, d.pool, d.wave.Run, divertedNumber)
	if err != nil {
		return !errors.Is(err, batchqueue.ErrNotFound)
	}
	return status.State == batchqueue.StateWaiting
}

// stop ends all vigils, with a last heartbeat: the tasks get a whole heartbeat time-out
// to be claimed by others.
func (v *vigils) stop() {
	v.mu.Lock()
	v.closed = true
	open := v.open
	v.open = nil
	v.mu.Unlock()
	v.end()
	v.looks.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), lastHeartbeats)
	defer cancel()
	for _, g := range open {
		if g.timer == nil {
			continue // still on its way
		}
		g.timer.Stop()
		v.looks.Go(func() { v.look(ctx, g.diversion) })
	}
	v.looks.Wait()
}
