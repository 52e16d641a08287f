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
	// Findings are the settings that were looked at, up to the first that prevents work.
	Findings []Finding
	// Warnings are the advice of those findings that do not prevent work.
	Warnings []string
}

// Finding is one thing that was looked at.
type Finding struct {
	Setting string
	Found   string
	Verdict Verdict
	// Advice is a sentence for an operator: what is not as it should be, and the fix. Empty
	// if all is well.
	Advice string
}

// Verdict is what to think of a finding.
type Verdict string

// The verdicts of a Check.
const (
	VerdictGood    Verdict = "ok"
	VerdictWarning Verdict = "warning" // it works, but
	VerdictBad     Verdict = "error"   // it cannot work
)

// Check looks whether the server can carry the queue. An error that matches ErrServer
// says what is wrong with it and how to fix it; one that matches ErrUnavailable, that it
// does not answer. Warnings do not prevent work. The report is filled as far as it came.
func (q *Queue) Check(ctx context.Context) (Report, error) {
	began := time.Now()
	if err := q.rdb.Ping(ctx).Err(); err != nil {
		return Report{}, fmt.Errorf("check redis: it does not answer (is the address right, is it running?): %w", unavailable(err))
	}
	r := Report{Persistence: "none"}
	r.good("answers", fmt.Sprintf("in %v", time.Since(began).Round(10*time.Microsecond)))
	raw, err := q.rdb.Info(ctx).Result()
	embedded := err != nil && (strings.Contains(err.Error(), "not supported") || strings.Contains(err.Error(), "wrong number of arguments"))
	if err != nil && !embedded {
		return r, fmt.Errorf("check redis: INFO: %w", unavailable(err))
	}
	info := parseInfo(raw)
	if info["redis_version"] == "" {
		r.Embedded = true
		return r, nil
	}
	r.Version, r.Cluster, r.Persistence = info["redis_version"], info["cluster_enabled"] == "1", persistence(info)
	if err := r.judge(info); err != nil {
		return r, err
	}
	if err := q.checkWrites(ctx); err != nil {
		return r, err
	}
	r.good("writes", "allowed")
	return r, nil
}

func (r *Report) good(setting, found string) {
	r.Findings = append(r.Findings, Finding{Setting: setting, Found: found, Verdict: VerdictGood})
}

func (r *Report) warn(setting, found, advice string) {
	r.Findings = append(r.Findings, Finding{setting, found, VerdictWarning, advice})
	r.Warnings = append(r.Warnings, "redis "+advice)
}

func (r *Report) bad(setting, found, advice string) error {
	r.Findings = append(r.Findings, Finding{setting, found, VerdictBad, advice})
	return fmt.Errorf("check redis: %s: %w", advice, ErrServer)
}

// judge looks at what INFO shows.
func (r *Report) judge(info map[string]string) error {
	if !versionSuffices(r.Version) {
		return r.bad("version", r.Version, fmt.Sprintf("version %s is too old, 7.0 or newer is needed: upgrade the server", r.Version))
	}
	r.good("version", r.Version)
	switch policy := info["maxmemory_policy"]; policy {
	case "noeviction":
		r.good("maxmemory-policy", policy)
	case "": // a service that hides it
	default:
		return r.bad("maxmemory-policy", policy, fmt.Sprintf("maxmemory-policy is %q, which throws tasks away: set it to noeviction (CONFIG SET maxmemory-policy noeviction, and in redis.conf)", policy))
	}
	if info["role"] == "slave" {
		return r.bad("role", "replica", "the server is a replica and read-only: use the primary's address, or a Sentinel or Cluster client")
	}
	r.good("role", "primary")
	switch r.Persistence {
	case "none":
		r.warn("persistence", "none", "keeps nothing on disk: after a restart every open step is found missing and run again; set appendonly yes")
	case "rdb":
		r.warn("persistence", "rdb", "only takes snapshots: after a crash the steps since the last one are run again; set appendonly yes")
	default:
		r.good("persistence", r.Persistence)
	}
	used := info["used_memory_human"] + " used"
	if info["maxmemory"] == "0" {
		r.warn("maxmemory", "none, "+used, "has no maxmemory: a growing backlog ends with the kernel killing it; set maxmemory below the machine's memory")
	} else {
		r.good("maxmemory", info["maxmemory_human"]+", "+used)
	}
	return nil
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
