package devstack

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/slipstream-go/slipstream/internal/freeport"
)

// portAttempts is how often a free port is chosen: another program may take it before redis-server does.
const portAttempts = 3

// startRedisServer runs the real redis-server as a child process, on a free port unless o names one.
func startRedisServer(ctx context.Context, binary string, o Options) (part, error) {
	if o.RedisPort != 0 {
		return launchRedisServer(ctx, binary, o.RedisPort, o.RedisDir)
	}
	var errs []error
	for range portAttempts {
		port, err := freeport.Find(ctx)
		if err != nil {
			return part{}, err
		}
		p, err := launchRedisServer(ctx, binary, port, o.RedisDir)
		if err == nil || ctx.Err() != nil {
			return p, err
		}
		errs = append(errs, err)
	}
	return part{}, errors.Join(errs...)
}

func launchRedisServer(ctx context.Context, binary string, port int, dataDir string) (_ part, err error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	home, err := os.MkdirTemp("", "slipstream-redis-")
	if err != nil {
		return part{}, fmt.Errorf("devstack: no temporary folder for redis-server: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(home))
		}
	}()

	logFile := filepath.Join(home, "redis.log")
	server, err := StartChild(exec.Command(binary, redisArgs(port, home, dataDir, logFile)...))
	if err != nil {
		return part{}, err
	}
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	version, err := awaitRedis(ctx, server, address)
	if err != nil {
		return part{}, errors.Join(fmt.Errorf("devstack: redis-server on port %d did not start: %w%s", port, err, lastLines(logFile)), server.Stop())
	}
	return part{
		address:  "redis://" + address,
		describe: fmt.Sprintf("Redis: redis-server %s (child process) at %s", version, address),
		stop:     func() error { return errors.Join(server.Stop(), os.RemoveAll(home)) },
	}, nil
}

func redisArgs(port int, home, dataDir, logFile string) []string {
	dir, appendOnly := home, "no"
	if dataDir != "" {
		dir, appendOnly = dataDir, "yes"
	}
	return []string{
		"--port", strconv.Itoa(port),
		"--bind", "127.0.0.1",
		"--dir", dir,
		"--logfile", logFile,
		"--save", "",
		"--appendonly", appendOnly,
		"--maxmemory", "2gb", // full is an error that programs can handle, a killed server is not
		"--maxmemory-policy", "noeviction",
		"--daemonize", "no",
	}
}

// awaitRedis returns the server's version once it answers.
func awaitRedis(ctx context.Context, server *Child, address string) (string, error) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		version, err := redisVersion(ctx, address, server.cmd.Process.Pid)
		if err == nil {
			return version, nil
		}
		select {
		case <-server.exited:
			return "", fmt.Errorf("it ended: %w", server.err)
		case <-ctx.Done():
			return "", fmt.Errorf("%w: %w", ctx.Err(), err)
		case <-tick.C:
		}
	}
}

// redisVersion asks the Redis at address, which must be the process pid and not another that took the port.
func redisVersion(ctx context.Context, address string, pid int) (string, error) {
	rdb, err := dialRedis(ctx, &redis.Options{Network: "tcp", Addr: address})
	if err != nil {
		return "", err
	}
	defer rdb.Close()
	info, err := rdb.InfoMap(ctx, "server").Result()
	if err != nil {
		return "", err
	}
	if other := info["Server"]["process_id"]; other != strconv.Itoa(pid) {
		return "", fmt.Errorf("the port belongs to another Redis, process %s", other)
	}
	return info["Server"]["redis_version"], nil
}

// lastLines is the end of a log, for an error message: what redis-server says is the cause is there.
func lastLines(path string) string {
	const keep = 5
	log, err := os.ReadFile(path)
	if err != nil || len(log) == 0 {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(log)), "\n")
	return "; its log ends with:\n" + strings.Join(lines[max(0, len(lines)-keep):], "\n")
}
