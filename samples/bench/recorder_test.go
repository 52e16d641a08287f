package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestRecorderFindsWhatDidNotRunOnce(t *testing.T) {
	done := 0
	record := func(tasks ...int) *recorder {
		done = 0
		r := newRecorder(3, func() { done++ })
		for _, i := range tasks {
			r.start(i, time.Now())()
		}
		return r
	}
	require.NoError(t, record(2, 0, 1).check())
	require.Equal(t, 3, done)
	require.ErrorContains(t, record(0, 1).check(), "1 did not run, 0 ran more than once (the first of them is task 2)")
	require.ErrorContains(t, record(0, 1, 1, 2).check(), "0 did not run, 1 ran more than once (the first of them is task 1)")
	require.ErrorContains(t, record(0, 1, 2, 3, -4).check(), "2 ran that do not exist")

	started := record(0, 1)
	started.start(2, time.Now())
	require.ErrorContains(t, started.check(), "1 did not run", "it has not ended")
	require.Equal(t, 1, started.running())

	require.NoError(t, record(0, 2).checkSome(2))
	require.Error(t, record(0, 2).checkSome(3))
	require.Error(t, record(0, 0).checkSome(1))
	require.Error(t, record(0, 7).checkSome(1))
}

func TestRecorderMeasures(t *testing.T) {
	r := newRecorder(4, func() {})
	// Tasks 0 to 2 overlap, task 3 begins when all have ended.
	for i, span := range [][2]int64{{0, 2}, {1, 3}, {1, 4}, {5, 10}} {
		task := &r.tasks[i]
		task.starts.Store(1)
		task.started.Store(span[0] * int64(time.Second))
		task.ended.Store(span[1] * int64(time.Second))
		task.waited.Store(int64(time.Duration(i) * time.Millisecond))
	}
	r.retried()
	var s sample
	r.fill(&s)
	require.Equal(t, 3, s.PeakConcurrency)
	require.Equal(t, 1, s.Retried)
	require.InDelta(t, 3, s.Latency.Max, 0)

	at := func(seconds float64) int {
		for k, x := range s.Concurrency.Seconds {
			if x >= seconds {
				return s.Concurrency.Running[k]
			}
		}
		return -1
	}
	require.Equal(t, []int{1, 3, 2, 1, 0, 1, 0}, []int{at(0.5), at(1.5), at(2.5), at(3.5), at(4.5), at(5.5), at(10)})
}

func TestRecorderOfNothing(t *testing.T) {
	var s sample
	newRecorder(0, func() {}).fill(&s)
	require.Nil(t, s.Latency)
	require.Nil(t, s.Concurrency)
}
