package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/log"

	"github.com/slipstream-go/slipstream/samples/devstack"
	"github.com/slipstream-go/slipstream/samples/internal/progress"
)

// lab is what one case runs on: the servers, connections to them, and the meters.
type lab struct {
	stack *devstack.Stack
	// client starts workflows and reads histories. It has no plugin: only workers do.
	client client.Client
	redis  *redis.Client
	// prefix begins every key that this case writes to Redis.
	prefix string
	// shared: the Redis is somebody else's, and what the case wrote there must go.
	shared  bool
	profile profiler
	out     *os.File // for progress
	label   string   // of the repetition under way
}

// openLab starts servers that the options do not name, each in a process of its own, and connects.
func openLab(ctx context.Context, program *devstack.Program, o devstack.Options, out *os.File) (*lab, error) {
	start := devstack.Start // nothing but Redis is started then
	if o.Temporal == "" {
		start = program.Start
	}
	stack, err := start(ctx, o)
	if err != nil {
		return nil, err
	}
	l := &lab{stack: stack, prefix: "slipstream", shared: o.Redis != "", out: out}
	if l.shared {
		l.prefix = "bench-" + uuid.NewString()[:8]
	}
	if l.redis, err = l.connectRedis(); err != nil {
		return nil, errors.Join(err, stack.Stop())
	}
	if l.client, err = client.DialContext(ctx, l.clientOptions()); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot connect to Temporal at %s: %w", stack.Temporal(), err), l.redis.Close(), stack.Stop())
	}
	return l, nil
}

// connectRedis makes a client of its own for whoever should not share one.
func (l *lab) connectRedis() (*redis.Client, error) {
	o, err := redis.ParseURL(l.stack.RedisURL())
	if err != nil {
		return nil, fmt.Errorf("the Redis URL is not valid: %w", err)
	}
	return redis.NewClient(o), nil
}

// close takes everything down.
func (l *lab) close() error {
	l.client.Close()
	var err error
	if l.shared {
		err = l.purge(context.Background())
	}
	return errors.Join(err, l.redis.Close(), l.stack.Stop())
}

// purge deletes the case's keys. What else is in a Redis that somebody else runs stays.
func (l *lab) purge(ctx context.Context) error {
	if l.shared {
		return l.deleteKeys(ctx, l.prefix+":*")
	}
	return l.redis.FlushDB(ctx).Err()
}

func (l *lab) deleteKeys(ctx context.Context, pattern string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	const page = 1000
	for cursor := uint64(0); ; {
		keys, next, err := l.redis.Scan(ctx, cursor, pattern, page).Result()
		if err == nil && len(keys) > 0 {
			err = l.redis.Del(ctx, keys...).Err() // not UNLINK: memory is measured afterwards
		}
		switch cursor = next; {
		case err != nil:
			return fmt.Errorf("cannot delete the keys %s: %w", pattern, err)
		case cursor == 0:
			return nil
		}
	}
}

func (l *lab) clientOptions() client.Options {
	return client.Options{
		HostPort:  l.stack.Temporal(),
		Namespace: l.stack.Namespace(),
		Logger:    log.NewStructuredLogger(slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))),
	}
}

// progress shows total tasks getting done, until finish is called.
func (l *lab) progress(total int) (done func(), finish func()) {
	p := progress.Start(l.out, l.label, total)
	return func() { p.Add(1) }, p.Finish
}

// freshName is a name for a task queue, a pool or a key that nobody else uses.
func (l *lab) freshName(what string) string {
	return what + "-" + strings.ReplaceAll(uuid.NewString(), "-", "")
}
