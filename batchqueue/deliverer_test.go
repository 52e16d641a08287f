package batchqueue

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestOutcomesAreCoalescedPerRun(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		g := newGate()
		l.start(ExecutorOptions{Handler: g.handle, Deliver: func(ctx context.Context, b *Batch) error {
			time.Sleep(time.Second) //nolint:forbidigo // by synctest's clock
			return l.book.deliver(ctx, b)
		}})
		l.enqueue(0, "run", tasks(100)...)
		for n := range uint64(100) {
			g.done(n + 1)
		}
		l.await(100)
		require.LessOrEqual(t, len(l.book.batches), 2)
		for n := range uint64(100) {
			l.one("run", n+1)
		}
	})
}

// 64 runs at a time, one batch of a run at a time, a slow run holds up itself only.
func TestSendingsRunSideBySide(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		flying, most := map[string]int{}, 0
		slow := make(chan struct{})
		e := l.start(ExecutorOptions{Deliver: func(ctx context.Context, b *Batch) error {
			l.book.mu.Lock()
			flying[b.Run]++
			require.Equal(t, 1, flying[b.Run])
			most = max(most, len(flying))
			l.book.mu.Unlock()
			if b.Run == "run-7" {
				<-slow
			} else {
				time.Sleep(100 * time.Millisecond) //nolint:forbidigo // by synctest's clock
			}
			l.book.mu.Lock()
			delete(flying, b.Run)
			l.book.mu.Unlock()
			return l.book.deliver(ctx, b)
		}})
		for i := range 200 {
			l.enqueue(0, fmt.Sprintf("run-%d", i), task(1))
		}
		began := time.Now()
		l.await(199)
		require.InDelta(t, 400*time.Millisecond, time.Since(began), float64(50*time.Millisecond))
		require.Equal(t, sendings, most)
		l.enqueue(0, "run-7", task(2), task(3))
		l.pass(3 * time.Second)
		close(slow)
		l.await(202)
		require.Equal(t, uint64(202), e.Stats().Outcomes)
	})
}

func TestFailedDeliveryIsRepeatedEqualWithBackOff(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		var at []time.Time
		var ids []string
		l.book.answer = func(b *Batch) error {
			if b.Run != "bad" {
				return nil
			}
			at, ids = append(at, time.Now()), append(ids, b.ID)
			if len(at) < 14 {
				return errors.New("temporal is away")
			}
			return nil
		}
		e := l.start(ExecutorOptions{})
		l.enqueue(0, "bad", task(1))
		synctest.Wait()
		l.enqueue(0, "bad", task(2))
		l.enqueue(0, "good", task(1))
		took := l.until(time.Minute, "the other run", func() bool { return l.book.size() == 1 })
		require.Zero(t, took)
		l.await(3)
		for i := 1; i < 13; i++ {
			require.Equal(t, ids[0], ids[i], "a batch is fixed")
			gap := at[i].Sub(at[i-1])
			want := min(resendFirst<<(i-1), resendMost)
			require.GreaterOrEqual(t, gap, want)
			require.LessOrEqual(t, gap, want*11/10+time.Millisecond)
		}
		require.Equal(t, resendMost, at[13].Sub(at[12]))
		require.Equal(t, uint64(13), e.Stats().Undelivered)
	})
}

func TestBackOffOfARunStartsAnewAfterASuccess(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		failures, failed := 6, time.Time{}
		l.book.answer = func(*Batch) error {
			if failures > 0 {
				failures--
				failed = time.Now()
				return errors.New("temporal is away")
			}
			return nil
		}
		l.start(ExecutorOptions{})
		l.enqueue(0, "run", task(1))
		l.await(1)
		l.book.mu.Lock()
		failures = 1
		l.book.mu.Unlock()
		l.enqueue(0, "run", task(2))
		l.await(2)
		require.LessOrEqual(t, time.Since(failed), resendFirst*11/10+time.Millisecond)
	})
}

func TestGoneAndDeafRuns(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		l.book.answer = func(b *Batch) error {
			switch b.Run {
			case "gone":
				return fmt.Errorf("not found: %w", ErrRunGone)
			case "deaf":
				return fmt.Errorf("10,000 signals: %w", ErrRunDeaf)
			}
			return nil
		}
		l.start(ExecutorOptions{})
		for _, run := range []string{"gone", "deaf", "fine"} {
			l.enqueue(0, run, task(1))
		}
		l.await(1)
		l.pass(time.Minute)
		require.Equal(t, 1, l.count("abandon"))
		require.Equal(t, 1, l.count("deafRun"))
		require.Zero(t, l.count("retryBatch"))
		require.Len(t, l.outcomes(0, "deaf"), 1, "kept for asking")
	})
}

// The acknowledgement is lost: the batch is sent again, equal, and acknowledged.
func TestLostAcknowledgementIsRepeated(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		left := 3
		l.setFault(func(op, _ string, _ int, _ bool) error {
			if op == "acked" && left > 0 {
				left--
				return errAway
			}
			return nil
		})
		l.start(ExecutorOptions{})
		l.enqueue(0, "run", task(1))
		l.until(time.Minute, "acknowledged", func() bool { return len(l.outcomes(0, "run")) == 0 && l.count("acked") > 0 })
		l.one("run", 1)
	})
}

