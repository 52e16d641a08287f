package plugin

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/slipstream-go/slipstream/activity"
	"github.com/slipstream-go/slipstream/batchqueue"
)

// Mark names an activity whose calls go through the queue.
type Mark = activity.Mark

// Options configure the plugin. Redis or RedisURL is required, and marks make it do
// something; the zero value of every other field is a good default.
type Options struct {
	// Redis is the client to use. It stays the caller's to close.
	Redis redis.UniversalClient
	// RedisURL is an address to connect to instead, such as "redis://localhost:6379/0",
	// "rediss://user:password@host:6380" or "unix:///run/redis.sock". Plugin.Close ends
	// the connection.
	RedisURL string
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
	if _, err := batchqueue.New(placeholder{}, s.queueOptions("namespace")); err != nil {
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
	return batchqueue.Options{Namespace: namespace, KeyPrefix: s.KeyPrefix, Lease: s.Lease, Slots: s.Slots, PauseAboveMemory: s.PauseAboveMemory}
}

func (s *settings) connect() error {
	given := s.Redis != nil && !isNilPointer(s.Redis)
	switch {
	case s.Redis != nil && !given:
		return errors.New("Options.Redis is a nil pointer; give a Redis client, or set RedisURL")
	case given && s.RedisURL != "":
		return errors.New("Options.Redis and Options.RedisURL are both set; keep one")
	case given:
		s.redis = s.Redis
		return nil
	case s.RedisURL == "":
		return errors.New(`Options.Redis and Options.RedisURL are both empty; set one, for example RedisURL: "redis://localhost:6379"`)
	}
	o, err := redis.ParseURL(s.RedisURL)
	if err != nil {
		// ParseURL's error may quote the password; the scheme is what is usually wrong.
		return fmt.Errorf("Options.RedisURL is not a Redis URL: %s; write it as redis://[user:password@]host:port[/database], rediss://... or unix://path",
			strings.ReplaceAll(err.Error(), s.RedisURL, "(the URL)"))
	}
	// A dispatch must come back while its workflow task lives, whatever Redis does, and
	// it makes its own second try.
	o.ContextTimeoutEnabled = true
	o.MaxRetries = 1
	o.DialerRetries = 1
	s.redis, s.owned = redis.NewClient(o), true
	return nil
}

func isNilPointer(v any) bool {
	r := reflect.ValueOf(v)
	return r.Kind() == reflect.Pointer && r.IsNil()
}
