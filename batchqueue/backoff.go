package batchqueue

import (
	"context"
	"math"
	"math/rand/v2"
	"time"
)

// jitter is how much a wait is stretched at random, so that what failed together is not
// tried again together.
const jitter = 0.1

// backoff counts the failed tries of one thing and says how long to wait before the
// next: first, then twice as long each time, never longer than most, plus jitter.
// It belongs to one goroutine.
type backoff struct {
	first, most time.Duration
	tries       int
}

func (b *backoff) next() time.Duration {
	wait := exponential(b.first, 2, b.most, b.tries)
	b.tries++
	return min(stretch(wait, rand.Float64()), b.most)
}

func (b *backoff) reset() { b.tries = 0 }

// exponential is first * coefficient^n, at most most, without overflow.
func exponential(first time.Duration, coefficient float64, most time.Duration, n int) time.Duration {
	wait := float64(first) * math.Pow(coefficient, float64(n))
	if !(wait < float64(most)) { // also what is infinite or not a number
		return most
	}
	return time.Duration(wait)
}

func stretch(wait time.Duration, random float64) time.Duration {
	return wait + time.Duration(float64(wait)*jitter*random)
}

// pause waits for d or until ctx ends, and says whether d passed.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// interval is the wait after the given attempt failed.
func (p RetryPolicy) interval(attempt int) time.Duration {
	first, coefficient, most := p.InitialInterval, p.BackoffCoefficient, p.MaximumInterval
	if first <= 0 {
		first = time.Second
	}
	if coefficient <= 0 {
		coefficient = 2
	}
	if most <= 0 {
		most = 100 * first
		if most/100 != first {
			most = math.MaxInt64
		}
	}
	return exponential(first, coefficient, most, max(attempt, 1)-1)
}

// ending is how one attempt ended.
type ending struct {
	kind         Kind
	nonRetryable bool
	// nextDelay overrides the policy's interval, its cap and the jitter.
	nextDelay time.Duration
	// canceled is true when the task's cancellation was requested.
	canceled bool
	// age is the time since the task was enqueued.
	age time.Duration
}

// verdict is what follows from an ending: another attempt after delay, or an outcome.
type verdict struct {
	again bool
	delay time.Duration
	kind  Kind
	retry RetryState
}

// judge decides whether an attempt that ended is followed by another one. It is pure:
// random (0 to 1) is the jitter's luck.
//
// It answers as a Temporal server does, in the same order, with one addition: the
// interval gets up to 10 % of jitter, never beyond MaximumInterval or ScheduleToClose.
// Temporal has none, because a server spreads its timers; a thousand tasks that failed
// in one executor at one moment would come back at one moment.
func judge(o TaskOptions, attempt int, e ending, random float64) verdict {
	final := func(state RetryState) verdict { return verdict{kind: e.kind, retry: state} }
	switch e.kind {
	case KindCompleted, KindCanceled:
		return final(RetryUnspecified)
	case KindPoison:
		return final(RetryNonRetryable)
	default:
	}
	if e.canceled {
		return final(RetryCancelRequested)
	}
	switch e.kind {
	case KindScheduleToStart, KindScheduleToClose:
		return final(RetryTimeout)
	default:
	}
	if e.nonRetryable || (e.kind == KindStartToClose && o.Retry.FinalStartToClose) || (e.kind == KindHeartbeat && o.Retry.FinalHeartbeat) {
		return final(RetryNonRetryable)
	}
	if o.Retry.MaximumAttempts > 0 && attempt >= o.Retry.MaximumAttempts {
		return final(RetryMaximumAttempts)
	}
	delay, most := e.nextDelay, e.nextDelay
	if delay <= 0 {
		delay = o.Retry.interval(attempt)
		most = o.Retry.MaximumInterval
		if most <= 0 {
			most = math.MaxInt64
		}
	}
	if o.ScheduleToClose > 0 {
		left := o.ScheduleToClose - e.age
		if delay > left {
			v := final(RetryTimeout)
			if e.kind == KindStartToClose || e.kind == KindHeartbeat {
				// What ran out last is reported: there is no time for another attempt.
				v.kind = KindScheduleToClose
			}
			return v
		}
		most = min(most, left)
	}
	return verdict{again: true, delay: min(stretch(delay, random), most), kind: e.kind}
}