// What this executor finished is delivered at once, should the bell be missed too.
func TestOwnOutcomesNeedNoBell(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		e := l.start(ExecutorOptions{})
		l.pass(time.Second)
		l.mu.Lock()
		l.listeners = make(map[*fakeListener]bool)
		l.mu.Unlock()
		l.enqueue(0, "run", task(1))
		e.claimer.look(0)
		require.Zero(t, l.until(time.Minute, "outcome", func() bool { return l.book.size() == 1 }))
	})
}

// The run's next batch may be offered before the reply to the acknowledgement is here.
func TestNextBatchOvertakesTheAcknowledgement(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		l.rtt = time.Millisecond
		l.slow = map[string]time.Duration{"acked": 100 * time.Millisecond}
		g := newGate()
		l.start(ExecutorOptions{Handler: g.handle})
		l.enqueue(0, "run", tasks(2)...)
		l.pass(2 * time.Second)
		g.done(1)
		l.pass(50 * time.Millisecond)
		g.done(2)
		took := l.until(time.Minute, "both outcomes", func() bool { return l.book.size() == 2 })
		require.Less(t, took, 50*time.Millisecond)
	})
}

// A sending that hangs is a failed one after a while, and does not hold up the stop.
func TestHangingSending(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		tries := 0
		e := l.start(ExecutorOptions{Deliver: func(ctx context.Context, _ *Batch) error {
			tries++
			<-ctx.Done()
			return ctx.Err()
		}})
		l.enqueue(0, "run", task(1))
		l.pass(sendMost + time.Second)
		require.Equal(t, 2, tries)
		require.Equal(t, uint64(1), e.Stats().Undelivered)
		began := time.Now()
		l.stop(e)
		require.LessOrEqual(t, time.Since(began), handOver)
		require.Len(t, l.outcomes(0, "run"), 1)
	})
}

// While an outage lasts, the deliverer asks Redis with back-off.
func TestDelivererIsNotHotWithoutRedis(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		l.start(ExecutorOptions{})
		l.pass(time.Second)
		l.setFault(func(op, _ string, _ int, _ bool) error {
			if op == "batches" || op == "due" || op == "lost" {
				return errAway
			}
			return nil
		})
		for _, op := range []string{"batches", "due", "lost"} {
			before := l.count(op)
			l.pass(time.Minute)
			require.LessOrEqual(t, l.count(op)-before, 60, op)
			require.GreaterOrEqual(t, l.count(op)-before, 20, op)
		}
	})
}

type leaveMeAloneError time.Duration

func (leaveMeAloneError) Error() string               { return "too many requests" }
func (l leaveMeAloneError) RetryAfter() time.Duration { return time.Duration(l) }

// A receiver that says how long it wants to be left alone is sent nothing of the slot
// meanwhile, but not for longer than a minute.
func TestReceiversAreLeftAloneForAsLongAsTheySay(t *testing.T) {
	for asked, want := range map[time.Duration]time.Duration{
		20 * time.Second: 20 * time.Second,
		time.Hour:        restMost,
		-time.Second:     0,
	} {
		inLab(t, 1, func(t *testing.T, l *lab) {
			var sent []time.Time
			l.book.answer = func(*Batch) error {
				sent = append(sent, time.Now())
				if len(sent) == 1 {
					return fmt.Errorf("signal: %w", leaveMeAloneError(asked))
				}
				return nil
			}
			l.start(ExecutorOptions{})
			l.enqueue(0, "first", task(1))
			l.until(time.Second, "refused", func() bool { l.book.mu.Lock(); defer l.book.mu.Unlock(); return len(sent) == 1 })
			l.enqueue(0, "second", task(1))
			l.await(2)
			for _, at := range sent[1:] {
				if want > 0 {
					require.GreaterOrEqual(t, at.Sub(sent[0]), want)
				}
				require.Less(t, at.Sub(sent[0]), want+fakeLease+time.Second)
			}
		})
	}
}

// Each loop of a term counts its failures, says them as a row, and says that it is over.
func TestFailingLoopsAreSaidAndCounted(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		book := &logBook{}
		l.log = book
		e := l.start(ExecutorOptions{})
		l.pass(time.Second)
		for op, what := range map[string]string{
			"batches": "looking for outcomes to deliver", "due": "moving due tasks", "lost": "looking for lost claims",
			"present": "cannot extend the lease", "home": "cannot reach Redis",
		} {
			before := e.Stats().Errors
			l.setFault(func(asked, _ string, _ int, _ bool) error {
				if asked == op {
					return errAway
				}
				return nil
			})
			l.pass(3 * time.Minute)
			l.setFault(nil)
			l.pass(time.Minute)
			require.GreaterOrEqual(t, e.Stats().Errors-before, uint64(20), op)
			require.InDelta(t, 3, book.count(what), 1, "%s: once a minute", op)
		}
	})
}
