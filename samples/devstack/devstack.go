package devstack

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"time"
)

// startTimeout bounds the start of each server. One that somebody else runs has externalTimeout: it is there or not.
const (
	startTimeout    = time.Minute
	externalTimeout = 10 * time.Second
)

// Options says what to start and what to connect to. The zero value starts everything.
type Options struct {
	// Temporal is the HOST:PORT of a running Temporal server. Empty: an embedded one is started.
	Temporal string
	// Namespace is the namespace to use on that server, which must have it. Default: "default". An embedded
	// server brings its own namespace, so Namespace without Temporal is an error.
	Namespace string
	// TemporalFile is the SQLite file in which the embedded server keeps its data, so that the next one goes on where this
	// one ended, however it ended. It is made where it is missing. Empty: everything is in memory.
	TemporalFile string
	// TemporalPort is the port of the embedded server with a TemporalFile. 0: any free port.
	TemporalPort int
	// Redis is the URL of a running Redis, such as redis://localhost:6379/0. Empty: one is started.
	Redis string
	// RedisPort is the port of the Redis that is started. 0: any free port.
	RedisPort int
	// RedisDir makes the started redis-server keep its data (append-only file) in this folder, which must exist.
	// Empty: nothing is kept.
	RedisDir string
	// NoRedis starts and checks no Redis at all; RedisURL is empty then.
	NoRedis bool
}

// BindFlags adds -temporal, -namespace and -redis to flags. They fill o once flags is parsed.
func (o *Options) BindFlags(flags *flag.FlagSet) {
	flags.StringVar(&o.Temporal, "temporal", o.Temporal, "`HOST:PORT` of a running Temporal server (default: an embedded one)")
	flags.StringVar(&o.Namespace, "namespace", o.Namespace, "namespace on the server that -temporal names (default \"default\")")
	flags.StringVar(&o.Redis, "redis", o.Redis, "`URL` of a running Redis, redis://HOST:PORT/DB (default: one is started)")
}

// Validate reports the first option that cannot be right, without starting or contacting anything. Start calls it.
func (o Options) Validate() error {
	if o.Temporal == "" && o.Namespace != "" {
		return fmt.Errorf("devstack: namespace %q needs a server: add -temporal HOST:PORT, or drop -namespace (the embedded server brings its own)", o.Namespace)
	}
	if o.Temporal != "" {
		if err := validateHostPort(o.Temporal); err != nil {
			return err
		}
	}
	if o.Temporal != "" && (o.TemporalFile != "" || o.TemporalPort != 0) {
		return errors.New("devstack: TemporalFile and TemporalPort are for a server that is started here; drop them, or drop the Temporal address")
	}
	if o.TemporalPort != 0 && o.TemporalFile == "" {
		return fmt.Errorf("devstack: Temporal port %d needs a file: add TemporalFile, or drop the port (a server in memory takes any)", o.TemporalPort)
	}
	if o.TemporalPort < 0 || o.TemporalPort > 65535 {
		return fmt.Errorf("devstack: Temporal port %d is not a port; use 1 to 65535, or 0 for a free one", o.TemporalPort)
	}
	if o.Redis != "" {
		if _, err := parseRedisURL(o.Redis); err != nil {
			return err
		}
		if o.RedisPort != 0 || o.RedisDir != "" {
			return errors.New("devstack: RedisPort and RedisDir are for a Redis that is started here; drop them, or drop the Redis URL")
		}
	}
	if o.RedisPort < 0 || o.RedisPort > 65535 {
		return fmt.Errorf("devstack: Redis port %d is not a port; use 1 to 65535, or 0 for a free one", o.RedisPort)
	}
	return nil
}

// Stack is a running Temporal server and Redis. Its addresses stay the same until Stop.
type Stack struct {
	temporal part
	redis    part
}

// part is one half of a stack. stop is nil where somebody else owns the server.
type part struct {
	address   string
	namespace string
	describe  string
	pid       int // of the child process it runs in, 0 if there is none
	stop      func() error
	kill      func() error // nil where there is no child process
}

// Start starts or checks what o asks for and returns when both halves answer. ctx bounds the start only: what was
// started runs until Stop. On an error nothing is left running.
func Start(ctx context.Context, o Options) (*Stack, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	var s Stack
	var err error
	if !o.NoRedis {
		if s.redis, err = startRedis(ctx, o); err != nil {
			return nil, err
		}
	}
	if s.temporal, err = startTemporal(ctx, o); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return &s, nil
}

// Temporal is the HOST:PORT of the server's frontend.
func (s *Stack) Temporal() string { return s.temporal.address }

// Namespace is a namespace that exists on the server.
func (s *Stack) Namespace() string { return s.temporal.namespace }

// TemporalPID is the process ID of the Temporal server where it runs in a child process of this one, else 0.
func (s *Stack) TemporalPID() int { return s.temporal.pid }

// KillTemporal ends the process of the Temporal server as a crash would, where it runs in a child process of this one, and
// returns once it is gone. The error says if it ended in another way, or before. Stop is still to be called.
func (s *Stack) KillTemporal() error {
	if s.temporal.kill == nil {
		return errors.New("devstack: the Temporal server does not run in a child process")
	}
	return s.temporal.kill()
}

// RedisURL is the URL of the Redis, or empty with Options.NoRedis.
func (s *Stack) RedisURL() string { return s.redis.address }

// Describe says in one line what runs where.
func (s *Stack) Describe() string {
	if s.redis.describe == "" {
		return s.temporal.describe
	}
	return s.temporal.describe + "; " + s.redis.describe
}

// Stop stops what Start started, waits for it and removes its data. What was only connected to keeps running.
// Calling it again does nothing.
func (s *Stack) Stop() error {
	var errs []error
	for _, p := range []*part{&s.temporal, &s.redis} {
		if p.stop != nil {
			errs = append(errs, p.stop())
			p.stop = nil
		}
	}
	return errors.Join(errs...)
}
