package batchqueue

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestIntervalsGrowToTheirCap(t *testing.T) {
	for _, c := range []struct {
		name    string
		policy  RetryPolicy
		attempt int
		want    time.Duration
	}{
		{"default first", RetryPolicy{}, 1, time.Second},
		{"default fifth", RetryPolicy{}, 5, 16 * time.Second},
		{"default cap", RetryPolicy{}, 50, 100 * time.Second},
		{"attempt 0 counts as 1", RetryPolicy{}, 0, time.Second},
		{"own", RetryPolicy{InitialInterval: 100 * time.Millisecond, BackoffCoefficient: 1.5}, 3, 225 * time.Millisecond},
		{"cap", RetryPolicy{InitialInterval: time.Second, BackoffCoefficient: 10, MaximumInterval: 30 * time.Second}, 3, 30 * time.Second},
		{"coefficient 1", RetryPolicy{BackoffCoefficient: 1}, 1000, time.Second},
		{"overflow", RetryPolicy{BackoffCoefficient: 1e300, MaximumInterval: time.Hour}, 100, time.Hour},
		{"no room for a default cap", RetryPolicy{InitialInterval: math.MaxInt64 / 2}, 10, math.MaxInt64},
	} {
		require.Equal(t, c.want, c.policy.interval(c.attempt), c.name)
	}
}

