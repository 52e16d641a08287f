package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"go.temporal.io/sdk/client"

	"github.com/slipstream-go/slipstream/activity"
	"github.com/slipstream-go/slipstream/plugin"
)

// stage is everything that runs: servers, cables, workers, and the harness's own clients, which go past all cables.
type stage struct {
	dir      string
	program  string // of the workers
	patience patience
	temporal *temporalServer
	redis    *redisServer
	spare    int // how many replicas have been made
	network  *network
	fleet    []*member
	foreign  *member

	// losses counts the times that Redis has lost data. Who keeps a batch there alone asks.
	losses atomic.Int64
	client client.Client
	queue  *activity.Queue
	plugin *plugin.Plugin
	// own is the cable of the harness to Redis: it leads to the server that counts.
	own *cable

	mu         sync.Mutex // protects violations
	violations []string
}

// violatef notes that something is not as it should be.
func (s *stage) violatef(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.violations = append(s.violations, fmt.Sprintf(format, args...))
}

func (s *stage) found() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.violations
}

func (s *stage) journals() string { return filepath.Join(s.dir, "journals") }

// setStage starts everything. On an error nothing is left running.
func setStage(ctx context.Context, c *config, dir string) (_ *stage, err error) {
	redis.SetLogger(discard{}) // connections break here, and that is not news
	s := &stage{dir: dir, program: c.program, patience: c.patience, violations: []string{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close(context.WithoutCancel(ctx)))
		}
	}()
	if err := os.MkdirAll(s.journals(), 0o700); err != nil {
		return nil, err
	}
	if s.temporal, err = startTemporal(ctx, dir); err != nil {
		return nil, err
	}
	if s.redis, err = startRedis(ctx, filepath.Join(dir, "redis-0")); err != nil {
		return nil, err
	}
	s.network = newNetwork()
	if s.own, err = s.network.cable("redis-own", s.redis.address()); err != nil {
		return nil, err
	}
	if err := s.startFleet(ctx, c.workers); err != nil {
		return nil, err
	}
	return s, s.connect(ctx)
}

func (s *stage) startFleet(ctx context.Context, workers int) (err error) {
	if s.foreign, err = s.newMember(0, workerConfig{marks: "all", foreign: true}); err != nil {
		return err
	}
	if err := s.foreign.start(ctx); err != nil {
		return err
	}
	for number := range workers {
		m, err := s.newMember(number+1, workerConfig{marks: "all"})
		if err != nil {
			return err
		}
		if err := m.start(ctx); err != nil {
			return err
		}
		s.fleet = append(s.fleet, m)
	}
	return nil
}

// connect makes the clients of the harness.
func (s *stage) connect(ctx context.Context) (err error) {
	s.plugin, err = plugin.New(plugin.Options{RedisURL: "redis://" + s.own.address, Marks: markSets["all"], Lease: lease})
	if err != nil {
		return err
	}
	s.queue = s.plugin.Queue()
	s.client, err = client.DialContext(ctx, client.Options{
		HostPort: s.temporal.address(), Logger: quiet{}, Plugins: []client.Plugin{s.plugin},
	})
	return err
}

// close stops everything.
func (s *stage) close(ctx context.Context) error {
	var errs []error
	if s.client != nil {
		s.client.Close()
	}
	if s.plugin != nil {
		errs = append(errs, s.plugin.Close())
	}
	errs = append(errs, s.stopFleet(ctx))
	if s.network != nil {
		s.network.close()
	}
	if s.redis != nil {
		errs = append(errs, s.redis.stop())
	}
	if s.temporal != nil {
		errs = append(errs, s.temporal.stop())
	}
	return errors.Join(errs...)
}

// stopFleet stops all workers in order, those of the fleet side by side.
func (s *stage) stopFleet(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	members := s.fleet
	if s.foreign != nil {
		members = append(members, s.foreign)
	}
	errs := make([]error, len(members))
	var open sync.WaitGroup
	for i, m := range members {
		open.Go(func() { errs[i] = m.end(ctx) })
	}
	open.Wait()
	s.fleet, s.foreign = nil, nil
	return errors.Join(errs...)
}

// discard drops what go-redis logs, for the same reason.
type discard struct{}

func (discard) Printf(context.Context, string, ...any) {}

// quiet drops what the SDK logs: what matters to the harness are errors, and what faults do to its calls is expected.
type quiet struct{}

func (quiet) Debug(string, ...any) {}
func (quiet) Info(string, ...any)  {}
func (quiet) Warn(string, ...any)  {}
func (quiet) Error(string, ...any) {}
