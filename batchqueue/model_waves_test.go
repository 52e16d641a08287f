package batchqueue

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
)

// Waves follow each other without end, so that a window is always open, and the dispatches
// that opened them may all have died. An outcome reaches its run all the same: as soon as
// the window that was open then has run out, or after two windows at the latest.
func TestOutcomesReachTheRunThoughWavesNeverStop(t *testing.T) {
	const seeds, waves = 8, 12
	for seed := range uint64(seeds) {
		random := rand.New(rand.NewPCG(seed, 0))
		server := miniredis.RunT(t)
		rdb := redis.NewClient(&redis.Options{Addr: server.Addr()})
		defer func() { _ = rdb.Close() }()
		q, err := New(rdb, Options{Namespace: "model", Slots: 1})
		require.NoError(t, err)
		ctx := t.Context()
		window := 100*time.Millisecond + time.Duration(random.Int64N(2400))*time.Millisecond
		bound := max(window+time.Second, 2*window)
		now := time.UnixMilli(1_800_000_000_000)
		server.SetTime(now)

		finished := map[uint64]time.Time{}
		next := uint64(0)
		due := time.Duration(0) // until the slot's leader looks again
		deliver := func() {
			wait, err := q.due(ctx, "p", 0)
			require.NoError(t, err)
			due = wait
			bs, _, err := q.batches(ctx, "p", 0, 5)
			require.NoError(t, err)
			for _, b := range bs {
				for _, o := range b.Outcomes {
					require.Contains(t, finished, o.Number, "once")
					require.LessOrEqual(t, now.Sub(finished[o.Number]), bound+2*time.Millisecond, "seed %d: outcome %d", seed, o.Number)
					delete(finished, o.Number)
				}
				require.NoError(t, q.acked(ctx, b))
			}
			if wait, err = q.due(ctx, "p", 0); err == nil { // what the look for batches has set
				due = wait
			}
			require.NoError(t, err)
		}
		pass := func(d time.Duration) {
			for d > 0 {
				step := d
				if due >= 0 && due < step {
					step = max(due, time.Millisecond)
				}
				now = now.Add(step)
				server.SetTime(now)
				server.FastForward(step)
				d -= step
				if due >= 0 {
					due -= step
				}
				if due <= 0 {
					deliver()
				}
			}
			for n, at := range finished {
				require.LessOrEqual(t, now.Sub(at), bound+2*time.Millisecond, "seed %d: outcome %d waits", seed, n)
			}
		}
		for range waves {
			next++
			gap := 50*time.Millisecond + time.Duration(random.Int64N(int64(bound-50*time.Millisecond)))
			if random.IntN(2) == 0 {
				gap /= 10
			}
			_, err := q.Enqueue(ctx, "p", &Wave{Run: run, ID: next, Tasks: []Task{task(next)}, Common: []byte("c"), Slot: 0, Window: window})
			require.NoError(t, err)
			deliver() // the bell of what became due first
			wait := time.Duration(random.Int64N(int64(gap)))
			pass(wait)
			r, err := q.claim(ctx, "p", 0, claimRequest{executor: "e", types: []string{"A"}, count: 10, bytes: 1 << 20,
				lease: time.Minute, suspects: suspectBudgets{9, 9, 9}, outboxLimit: 1000})
			require.NoError(t, err)
			for _, d := range r.deliveries {
				finished[d.Number] = now
				replies, err := q.settle(ctx, "p", 0, []settlement{done(d)})
				require.NoError(t, err)
				require.Contains(t, []settleReply{replySettled, replyWindow}, replies[0])
			}
			deliver()
			pass(gap - wait)
		}
		pass(bound)
		require.Empty(t, finished, "all reached the run")
	}
}

// A hundred pipelines of three steps, each with its windows, leave nothing when their
// runs have closed: not a key that grows with their number.
func TestClosedPipelinesLeaveNothing(t *testing.T) {
	const first, more, steps = 20, 100, 3
	server := miniredis.RunT(t)
	rdb := redis.NewClient(&redis.Options{Addr: server.Addr()})
	t.Cleanup(func() { _ = rdb.Close() })
	b := newBench(t, rdb)
	inventory := func() map[string]int {
		sizes := map[string]int{}
		for _, key := range server.Keys() {
			n := 1
			switch server.Type(key) {
			case "hash":
				fields, err := server.HKeys(key)
				require.NoError(t, err)
				n = len(fields)
			case "stream":
				entries, err := server.Stream(key)
				require.NoError(t, err)
				n = len(entries)
			case "zset":
				members, err := server.ZMembers(key)
				require.NoError(t, err)
				n = len(members)
			case "list":
				elements, err := server.List(key)
				require.NoError(t, err)
				n = len(elements)
			}
			sizes[key] = n
		}
		return sizes
	}
	run := func(from, to int) {
		for i := from; i < to; i++ {
			name := fmt.Sprintf("0190c2a4-5b1e-7c3a-9f00-%012x", i)
			for s := range uint64(steps) {
				n := s + 1
				b.enqueueWave(Wave{Run: name, ID: n, Tasks: []Task{task(n)}, HeldBelow: n, Window: 30 * time.Second})
				ds := b.claim(1)
				require.Len(b, ds, 1)
				require.Equal(b, "w", b.settle(done(ds[0])))
				got, err := b.q.CloseWindow(b.ctx, b.pool, 0, name, n, Room{1 << 19, true})
				require.NoError(b, err)
				require.Equal(b, []uint64{n}, outcomeNumbers(got))
			}
			require.NoError(b, b.q.Forget(b.ctx, b.pool, 0, name))
		}
	}
	run(0, first)
	b.due()
	server.FastForward(closingAnswerKept)
	before := inventory()
	run(first, first+more)
	// Ends of windows and closing answers go by themselves.
	server.SetTime(time.Now().Add(closingAnswerKept))
	for b.due() == 0 { // page by page
	}
	server.FastForward(closingAnswerKept)
	require.Equal(t, before, inventory())
	require.Less(t, len(before), 10)
}
