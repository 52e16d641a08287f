package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/hibiken/asynq"
	"golang.org/x/sync/errgroup"
)

const (
	asynqProducers = 50
	asynqEnqueuing = "enqueued per second"
)

// asynqSample is the most used task queue on Redis for Go, as it is at its best: all tasks are enqueued first, by many
// producers, because it has no batches; then they are processed. The sample is the processing alone.
func asynqSample(ctx context.Context, l *lab, s size) (_ *sample, err error) {
	tasks := s.PlainSteps
	done, finish := l.progress(tasks)
	defer finish()
	redisOptions, err := asynq.ParseRedisURI(l.stack.RedisURL())
	if err != nil {
		return nil, fmt.Errorf("asynq: %w", err)
	}
	all := make(chan struct{})
	queue, record := l.freshName("bench"), newRecorder(tasks, everyNth(tasks, done, func() { close(all) }))
	defer func() { err = errors.Join(err, l.forgetAsynq(context.WithoutCancel(ctx), redisOptions, queue)) }()

	begin := time.Now()
	if err := enqueueAsynq(ctx, redisOptions, queue, tasks); err != nil {
		return nil, fmt.Errorf("asynq: %w", err)
	}
	enqueued := time.Since(begin)

	server := asynq.NewServer(redisOptions, asynq.Config{
		Concurrency: s.Concurrency, Queues: map[string]int{queue: 1}, LogLevel: asynq.ErrorLevel,
	})
	handler := asynq.HandlerFunc(func(_ context.Context, t *asynq.Task) error {
		record.start(int(binary.BigEndian.Uint64(t.Payload())), begin)()
		return nil
	})
	measured, err := l.measure(ctx, tasks, func(ctx context.Context) error {
		record.begin()
		if err := server.Start(handler); err != nil {
			return err
		}
		select {
		case <-all:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	})
	server.Shutdown()
	if err == nil {
		err = record.check()
	}
	if err != nil {
		return nil, fmt.Errorf("asynq: %w", err)
	}
	record.fill(measured)
	measured.Latency = nil // they were all enqueued before
	measured.Values[asynqEnqueuing] = perSecond(tasks, enqueued.Seconds())
	return measured, nil
}

func enqueueAsynq(ctx context.Context, o asynq.RedisConnOpt, queue string, tasks int) error {
	client := asynq.NewClient(o)
	defer client.Close()
	group, ctx := errgroup.WithContext(ctx)
	for producer := range asynqProducers {
		group.Go(func() error {
			for i := producer; i < tasks; i += asynqProducers {
				payload := make([]byte, taskBytes)
				binary.BigEndian.PutUint64(payload, uint64(i))
				if _, err := client.EnqueueContext(ctx, asynq.NewTask(taskType, payload), asynq.Queue(queue)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// forgetAsynq deletes the queue and all in it, and the counts that asynq would keep for months.
func (l *lab) forgetAsynq(ctx context.Context, o asynq.RedisConnOpt, queue string) error {
	inspector := asynq.NewInspector(o)
	defer inspector.Close()
	if err := inspector.DeleteQueue(queue, true); err != nil && !errors.Is(err, asynq.ErrQueueNotFound) {
		return fmt.Errorf("asynq: delete queue %s: %w", queue, err)
	}
	return l.deleteKeys(ctx, "asynq:{"+queue+"}:*")
}
