package batchqueue

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// A bell is a pub/sub channel that says: look there. It is a hint and no more. Messages
// may be lost, so whoever listens looks once whenever a subscription is confirmed, and
// now and then without being called.

// pingEvery is how often a connection on which nothing is heard is tried.
const pingEvery = 10 * time.Second

// hearing is called for each message, and with missed set for each channel whose
// subscription was confirmed, first and again after each reconnect: something may have
// been missed until now. Calls come from one goroutine and must not block.
type hearing func(channel, payload string, missed bool)

// listener is one pub/sub connection.
type listener interface {
	// listen replaces the set of channels. An error is no reason to call again: the
	// connection comes back with the new set by itself.
	listen(ctx context.Context, channels []string) error
	// close returns when nothing is heard any more.
	close() error
}

func (q *Queue) newListener(heard hearing) listener {
	l := &redisListener{ps: q.rdb.Subscribe(context.Background()), now: make(map[string]bool), done: make(chan struct{})}
	go func() {
		defer close(l.done)
		for m := range l.ps.ChannelWithSubscriptions(redis.WithChannelHealthCheckInterval(pingEvery)) {
			switch m := m.(type) {
			case *redis.Subscription:
				if m.Kind == "subscribe" {
					heard(m.Channel, "", true)
				}
			case *redis.Message:
				heard(m.Channel, m.Payload, false)
			}
		}
	}()
	return l
}

type redisListener struct {
	ps   *redis.PubSub
	done chan struct{}

	mu  sync.Mutex
	now map[string]bool // protected by mu: what was asked for last
}

func (l *redisListener) listen(ctx context.Context, channels []string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	wanted := make(map[string]bool, len(channels))
	for _, c := range channels {
		wanted[c] = true
	}
	var add, remove []string
	for c := range wanted {
		if !l.now[c] {
			add = append(add, c)
		}
	}
	for c := range l.now {
		if !wanted[c] {
			remove = append(remove, c)
		}
	}
	l.now = wanted
	var err error
	if len(add) > 0 {
		err = l.ps.Subscribe(ctx, add...)
	}
	if len(remove) > 0 {
		if e := l.ps.Unsubscribe(ctx, remove...); err == nil {
			err = e
		}
	}
	return err
}

func (l *redisListener) close() error {
	err := l.ps.Close()
	<-l.done
	return err
}

func (q *Queue) ringBell(ctx context.Context, channel, payload string) error {
	return q.rdb.Publish(ctx, channel, payload).Err()
}

// bellFunc does what a bell asks for. It must not block.
type bellFunc func(payload string, missed bool)

// bells says what to do for each channel that is listened to.
type bells struct {
	open func(hearing) listener

	mu       sync.Mutex
	handlers map[string]bellFunc // protected by mu; replaced, never changed
	line     listener            // protected by mu; nil before the first set
	closed   bool                // protected by mu
}

// set replaces the channels.
func (b *bells) set(ctx context.Context, handlers map[string]bellFunc) error {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return nil
	}
	b.handlers = handlers
	if b.line == nil {
		b.line = b.open(b.heard)
	}
	line := b.line
	b.mu.Unlock()
	return line.listen(ctx, slices.Sorted(maps.Keys(handlers)))
}

func (b *bells) heard(channel, payload string, missed bool) {
	b.mu.Lock()
	handle := b.handlers[channel]
	b.mu.Unlock()
	if handle != nil {
		handle(payload, missed)
	}
}

// close returns when no handler runs any more. Nothing can be set afterwards. Closing
// twice is no error.
func (b *bells) close() error {
	b.mu.Lock()
	line := b.line
	if b.closed {
		line = nil
	}
	b.closed = true
	b.mu.Unlock()
	if line == nil {
		return nil
	}
	return line.close()
}
