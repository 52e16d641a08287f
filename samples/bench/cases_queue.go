package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"github.com/slipstream-go/slipstream/batchqueue"
)

const (
	taskBytes = 200  // of payload, in all queues
	waveTasks = 1000 // that a run enqueues together
	taskType  = "TranslateToSpanish"
)

func queueCore() *benchCase {
	const asynqName = "asynq"
	return &benchCase{
		name: "queue-core",
		about: func(s size) string {
			return fmt.Sprintf("%s tasks of %d B through the queue alone: enqueue, claim, handle, complete, deliver, outbox empty", count(s.Steps), taskBytes)
		},
		sizes: map[suite]size{
			seed:  {Reps: 1, Steps: 2000, PlainSteps: 500, Workers: 2, Concurrency: 1000},
			quick: {Reps: 3, Steps: 100_000, PlainSteps: 10_000, Workers: 2, Concurrency: 1000},
			full:  {Reps: 5, Steps: 200_000, PlainSteps: 50_000, Workers: 2, Concurrency: 1000},
		},
		variants: []variant{{slipstream, queueSample}, rawQueue, {asynqName, asynqSample}},
		targets: []target{
			{figure: rate, variant: slipstream, against: rawRedis, bound: atLeast, limit: 0.5},
			{figure: rate, variant: slipstream, against: asynqName, bound: atLeast, limit: 10},
			{figure: redisPerTask, variant: slipstream, against: asynqName},
		},
	}
}

// queueSample is the queue without Temporal: one producer, and executors beside it.
func queueSample(ctx context.Context, l *lab, s size) (*sample, error) {
	done, finish := l.progress(s.Steps)
	defer finish()
	b, err := l.openQueue(s.Steps, done)
	if err != nil {
		return nil, err
	}
	defer b.close()
	for range s.Workers {
		if err := b.startExecutor(ctx, s.Concurrency, batchqueue.Observer{}); err != nil {
			return nil, err
		}
	}
	return b.measure(ctx, l, func(ctx context.Context) error {
		for first := 0; first < s.Steps; first += waveTasks {
			if err := b.enqueue(ctx, first, min(waveTasks, s.Steps-first)); err != nil {
				return err
			}
		}
		return nil
	})
}

// measure measures work until all tasks have been through the queue, and checks them.
func (b *bareQueue) measure(ctx context.Context, l *lab, work func(context.Context) error) (*sample, error) {
	measured, err := l.measure(ctx, len(b.outcomes), func(ctx context.Context) error {
		b.record.begin()
		if err := work(ctx); err != nil {
			return err
		}
		return b.drained(ctx)
	})
	if err != nil {
		return nil, err
	}
	if err := errors.Join(b.record.check(), b.checkOutcomes()); err != nil {
		return nil, err
	}
	b.record.fill(measured)
	return measured, b.stop()
}

// bareQueue is a pool of the queue with executors whose handlers answer with the task's number.
type bareQueue struct {
	rdb       *redis.Client
	queue     *batchqueue.Queue
	pool      string
	takes     time.Duration // each task
	executors []*batchqueue.Executor
	record    *recorder
	// outcomes counts, by task number, those that arrived and were right.
	outcomes []atomic.Int32
	wrong    atomic.Int64
	arrived  atomic.Int64
	all      chan struct{} // closed when as many arrived as there are tasks
}

// openQueue makes a queue for tasks 0 to n-1, with connections of its own.
func (l *lab) openQueue(n int, done func()) (*bareQueue, error) {
	rdb, err := l.connectRedis()
	if err != nil {
		return nil, err
	}
	b := &bareQueue{rdb: rdb, pool: l.freshName("pool"), record: newRecorder(n, done), outcomes: make([]atomic.Int32, n), all: make(chan struct{})}
	if b.queue, err = batchqueue.New(rdb, batchqueue.Options{Namespace: "bench", KeyPrefix: l.prefix}); err != nil {
		return nil, errors.Join(err, rdb.Close())
	}
	return b, nil
}

// startExecutor returns once the executor takes tasks.
func (b *bareQueue) startExecutor(ctx context.Context, concurrency int, o batchqueue.Observer) error {
	e, err := b.queue.NewExecutor(batchqueue.ExecutorOptions{
		Pool: b.pool, Types: []string{taskType}, Concurrency: concurrency, Observer: o,
		Handler: b.handle, Deliver: b.deliver,
	})
	if err != nil {
		return err
	}
	if err := e.Start(ctx); err != nil {
		return err
	}
	b.executors = append(b.executors, e)
	return poll(ctx, func() (bool, error) { return e.Stats().Permits > 0, nil })
}

