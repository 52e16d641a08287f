package batchqueue

import (
	"container/heap"
	"context"
	"sync"
	"time"
)

// limits say when a running attempt times out, by the executor's monotonic clock.
// Zero times mean never.
type limits struct {
	startToClose, scheduleToClose time.Time
	heartbeat                     time.Duration
}

// limitsOf turns the task's durations into times: started is now, age what passed since
// the task was enqueued, by Redis's clock.
func limitsOf(o TaskOptions, started time.Time, age time.Duration) limits {
	l := limits{heartbeat: o.Heartbeat}
	if o.StartToClose > 0 {
		l.startToClose = started.Add(o.StartToClose)
	}
	if o.ScheduleToClose > 0 {
		l.scheduleToClose = started.Add(o.ScheduleToClose - age)
	}
	return l
}

// deadline is what the handler's context gets.
func (l limits) deadline() (time.Time, bool) {
	t := earlier(l.startToClose, l.scheduleToClose)
	return t, !t.IsZero()
}

// next is the time of the first limit to run out, given the last sign of life.
func (l limits) next(alive time.Time) time.Time {
	t, _ := l.deadline()
	if l.heartbeat > 0 {
		t = earlier(t, alive.Add(l.heartbeat))
	}
	return t
}

// passed says which limit ran out at now, 0 for none.
func (l limits) passed(now, alive time.Time) Kind {
	deadline, limited := l.deadline()
	switch {
	case limited && !now.Before(deadline) && deadline.Equal(l.scheduleToClose):
		return KindScheduleToClose
	case limited && !now.Before(deadline):
		return KindStartToClose
	case l.heartbeat > 0 && !now.Before(alive.Add(l.heartbeat)):
		return KindHeartbeat
	default:
		return 0
	}
}

// earlier ignores zero times.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || (!b.IsZero() && b.Before(a)) {
		return b
	}
	return a
}

// alive is the last sign of life of the claim's handler.
func (c *claim) alive() time.Time {
	if b := c.beat.Load(); b != nil {
		return b.at
	}
	return c.started
}

// timedOut says which of the claim's limits ran out, 0 for none.
func (c *claim) timedOut(now time.Time) Kind { return c.limits.passed(now, c.alive()) }

// alarms watch the limits of all running handlers with one goroutine and one timer. A
// heartbeat costs nothing here: it only moves a time that is looked at when the alarm
// it would have prevented goes off.
type alarms struct {
	ring  func(*claim, Kind)
	moved chan struct{} // the first alarm is earlier than the goroutine knows

	mu   sync.Mutex
	heap alarmHeap // protected by mu
}

func newAlarms(ring func(*claim, Kind)) *alarms {
	return &alarms{ring: ring, moved: make(chan struct{}, 1)}
}

// set watches the claim until ring was called for it or it is removed.
func (a *alarms) set(c *claim) {
	at := c.limits.next(c.alive())
	if at.IsZero() {
		return
	}
	a.mu.Lock()
	c.alarmAt = at
	heap.Push(&a.heap, c)
	first := c.alarmIndex == 0
	a.mu.Unlock()
	if first {
		select {
		case a.moved <- struct{}{}:
		default:
		}
	}
}

func (a *alarms) remove(c *claim) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if c.alarmIndex >= 0 {
		heap.Remove(&a.heap, c.alarmIndex)
	}
}

// run watches until ctx ends.
func (a *alarms) run(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		wait := time.Hour
		if at, ok := a.goOff(time.Now()); ok {
			wait = time.Until(at)
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return
		case <-a.moved:
		case <-timer.C:
		}
	}
}

// goOff rings what is due at now and returns the time of the next alarm.
func (a *alarms) goOff(now time.Time) (time.Time, bool) {
	type bell struct {
		c    *claim
		kind Kind
	}
	var due []bell
	a.mu.Lock()
	for len(a.heap) > 0 && !a.heap[0].alarmAt.After(now) {
		c := a.heap[0]
		if kind := c.timedOut(now); kind != 0 {
			heap.Pop(&a.heap)
			due = append(due, bell{c, kind})
		} else {
			c.alarmAt = c.limits.next(c.alive())
			heap.Fix(&a.heap, 0)
		}
	}
	var next time.Time
	if len(a.heap) > 0 {
		next = a.heap[0].alarmAt
	}
	a.mu.Unlock()
	for _, b := range due {
		a.ring(b.c, b.kind)
	}
	return next, !next.IsZero()
}

// alarmHeap is a heap.Interface over the claims' alarm times.
type alarmHeap []*claim

func (h alarmHeap) Len() int           { return len(h) }
func (h alarmHeap) Less(i, j int) bool { return h[i].alarmAt.Before(h[j].alarmAt) }
func (h alarmHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].alarmIndex, h[j].alarmIndex = i, j
}

func (h *alarmHeap) Push(x any) {
	c, _ := x.(*claim)
	c.alarmIndex = len(*h)
	*h = append(*h, c)
}

func (h *alarmHeap) Pop() any {
	old := *h
	c := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	c.alarmIndex = -1
	return c
}