// The answers are those of Temporal's RetryActivity and nextBackoffInterval, in their
// order, with jitter on top.
func TestJudge(t *testing.T) {
	second := RetryPolicy{InitialInterval: time.Second, BackoffCoefficient: 2}
	limited := second
	limited.MaximumAttempts = 3
	capped := second
	capped.MaximumInterval = time.Second
	final := second
	final.FinalStartToClose, final.FinalHeartbeat = true, true
	failed := ending{kind: KindFailed}
	for _, c := range []struct {
		name    string
		options TaskOptions
		attempt int
		end     ending
		random  float64
		want    verdict
	}{
		{"completed", TaskOptions{}, 1, ending{kind: KindCompleted}, 0, verdict{kind: KindCompleted}},
		{"completed though canceled", TaskOptions{}, 1, ending{kind: KindCompleted, canceled: true}, 0, verdict{kind: KindCompleted}},
		{"canceled", TaskOptions{}, 1, ending{kind: KindCanceled, canceled: true}, 0, verdict{kind: KindCanceled}},
		{"failure", TaskOptions{Retry: second}, 1, failed, 0, verdict{again: true, delay: time.Second, kind: KindFailed}},
		{"third failure", TaskOptions{Retry: second}, 3, failed, 0, verdict{again: true, delay: 4 * time.Second, kind: KindFailed}},
		{"jitter", TaskOptions{Retry: second}, 1, failed, 1, verdict{again: true, delay: 1100 * time.Millisecond, kind: KindFailed}},
		{"jitter below the cap", TaskOptions{Retry: capped}, 5, failed, 1, verdict{again: true, delay: time.Second, kind: KindFailed}},
		{"attempts left", TaskOptions{Retry: limited}, 2, failed, 0, verdict{again: true, delay: 2 * time.Second, kind: KindFailed}},
		{"attempts used up", TaskOptions{Retry: limited}, 3, failed, 0, verdict{kind: KindFailed, retry: RetryMaximumAttempts}},
		{"only one", TaskOptions{Retry: once}, 1, failed, 0, verdict{kind: KindFailed, retry: RetryMaximumAttempts}},
		{"non-retryable comes before attempts", TaskOptions{Retry: once}, 1, ending{kind: KindFailed, nonRetryable: true}, 0, verdict{kind: KindFailed, retry: RetryNonRetryable}},
		{"cancel comes before non-retryable", TaskOptions{Retry: once}, 1, ending{kind: KindFailed, nonRetryable: true, canceled: true}, 0, verdict{kind: KindFailed, retry: RetryCancelRequested}},
		{"asked delay", TaskOptions{Retry: second}, 1, ending{kind: KindFailed, nextDelay: time.Hour}, 1, verdict{again: true, delay: time.Hour, kind: KindFailed}},
		{"asked delay beyond the cap", TaskOptions{Retry: capped}, 1, ending{kind: KindFailed, nextDelay: time.Hour}, 0, verdict{again: true, delay: time.Hour, kind: KindFailed}},
		{"asked delay, attempts used up", TaskOptions{Retry: once}, 1, ending{kind: KindFailed, nextDelay: time.Hour}, 0, verdict{kind: KindFailed, retry: RetryMaximumAttempts}},
		{"no time for another", TaskOptions{Retry: second, ScheduleToClose: 10 * time.Second}, 1, ending{kind: KindFailed, age: 9500 * time.Millisecond}, 0, verdict{kind: KindFailed, retry: RetryTimeout}},
		{"just enough time, no jitter", TaskOptions{Retry: second, ScheduleToClose: 10 * time.Second}, 1, ending{kind: KindFailed, age: 9 * time.Second}, 1, verdict{again: true, delay: time.Second, kind: KindFailed}},
		{"asked delay beyond the end", TaskOptions{ScheduleToClose: time.Minute}, 1, ending{kind: KindFailed, nextDelay: time.Hour}, 0, verdict{kind: KindFailed, retry: RetryTimeout}},
		{"start-to-close is retried", TaskOptions{Retry: second}, 1, ending{kind: KindStartToClose}, 0, verdict{again: true, delay: time.Second, kind: KindStartToClose}},
		{"heartbeat is retried", TaskOptions{Retry: second}, 1, ending{kind: KindHeartbeat}, 0, verdict{again: true, delay: time.Second, kind: KindHeartbeat}},
		{"start-to-close, the last attempt", TaskOptions{Retry: once}, 1, ending{kind: KindStartToClose}, 0, verdict{kind: KindStartToClose, retry: RetryMaximumAttempts}},
		{"start-to-close with no time for another", TaskOptions{Retry: second, ScheduleToClose: 10 * time.Second}, 1, ending{kind: KindStartToClose, age: 10 * time.Second}, 0, verdict{kind: KindScheduleToClose, retry: RetryTimeout}},
		{"heartbeat with no time for another", TaskOptions{Retry: second, ScheduleToClose: 10 * time.Second}, 1, ending{kind: KindHeartbeat, age: 10 * time.Second}, 0, verdict{kind: KindScheduleToClose, retry: RetryTimeout}},
		{"start-to-close that is final", TaskOptions{Retry: final}, 1, ending{kind: KindStartToClose}, 0, verdict{kind: KindStartToClose, retry: RetryNonRetryable}},
		{"heartbeat that is final", TaskOptions{Retry: final}, 1, ending{kind: KindHeartbeat}, 0, verdict{kind: KindHeartbeat, retry: RetryNonRetryable}},
		{"failure where time-outs are final", TaskOptions{Retry: final}, 1, failed, 0, verdict{again: true, delay: time.Second, kind: KindFailed}},
		{"schedule-to-close never", TaskOptions{Retry: second}, 1, ending{kind: KindScheduleToClose}, 0, verdict{kind: KindScheduleToClose, retry: RetryTimeout}},
		{"schedule-to-start never", TaskOptions{Retry: second}, 1, ending{kind: KindScheduleToStart}, 0, verdict{kind: KindScheduleToStart, retry: RetryTimeout}},
		{"poison never", TaskOptions{Retry: second}, 1, ending{kind: KindPoison}, 0, verdict{kind: KindPoison, retry: RetryNonRetryable}},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.Equal(t, c.want, judge(c.options, c.attempt, c.end, c.random))
		})
	}
}

func TestBackOffGrowsToItsCapAndStartsAnew(t *testing.T) {
	b := backoff{first: 10 * time.Millisecond, most: 100 * time.Millisecond}
	for _, ms := range []int{10, 20, 40, 80, 100, 100} {
		got, want := b.next(), time.Duration(ms)*time.Millisecond
		require.GreaterOrEqual(t, got, want)
		require.LessOrEqual(t, got, min(want*11/10, b.most))
	}
	b.reset()
	require.Less(t, b.next(), 12*time.Millisecond)
}
