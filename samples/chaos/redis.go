package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/slipstream-go/slipstream/internal/freeport"
	"github.com/slipstream-go/slipstream/samples/devstack"
)

// redisServer is a redis-server with an append-only file, which can be killed and started again. One goroutine at a time
// may use it.
type redisServer struct {
	dir     string
	port    int
	args    []string
	process *devstack.Child
	db      *redis.Client // past all proxies
	id      string        // run_id of the process
}

func startRedis(ctx context.Context, dir string, args ...string) (*redisServer, error) {
	port, err := freeport.Find(ctx)
	if err != nil {
		return nil, err
	}
	r := &redisServer{dir: dir, port: port, args: args}
	// It is asked whether it is there, so it must not answer from a pool of dead connections.
	r.db = redis.NewClient(&redis.Options{Addr: r.address(), MaxRetries: -1, DialerRetries: 1, PoolSize: 2})
	if err := r.start(ctx); err != nil {
		return nil, errors.Join(err, r.stop())
	}
	return r, nil
}

func (r *redisServer) address() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(r.port)) }

// start starts the process on the port and the data that it has, and returns once it answers.
func (r *redisServer) start(ctx context.Context) (err error) {
	if err := os.MkdirAll(r.dir, 0o700); err != nil {
		return err
	}
	args := append([]string{
		"--port", strconv.Itoa(r.port), "--bind", "127.0.0.1", "--dir", r.dir, "--logfile", filepath.Join(r.dir, "redis.log"),
		"--save", "", "--appendonly", "yes", "--appendfsync", "everysec",
		"--maxmemory", "2gb", "--maxmemory-policy", "noeviction", "--daemonize", "no",
	}, r.args...)
	if r.process, err = devstack.StartChild(exec.Command("redis-server", args...)); err != nil {
		return err
	}
	return until(ctx, time.Minute, fmt.Sprintf("redis-server answers at %s", r.address()), func() bool {
		r.id, err = r.runID(ctx)
		return err == nil
	})
}

// runID is the process's, once it serves.
func (r *redisServer) runID(ctx context.Context) (string, error) {
	info, err := r.db.InfoMap(ctx, "server", "persistence").Result()
	if err != nil {
		return "", err
	}
	server := info["Server"]
	if server["process_id"] != strconv.Itoa(r.process.PID()) {
		return "", fmt.Errorf("the port belongs to process %s", server["process_id"])
	}
	if loading := info["Persistence"]["loading"]; loading != "0" { // it answers INFO, and nothing else
		return "", fmt.Errorf("it is loading its data (%s)", loading)
	}
	return server["run_id"], nil
}

// replication returns a field of INFO replication.
func (r *redisServer) replication(ctx context.Context, field string) string {
	info, err := r.db.InfoMap(ctx, "replication").Result()
	if err != nil {
		return ""
	}
	return info["Replication"][field]
}

func (r *redisServer) offset(ctx context.Context, field string) int64 {
	n, err := strconv.ParseInt(r.replication(ctx, field), 10, 64)
	if err != nil {
		return -1
	}
	return n
}

// kill ends it as a crash would.
func (r *redisServer) kill() error { return r.process.Kill() }

// wipe removes the data of a killed server.
func (r *redisServer) wipe() error { return os.RemoveAll(filepath.Join(r.dir, "appendonlydir")) }

func (r *redisServer) stop() error {
	err := r.db.Close()
	if r.process != nil {
		err = errors.Join(err, r.process.Stop())
	}
	return err
}

// until waits for a condition, looking often. The error says what it waited for.
func until(ctx context.Context, within time.Duration, what string, condition func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("chaos: not within %s: %s", within, what)
		case <-tick.C:
		}
	}
	return nil
}
