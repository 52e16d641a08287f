package plugin

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/redis/go-redis/v9"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/slipstream-go/slipstream/activity"
	"github.com/slipstream-go/slipstream/batchqueue"
	"github.com/slipstream-go/slipstream/internal/redisurl"
)

// Mark names an activity whose calls go through the queue.
type Mark = activity.Mark

// Options configure the plugin. Redis or RedisURL is required, and marks make it do
// something; the zero value of every other field is a good default.
type Options struct {
	// Redis is the client to use: of one server, of Sentinels (redis.NewFailoverClient) or of
	// a cluster, reading from masters only. It stays the caller's to close.
	Redis redis.UniversalClient
	// RedisURL is an address to connect to instead, such as "redis://localhost:6379/0",
	// "rediss://user:password@host:6380" or "unix:///run/redis.sock". With further nodes it is
	// a cluster: "redis://host:6379?addr=host2:6379". With a master's name the addresses are
	// those of Sentinels: "redis://sentinel:26379?master_name=mymaster&addr=sentinel2:26379";
	// user and password before the host are the Sentinels' then, the master's follow as
	// "&username=...&password=...". Plugin.Close ends the connection.
	RedisURL string
	// RedisTLS is for a RedisURL that begins with "rediss://": client certificates, or an
	// authority that the system does not know. Default: the system's authorities.
	RedisTLS *tls.Config
	// RedisCredentials gives user and password for each new connection that RedisURL needs, so
	// that they can change while the process runs; connections that are open stay as they are.
	// It is called by several goroutines, and often: it should remember. Default: those of the URL.
	RedisCredentials func(ctx context.Context) (username, password string, err error)
	// Replicas is how many replicas of the Redis server must have what is enqueued, started
	// and finished before it counts, so that a failover to one of them loses none of it. Each
	// of these steps waits for the replicas. If they do not confirm within a second it is
	// tried once more, and then calls run as ordinary activities; without enough replicas
	// nothing goes through the queue. All workers of a namespace should have the same value.
	// Default 0: a failover may lose the last moments, which runs find out and repeat.
	Replicas int
	// Fsync makes the same steps wait until Redis has them on disk, here and on the Replicas.
	// It needs Redis 7.2 or newer and its setting "appendonly yes". Default false.
	Fsync bool
	// KeyPrefix begins all keys. Temporal clusters that share a Redis must have different
	// ones. Default "slipstream".
	KeyPrefix string

	// Marks are the activities to accelerate. A run keeps to the marks that were in force
	// at its first activity call.
	Marks []Mark
	// Disabled stops routing for new runs, and diverts no activity tasks; runs that were
	// routed go on. Roll a new plugin out disabled to all workers of a task queue, then
	// enable it.
	Disabled bool

	// ActivityTasksInPlace leaves marked activities that arrive as ordinary activity tasks,
	// from workflows that are not routed, to the worker, as without the plugin. Otherwise
	// the worker sends them through the queue too, as long as it has room for more.
	ActivityTasksInPlace bool

	// Concurrency is the number of marked activities that run at a time in each worker,
	// over all its pools, routed or plain; local activities do not count. Default: the
	// worker's MaxConcurrentActivityExecutionSize, which is 1,000 by default. It is
	// required for workers with a Tuner. A pool's stored configuration may set less.
	Concurrency int
	// Window is how long a workflow task may wait for results, so that they come back
	// without a signal. Default 250 ms, at most 2.5 s (a quarter of Temporal's default
	// workflow task time-out); negative means not at all. A mark may have its own.
	Window time.Duration
	// DrainTimeout is how long a stopping worker waits for its marked activities before it
	// gives them to others. Default 10 s.
	DrainTimeout time.Duration
	// Lease is how long a worker that has died keeps its activities; all workers of a
	// namespace must use the same value. Default 5 s, at least 1 s.
	Lease time.Duration
	// PauseAboveMemory is the share of the process's memory limit from which on its workers
	// take no more marked activities; those that run go on, and more are taken below it. The
	// limit is GOMEMLIMIT or that of the container (its control group), whichever is nearer.
	// Default 0.7, at most 1; negative: never.
	PauseAboveMemory float64
	// Slots is the number of partitions of a pool that has no stored configuration.
	// They are neither Temporal's worker slots nor Redis Cluster hash slots. Default 4, at
	// most 1,024.
	Slots int
	// MaxPayloadBytes is the namespace's limit for an activity's arguments and result.
	// Calls with larger arguments run as ordinary activities. Default 2 MiB, Temporal's
	// own, at most 16 MiB.
	MaxPayloadBytes int

	// TracerProvider makes the spans of tasks, from their enqueue to the delivery of their
	// outcomes. Default: OpenTelemetry's global one, which makes none until the program sets
	// another.
	TracerProvider trace.TracerProvider
	// MeterProvider takes the metrics of docs/telemetry.md. Default: OpenTelemetry's global
	// one, which drops them until the program sets another. The SDK's metrics of activities,
	// routed ones among them, go to client.Options.MetricsHandler as ever.
	MeterProvider metric.MeterProvider
	// TextMapPropagator reads the context that a tracing interceptor of the Temporal SDK has
	// written into the header of a call; give the one that the interceptor has, if it has
	// one. Default: W3C trace context and baggage, as there.
	TextMapPropagator propagation.TextMapPropagator
}

