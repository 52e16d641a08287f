package batchqueue

import (
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/slipstream-go/slipstream/internal/redistest"
)

// BenchmarkCore is the queue without Temporal: enqueue, claim, complete and deliver
// tasks of 200 bytes in waves of 1,000. The scripts are most of it, and Redis runs one at a
// time; what each takes is told in Redis' own CPU time.
func BenchmarkCore(b *testing.B) {
	rdb := redistest.Start(b).Client()
	q, err := New(rdb, Options{Namespace: "bench", Slots: 1})
	require.NoError(b, err)
	ctx := b.Context()
	payload := make([]byte, 200)
	b.ReportAllocs()
	next := uint64(1)
	var spent [4]float64
	since := cpuSeconds(b, rdb)
	lap := func(transition int) {
		now := cpuSeconds(b, rdb)
		spent[transition] += now - since
		since = now
	}
	b.ResetTimer()
	for left := b.N; left > 0; left -= 1000 {
		width := min(left, 1000)
		tasks := make([]Task, width)
		for i := range tasks {
			tasks[i] = Task{Number: next, Fingerprint: next, Type: "A", Payload: payload}
			next++
		}
		out, err := q.Enqueue(ctx, "p", &Wave{Run: run, ID: tasks[0].Number, Tasks: tasks, HeldBelow: tasks[0].Number, Common: []byte("common")})
		require.NoError(b, err)
		require.NoError(b, out.Answers[0].Err)
		lap(0)
		r, err := q.claim(ctx, "p", 0, claimRequest{executor: "e", types: []string{"A"}, count: 1000, bytes: 8 << 20, lease: time.Minute, outboxLimit: 1 << 20})
		require.NoError(b, err)
		require.Len(b, r.deliveries, width)
		lap(1)
		for d := r.deliveries; len(d) > 0; {
			n := min(len(d), 200)
			s := make([]settlement, n)
			for i := range s {
				s[i] = settlement{d: d[i], action: actionFinish, outcome: Outcome{Kind: KindCompleted, Payload: payload[:20]}}
			}
			_, err := q.settle(ctx, "p", 0, s)
			require.NoError(b, err)
			d = d[n:]
		}
		lap(2)
		batches, _, err := q.batches(ctx, "p", 0, 10)
		require.NoError(b, err)
		for _, batch := range batches {
			require.NoError(b, q.acked(ctx, batch))
		}
		lap(3)
	}
	b.StopTimer()
	for i, name := range []string{"enqueue", "claim", "settle", "deliver"} {
		b.ReportMetric(spent[i]*1e9/float64(b.N), name+"-redis-ns/task")
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tasks/s")
}

// cpuSeconds is what Redis has used so far.
func cpuSeconds(b *testing.B, rdb redis.UniversalClient) (sum float64) {
	info, err := rdb.InfoMap(b.Context(), "cpu").Result()
	require.NoError(b, err)
	for _, name := range []string{"used_cpu_user_main_thread", "used_cpu_sys_main_thread"} {
		seconds, err := strconv.ParseFloat(info["CPU"][name], 64)
		require.NoError(b, err)
		sum += seconds
	}
	return sum
}

// BenchmarkBacklogMemory reports what a waiting task of 200 bytes costs in Redis, and how
// many times a bare stream entry that is; alone and with two steps behind it.
func BenchmarkBacklogMemory(b *testing.B) {
	const n = 48_000
	rdb := redistest.Start(b).Client()
	used := func() int64 {
		return number(parseInfo(rdb.Info(b.Context(), "memory").Val())["used_memory"])
	}
	bare := func() float64 {
		before := used()
		for range n / 1000 {
			pipe := rdb.Pipeline()
			for range 1000 {
				pipe.XAdd(b.Context(), &redis.XAddArgs{Stream: "bare", Values: []any{"d", make([]byte, 200)}})
			}
			_, err := pipe.Exec(b.Context())
			require.NoError(b, err)
		}
		return float64(used()-before) / n
	}()
	steps := []Step{{Type: "TranslateToFrench", Payload: make([]byte, 4)}, {Type: "TranslateToGerman", Payload: make([]byte, 4)}}
	for _, c := range []struct {
		name  string
		width int
		then  []Step
	}{{"wave-1000", 1000, nil}, {"wave-10", 10, nil}, {"wave-1", 1, nil}, {"steps-wave-1000", 1000, steps}, {"steps-wave-1", 1, steps}} {
		width := c.width
		b.Run(c.name, func(b *testing.B) {
			require.NoError(b, rdb.FlushAll(b.Context()).Err())
			q, err := New(rdb, Options{Namespace: "default", Slots: 1})
			require.NoError(b, err)
			fill := func(pool string, n int) {
				var producers sync.WaitGroup
				for p := range 16 {
					producers.Go(func() {
						for first := p * width; first < n; first += 16 * width {
							tasks := make([]Task, width)
							for i := range tasks {
								tasks[i] = Task{Number: uint64(i + 1), Fingerprint: 7, Type: "TranslateToSpanish", Payload: make([]byte, 200), Then: c.then}
							}
							w := Wave{Run: fmt.Sprintf("0190c2a4-5b1e-7c3a-9f00-%012x", first), Slot: 0, Tasks: tasks, Common: make([]byte, 60)}
							out, err := q.Enqueue(b.Context(), pool, &w)
							if err != nil || out.Answers[0].Err != nil {
								b.Errorf("enqueue: %v, %v", err, out.Answers)
							}
						}
					})
				}
				producers.Wait()
			}
			fill("other", 16*width) // what a server needs once: scripts, connections
			before := used()
			fill("translate", n)
			cost := float64(used()-before) / n
			b.ReportMetric(cost, "B/task")
			b.ReportMetric(cost/bare, "x-bare")
		})
	}
}

// BenchmarkScripts is what Go does for a task on its way to and from Redis, of waves of
// 1,000: build an enqueue, read a claim, build a settlement.
func BenchmarkScripts(b *testing.B) {
	const width = 1000
	q, err := New(redis.NewClient(&redis.Options{}), Options{Namespace: "bench"})
	require.NoError(b, err)
	w := &Wave{Run: run, ID: 1, Common: make([]byte, 200)}
	for n := range uint64(width) {
		w.Tasks = append(w.Tasks, Task{Number: n + 1, Fingerprint: n, Type: "A", Payload: make([]byte, 200)})
	}
	perTask := func(b *testing.B) {
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/width, "ns/task")
	}
	b.Run("enqueue", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			q.enqueueCall("p", 0, w, 0, width)
		}
		perTask(b)
	})

	common := string(encodeCommon(commonData{options: []TaskOptions{{}}, user: w.Common}))
	name := "@digest00" + encodeRun(run)
	entries := make([]any, width)
	for i := range entries {
		entries[i] = []any{fmt.Sprintf("1700000000000-%d", i), []any{name, fmt.Sprint(i + 1), "e", string(encodeEntry(w.Tasks[i].Fingerprint, position{}, w.Tasks[i].Payload))}}
	}
	reply := []any{int64(0), []any{encodeRun(run), "digest00", common}, []any{[]any{"A", "r", entries}}}
	var deliveries []*Delivery
	b.Run("claim", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			claimed, err := q.readClaim(b.Context(), "p", 0, reply)
			if deliveries = claimed.deliveries; err != nil || len(deliveries) != width {
				b.Fatal(len(deliveries), err)
			}
		}
		perTask(b)
	})
	b.Run("settle", func(b *testing.B) {
		batch := make([]settlement, width)
		for i := range batch {
			batch[i] = settlement{d: deliveries[i], action: actionFinish, outcome: Outcome{Kind: KindCompleted, Attempt: 1, Executor: "worker@host", Payload: w.Tasks[i].Payload[:20]}}
		}
		b.ReportAllocs()
		for b.Loop() {
			q.settleArgs("p", 0, batch)
		}
		perTask(b)
	})
}
