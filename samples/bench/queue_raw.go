package main

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/redis/go-redis/v9"
)

// rawPage is how many entries one pipeline adds and one read brings.
const rawPage = 500

// rawQueue is what Redis Streams can do at best with one client: entries added in pipelines, then read through a group,
// acknowledged and deleted. It knows no retries, deadlines, cancellation, outcomes or owners.
var rawQueue = variant{rawRedis, func(ctx context.Context, l *lab, s size) (*sample, error) {
	done, finish := l.progress(s.Steps)
	defer finish()
	rdb, err := l.connectRedis()
	if err != nil {
		return nil, err
	}
	defer rdb.Close()
	q := rawStream{rdb: rdb, key: l.prefix + ":raw:" + l.freshName("stream")}
	if err := rdb.XGroupCreateMkStream(ctx, q.key, rawGroup, "0").Err(); err != nil {
		return nil, fmt.Errorf("raw stream: %w", err)
	}
	defer rdb.Unlink(context.WithoutCancel(ctx), q.key)
	seen := make([]bool, s.Steps)
	measured, err := l.measure(ctx, s.Steps, func(ctx context.Context) error {
		if err := q.add(ctx, s.Steps); err != nil {
			return err
		}
		return q.drain(ctx, seen, done)
	})
	if err != nil {
		return nil, fmt.Errorf("raw stream: %w", err)
	}
	return measured, nil
}}

const rawGroup = "g"

type rawStream struct {
	rdb *redis.Client
	key string
}

// add adds entries 0 to n-1.
func (q rawStream) add(ctx context.Context, n int) error {
	for first := 0; first < n; first += rawPage {
		pipe := q.rdb.Pipeline()
		for i := first; i < min(n, first+rawPage); i++ {
			body := make([]byte, taskBytes)
			binary.BigEndian.PutUint64(body, uint64(i))
			pipe.XAdd(ctx, &redis.XAddArgs{Stream: q.key, Values: []any{"t", body}})
		}
		if _, err := pipe.Exec(ctx); err != nil {
			return err
		}
	}
	return nil
}

// drain takes entries until each was seen once.
func (q rawStream) drain(ctx context.Context, seen []bool, done func()) error {
	for got := 0; got < len(seen); {
		streams, err := q.rdb.XReadGroup(ctx, &redis.XReadGroupArgs{Group: rawGroup, Consumer: "c", Streams: []string{q.key, ">"}, Count: rawPage}).Result()
		if err != nil {
			return err
		}
		var ids []string
		for _, m := range streams[0].Messages {
			body, _ := m.Values["t"].(string)
			i := binary.BigEndian.Uint64([]byte(body))
			if seen[i] {
				return fmt.Errorf("entry %d came twice", i)
			}
			seen[i] = true
			ids = append(ids, m.ID)
			done()
		}
		pipe := q.rdb.Pipeline()
		pipe.XAck(ctx, q.key, rawGroup, ids...)
		pipe.XDel(ctx, q.key, ids...)
		if _, err := pipe.Exec(ctx); err != nil {
			return err
		}
		got += len(ids)
	}
	return nil
}