const (
	defaultWindow          = 250 * time.Millisecond
	defaultDrainTimeout    = 10 * time.Second
	defaultMaxPayloadBytes = 2 << 20
)

// settings are options with their defaults, checked.
type settings struct {
	Options
	marks map[string]string // type -> pool
	redis redis.UniversalClient
	owned bool // redis was made here
}

// settle checks the options. The error names every field that is wrong, its value and
// the fix.
func (o Options) settle() (*settings, error) {
	s := &settings{Options: o}
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }

	var err error
	if s.marks, err = activity.Resolve(o.Marks); err != nil {
		wrong("Options.Marks: %w", err)
	}
	switch {
	case o.Concurrency < 0:
		wrong("Options.Concurrency is %d; give a positive number, or 0 for the worker's MaxConcurrentActivityExecutionSize", o.Concurrency)
	case o.Concurrency > maxConcurrency:
		wrong("Options.Concurrency is %d; the most is %d per worker: start more workers", o.Concurrency, maxConcurrency)
	}
	switch {
	case o.Window == 0:
		s.Window = defaultWindow
	case o.Window < 0:
		s.Window = 0
	case o.Window > activity.MaxWindow:
		wrong("Options.Window is %v; the most is %v, a quarter of the workflow task time-out", o.Window, activity.MaxWindow)
	}
	switch {
	case o.DrainTimeout == 0:
		s.DrainTimeout = defaultDrainTimeout
	case o.DrainTimeout < 0:
		wrong("Options.DrainTimeout is %v; give a positive duration, or 0 for %v", o.DrainTimeout, defaultDrainTimeout)
	}
	switch {
	case o.MaxPayloadBytes == 0:
		s.MaxPayloadBytes = defaultMaxPayloadBytes
	case o.MaxPayloadBytes < 0 || o.MaxPayloadBytes > batchqueue.MaxTaskBytes-envelopeBytes:
		wrong("Options.MaxPayloadBytes is %d; give 1 to %d, or 0 for Temporal's default of %d",
			o.MaxPayloadBytes, batchqueue.MaxTaskBytes-envelopeBytes, defaultMaxPayloadBytes)
	}
	if err := s.connect(); err != nil {
		errs = append(errs, err)
	}
	// The queue checks its own options. Its real namespace is only known with the client.
	var rdb redis.UniversalClient = placeholder{}
	if s.redis != nil {
		rdb = s.redis
	}
	if _, err := batchqueue.New(rdb, s.queueOptions("namespace")); err != nil {
		wrong("Options: %w", err)
	}
	if len(errs) > 0 {
		if s.owned {
			_ = s.redis.Close()
		}
		return nil, fmt.Errorf("slipstream: %w", errors.Join(errs...))
	}
	return s, nil
}

// placeholder is a Redis client that is never called.
type placeholder struct{ redis.UniversalClient }

const (
	maxConcurrency = 1_000_000
	// envelopeBytes is what a task adds to its arguments, generously.
	envelopeBytes = 64 << 10
)

func (s *settings) queueOptions(namespace string) batchqueue.Options {
	return batchqueue.Options{Namespace: namespace, KeyPrefix: s.KeyPrefix, Lease: s.Lease, Slots: s.Slots,
		PauseAboveMemory: s.PauseAboveMemory, Replicas: s.Replicas, Fsync: s.Fsync}
}

func (s *settings) connect() error {
	given := s.Redis != nil && !isNilPointer(s.Redis)
	switch {
	case s.Redis != nil && !given:
		return errors.New("Options.Redis is a nil pointer; give a Redis client, or set RedisURL")
	case given && s.RedisURL != "":
		return errors.New("Options.Redis and Options.RedisURL are both set; keep one")
	case given && (s.RedisTLS != nil || s.RedisCredentials != nil):
		return errors.New("Options.RedisTLS and Options.RedisCredentials are for RedisURL; set them in the options of the client that Options.Redis is")
	case given:
		s.redis = s.Redis
		return nil
	case s.RedisURL == "":
		return errors.New(`Options.Redis and Options.RedisURL are both empty; set one, for example RedisURL: "redis://localhost:6379"`)
	}
	// A dispatch must come back while its workflow task lives, whatever Redis does, and
	// it makes its own second try.
	rdb, err := redisurl.Open(s.RedisURL, redisurl.Options{TLS: s.RedisTLS, Credentials: s.RedisCredentials, MaxRetries: 1})
	if err != nil {
		return fmt.Errorf("Options.RedisURL cannot be used: %w; write it as %s", err, redisurl.Forms)
	}
	s.redis, s.owned = rdb, true
	return nil
}

func isNilPointer(v any) bool {
	r := reflect.ValueOf(v)
	return r.Kind() == reflect.Pointer && r.IsNil()
}
