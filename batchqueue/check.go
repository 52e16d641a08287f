package batchqueue

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Report is what Check found about the Redis server.
type Report struct {
	// Version as the server says it; "" when it does not say.
	Version string
	// Embedded is true for miniredis.
	Embedded bool
	Cluster  bool
	// Persistence is "aof", "rdb" or "none".
	Persistence string
	// Warnings are sentences for an operator: what is not as it should be, and the fix.
	Warnings []string
}

// Check looks whether the server can carry the queue. An error that matches ErrServer
// says what is wrong with it and how to fix it; one that matches ErrUnavailable, that it
// does not answer. Warnings do not prevent work.
func (q *Queue) Check(ctx context.Context) (Report, error) {
	if err := q.rdb.Ping(ctx).Err(); err != nil {
		return Report{}, fmt.Errorf("check redis: it does not answer (is the address right, is it running?): %w", unavailable(err))
	}
	raw, err := q.rdb.Info(ctx).Result()
	if err != nil {
		if strings.Contains(err.Error(), "not supported") || strings.Contains(err.Error(), "wrong number of arguments") {
			return Report{Embedded: true, Persistence: "none"}, nil
		}
		return Report{}, fmt.Errorf("check redis: INFO: %w", unavailable(err))
	}
	info := parseInfo(raw)
	r := Report{Version: info["redis_version"], Cluster: info["cluster_enabled"] == "1", Persistence: persistence(info)}
	if r.Version == "" {
		return Report{Embedded: true, Persistence: "none"}, nil
	}
	if !versionSuffices(r.Version) {
		return r, fmt.Errorf("check redis: version %s is too old, 7.0 or newer is needed: upgrade the server: %w", r.Version, ErrServer)
	}
	if policy := info["maxmemory_policy"]; policy != "" && policy != "noeviction" {
		return r, fmt.Errorf("check redis: maxmemory-policy is %q, which throws tasks away: set it to noeviction (CONFIG SET maxmemory-policy noeviction, and in redis.conf): %w", policy, ErrServer)
	}
	if info["role"] == "slave" {
		return r, fmt.Errorf("check redis: the server is a replica and read-only: use the primary's address, or a Sentinel or Cluster client: %w", ErrServer)
	}
	if r.Persistence == "none" {
		r.Warnings = append(r.Warnings, "redis keeps nothing on disk: after a restart every open step is found missing and run again; set appendonly yes")
	}
	if r.Persistence == "rdb" {
		r.Warnings = append(r.Warnings, "redis only takes snapshots: after a crash the steps since the last one are run again; set appendonly yes")
	}
	if info["maxmemory"] == "0" {
		r.Warnings = append(r.Warnings, "redis has no maxmemory: a growing backlog ends with the kernel killing it; set maxmemory below the machine's memory")
	}
	return r, q.checkWrites(ctx)
}

// versionSuffices is false for servers older than 7.0. A version nobody can read is given
// the benefit of the doubt.
func versionSuffices(version string) bool {
	major, _, _ := strings.Cut(version, ".")
	n, err := strconv.Atoi(major)
	return err != nil || n >= 7
}

// checkWrites finds what INFO does not show: missing permissions and disk errors.
func (q *Queue) checkWrites(ctx context.Context) error {
	err := q.rdb.Set(ctx, q.keys.pool("")+"check", 1, time.Second).Err()
	switch {
	case err == nil:
		return nil
	case strings.HasPrefix(err.Error(), "NOPERM"), strings.HasPrefix(err.Error(), "NOAUTH"):
		return fmt.Errorf("check redis: the user may not write keys %s:*: grant it with ACL SETUSER (~%s:* &%s:* +@all -@dangerous +info): %w: %w",
			q.opts.KeyPrefix, q.opts.KeyPrefix, q.opts.KeyPrefix, ErrServer, err)
	case strings.HasPrefix(err.Error(), "READONLY"), strings.HasPrefix(err.Error(), "MISCONF"):
		return fmt.Errorf("check redis: it takes no writes: %w: %w", ErrServer, err)
	case strings.HasPrefix(err.Error(), "OOM"):
		return fmt.Errorf("check redis: it is full: raise maxmemory or make room: %w: %w", ErrFull, err)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("check redis: %w", err)
	default:
		return fmt.Errorf("check redis: %w", unavailable(err))
	}
}

func parseInfo(raw string) map[string]string {
	out := map[string]string{}
	for line := range strings.Lines(raw) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			out[key] = value
		}
	}
	return out
}

func persistence(info map[string]string) string {
	switch {
	case info["aof_enabled"] == "1":
		return "aof"
	case info["rdb_saves"] != "" && info["rdb_saves"] != "0":
		return "rdb"
	default:
		return "none"
	}
}
