package main

import (
	"fmt"
	"slices"
	"sync/atomic"
	"time"
)

// recorder is told by the handlers of one repetition when they start and end. Each task has a number from 0, and each
// must run once; the recorder knows which did not. Safe for concurrent use.
type recorder struct {
	origin atomic.Pointer[time.Time]
	tasks  []taskRecord
	alien  atomic.Int64 // starts of tasks that do not exist
	active atomic.Int64 // handlers that run now
	later  atomic.Int64 // starts that were not the first attempt
	onDone func()
}

// taskRecord is written by the task's handler. Times are nanoseconds after the origin; 0 means never.
type taskRecord struct {
	starts         atomic.Int32
	started, ended atomic.Int64
	waited         atomic.Int64
}

// newRecorder expects tasks 0 to n-1. onDone is called after each task.
func newRecorder(n int, onDone func()) *recorder {
	r := &recorder{tasks: make([]taskRecord, n), onDone: onDone}
	r.begin()
	return r
}

// begin sets the origin of all times to now. Call it before the first task.
func (r *recorder) begin() {
	now := time.Now()
	r.origin.Store(&now)
}

// start notes that a handler of task i begins, for a task that was scheduled at a certain time. The function it returns
// notes the end.
func (r *recorder) start(i int, scheduled time.Time) (end func()) {
	if i < 0 || i >= len(r.tasks) {
		r.alien.Add(1)
		return func() {}
	}
	now, origin, t := time.Now(), *r.origin.Load(), &r.tasks[i]
	if t.starts.Add(1) == 1 {
		t.started.Store(int64(now.Sub(origin)))
		t.waited.Store(max(0, int64(now.Sub(scheduled))))
	}
	r.active.Add(1)
	return func() {
		t.ended.Store(int64(time.Since(origin)))
		r.active.Add(-1)
		r.onDone()
	}
}

// retried notes that a task is at its second attempt or a later one, because the first was lost before it had begun.
func (r *recorder) retried() { r.later.Add(1) }

// running is the number of handlers that run now.
func (r *recorder) running() int { return int(r.active.Load()) }

// check returns an error unless every task ran exactly once, from start to end.
func (r *recorder) check() error {
	never, again, first := 0, 0, -1
	for i := range r.tasks {
		t := &r.tasks[i]
		switch n := t.starts.Load(); {
		case n == 1 && t.ended.Load() > 0:
			continue
		case n > 1:
			again++
		default:
			never++
		}
		if first < 0 {
			first = i
		}
	}
	if alien := r.alien.Load(); never+again > 0 || alien > 0 {
		return fmt.Errorf("of %d tasks %d did not run, %d ran more than once (the first of them is task %d), and %d ran that do not exist",
			len(r.tasks), never, again, first, alien)
	}
	return nil
}

// waits are how long tasks waited from being scheduled to the start of their handlers.
func (r *recorder) waits() *latency {
	ms := make([]float64, len(r.tasks))
	for i := range r.tasks {
		ms[i] = float64(r.tasks[i].waited.Load()) / float64(time.Millisecond)
	}
	return latencyOf(ms)
}

// checkSome returns an error unless at least n tasks ran and none did twice.
func (r *recorder) checkSome(n int) error {
	ran, again := 0, 0
	for i := range r.tasks {
		switch starts := r.tasks[i].starts.Load(); {
		case starts > 1:
			again++
			fallthrough
		case starts == 1:
			ran++
		}
	}
	if alien := r.alien.Load(); ran < n || again > 0 || alien > 0 {
		return fmt.Errorf("%d tasks ran instead of %d, %d of them more than once, and %d ran that do not exist", ran, n, again, alien)
	}
	return nil
}

// fill adds what the handlers saw to the sample. Every task must have ended.
func (r *recorder) fill(s *sample) {
	s.Latency, s.Retried = r.waits(), int(r.later.Load())
	s.Concurrency, s.PeakConcurrency = r.concurrency()
}

// timeline is how many handlers ran at a time: Running[i] at Seconds[i], which are evenly spaced.
type timeline struct {
	Seconds []float64 `json:"seconds"`
	Running []int     `json:"running"`
}

// timelinePoints is enough for a plot.
const timelinePoints = 200

// concurrency returns the course of the number of running handlers, and its exact peak.
func (r *recorder) concurrency() (t *timeline, peak int) {
	started, ended := make([]int64, len(r.tasks)), make([]int64, len(r.tasks))
	for i := range r.tasks {
		started[i], ended[i] = r.tasks[i].started.Load(), r.tasks[i].ended.Load()
	}
	slices.Sort(started)
	slices.Sort(ended)
	for i, e := 0, 0; i < len(started); i++ {
		for ended[e] < started[i] {
			e++
		}
		peak = max(peak, i+1-e)
	}
	if len(ended) == 0 {
		return nil, 0
	}
	t = &timeline{}
	upTo := func(times []int64, at int64) int { // how many are not later
		n, _ := slices.BinarySearch(times, at+1)
		return n
	}
	for k := range timelinePoints + 1 {
		at := ended[len(ended)-1] * int64(k) / timelinePoints
		t.Seconds = append(t.Seconds, time.Duration(at).Seconds())
		t.Running = append(t.Running, upTo(started, at)-upTo(ended, at))
	}
	return t, peak
}
