package devstack

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"strconv"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
)

func startRedis(ctx context.Context, o Options) (part, error) {
	if o.Redis != "" {
		return connectRedis(ctx, o.Redis)
	}
	if binary, err := exec.LookPath("redis-server"); err == nil {
		return startRedisServer(ctx, binary, o)
	}
	if o.RedisDir != "" {
		return part{}, fmt.Errorf("devstack: keeping data in %s needs a real redis-server, and none is on PATH: install redis-server, or drop the folder", o.RedisDir)
	}
	return startMiniredis(o.RedisPort)
}

// connectRedis checks a Redis that somebody else runs.
func connectRedis(ctx context.Context, url string) (part, error) {
	options, err := parseRedisURL(url)
	if err != nil {
		return part{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, externalTimeout)
	defer cancel()
	rdb, err := dialRedis(ctx, options)
	if err == nil {
		defer rdb.Close()
		err = rdb.Ping(ctx).Err()
	}
	if err != nil {
		return part{}, fmt.Errorf("devstack: no Redis answers at %s (%w): start it, or correct -redis", options.Addr, err)
	}
	return part{address: url, describe: "Redis: server at " + options.Addr}, nil
}

// startMiniredis runs the Redis written in Go: no child process, but also not the real thing.
func startMiniredis(port int) (part, error) {
	m := miniredis.NewMiniRedis()
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	if err := m.StartAddr(address); err != nil {
		return part{}, fmt.Errorf("devstack: miniredis cannot listen on %s: %w; choose another port", address, err)
	}
	return part{
		address:  "redis://" + m.Addr(),
		describe: fmt.Sprintf("Redis: miniredis (in this process, no redis-server on PATH) at %s", m.Addr()),
		stop:     func() error { m.Close(); return nil },
	}, nil
}

// dialRedis makes a client for a server that listens. The client alone would try five times, and log each.
func dialRedis(ctx context.Context, options *redis.Options) (*redis.Client, error) {
	conn, err := new(net.Dialer).DialContext(ctx, options.Network, options.Addr)
	if err != nil {
		return nil, err
	}
	return redis.NewClient(options), conn.Close()
}

// parseRedisURL never puts the URL into its error: it may hold a password.
func parseRedisURL(url string) (*redis.Options, error) {
	options, err := redis.ParseURL(url)
	if err != nil {
		return nil, fmt.Errorf("devstack: the Redis URL is not valid (%w); write it like redis://:PASSWORD@localhost:6379/0", err)
	}
	return options, nil
}