func (b *bareQueue) handle(ctx context.Context, d *batchqueue.Delivery) batchqueue.Result {
	defer b.record.start(int(binary.BigEndian.Uint64(d.Payload)), d.ScheduledAt)()
	if err := wait(ctx, b.takes); err != nil {
		return batchqueue.Result{Kind: batchqueue.KindFailed}
	}
	return batchqueue.Result{Kind: batchqueue.KindCompleted, Payload: d.Payload[:8]}
}

func (b *bareQueue) deliver(_ context.Context, batch *batchqueue.Batch) error {
	for _, o := range batch.Outcomes {
		if o.Kind != batchqueue.KindCompleted || len(o.Payload) != 8 || binary.BigEndian.Uint64(o.Payload) != o.Fingerprint {
			b.wrong.Add(1)
			continue
		}
		b.outcomes[o.Fingerprint].Add(1)
	}
	if n := len(batch.Outcomes); b.arrived.Add(int64(n)) == int64(len(b.outcomes)) {
		close(b.all)
	}
	return nil
}

// enqueue adds tasks first to first+n-1 as one wave of a new run.
func (b *bareQueue) enqueue(ctx context.Context, first, n int) error {
	tasks := make([]batchqueue.Task, n)
	payloads := make([]byte, n*taskBytes)
	for k := range tasks {
		payload := payloads[k*taskBytes : (k+1)*taskBytes]
		binary.BigEndian.PutUint64(payload, uint64(first+k))
		// The fingerprint says which question an outcome answers.
		tasks[k] = batchqueue.Task{Number: uint64(k + 1), Fingerprint: uint64(first + k), Type: taskType, Payload: payload}
	}
	out, err := b.queue.Enqueue(ctx, b.pool, &batchqueue.Wave{Run: runID(first), ID: 1, Common: common, Tasks: tasks, Slot: -1})
	if err != nil {
		return err
	}
	for _, a := range out.Answers {
		if a.State != batchqueue.AnswerQueued {
			return fmt.Errorf("task %d of run %s was not queued: %w", a.Number, runID(first), a.Err)
		}
	}
	return nil
}

// common stands for what the tasks of a workflow share: its address and its header.
var common = make([]byte, 60)

// runID has the form of a Temporal run ID.
func runID(n int) string { return fmt.Sprintf("0190c2a4-5b1e-7c3a-9f00-%012x", n) }

// drained returns when every outcome was delivered and has left the outbox.
func (b *bareQueue) drained(ctx context.Context) error {
	select {
	case <-b.all:
	case <-ctx.Done():
		return fmt.Errorf("%d of %d outcomes arrived: %w", b.arrived.Load(), len(b.outcomes), context.Cause(ctx))
	}
	return poll(ctx, func() (bool, error) {
		stats, err := b.queue.Stats(ctx, b.pool)
		return stats.Outbox == 0, err
	})
}

// checkOutcomes returns an error unless each task had one outcome, its own.
func (b *bareQueue) checkOutcomes() error {
	bad := int(b.wrong.Load())
	for i := range b.outcomes {
		if b.outcomes[i].Load() != 1 {
			bad++
		}
	}
	if bad > 0 {
		return fmt.Errorf("%d of %d tasks did not have exactly one right outcome", bad, len(b.outcomes))
	}
	return nil
}

// checkRepeats returns an error if a task had a wrong outcome, or two.
func (b *bareQueue) checkRepeats() error {
	bad := int(b.wrong.Load())
	for i := range b.outcomes {
		if b.outcomes[i].Load() > 1 {
			bad++
		}
	}
	if bad > 0 {
		return fmt.Errorf("%d outcomes were wrong or came twice", bad)
	}
	return nil
}

// stop stops the executors and returns when they have.
func (b *bareQueue) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var group errgroup.Group
	for _, e := range b.executors {
		group.Go(func() error { return e.Stop(ctx) })
	}
	b.executors = nil
	return group.Wait()
}

// close is for a way out: stop it first, if its error matters.
func (b *bareQueue) close() {
	_ = b.stop()
	_ = b.rdb.Close()
}

// poll asks until the answer is true.
func poll(ctx context.Context, ask func() (bool, error)) error {
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for {
		if ok, err := ask(); ok || err != nil {
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// everyNth is each, with then after every nth call. Safe for concurrent use.
func everyNth(n int, each, then func()) func() {
	var calls atomic.Int64
	return func() {
		each()
		if calls.Add(1)%int64(n) == 0 {
			then()
		}
	}
}
