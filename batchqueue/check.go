package batchqueue

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
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
	// Findings are what was looked at, up to the first that prevents work. In a cluster they are
	// those of the master that needs somebody most.
	Findings []Finding
	// Warnings are the advice of those findings that Check returns no error for.
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
	VerdictBad     Verdict = "error"   // it cannot work, or is about to stop
)

// Check looks whether the server can carry the queue, in a cluster every master. An error
// that matches ErrServer says what is wrong with it and how to fix it; one that matches
// ErrUnavailable, that it does not answer. Warnings do not prevent work, nor does a memory
// that is full: who comes then may make room. The report is filled as far as it came.
func (q *Queue) Check(ctx context.Context) (Report, error) {
	began := time.Now()
	if err := q.rdb.Ping(ctx).Err(); err != nil {
		if errors.Is(unavailable(err), ErrDenied) {
			return Report{}, q.denied(err)
		}
		if why := q.turnedAway(ctx); why != "" {
			return Report{}, fmt.Errorf("check redis: it takes no connection: %s: %w", why, unavailable(err))
		}
		return Report{}, fmt.Errorf("check redis: it does not answer (is the address right, is it running?): %w", unavailable(err))
	}
	took := time.Since(began).Round(10 * time.Microsecond)
	servers, away, err := q.servers(ctx)
	switch {
	case errors.Is(err, ErrDenied):
		return Report{}, q.denied(err)
	case err != nil:
		return Report{}, fmt.Errorf("check redis: INFO: %w", err)
	}
	r := Report{Persistence: "none"}
	for i, info := range servers {
		one := Report{Persistence: persistence(info), Version: info["redis_version"], Cluster: info["cluster_enabled"] == "1"}
		one.good("answers", fmt.Sprintf("in %v", took))
		if one.Version == "" {
			one.Embedded = true
			return one, nil
		}
		if err := one.judge(info, q.opts); err != nil {
			return one, err
		}
		if i == 0 || one.trouble() > r.trouble() {
			r = one
		}
	}
	if len(away) > 0 {
		r.warn("masters", fmt.Sprintf("%d of %d answer", len(servers), len(servers)+len(away)),
			"does not answer at "+strings.Join(away, ", ")+": what has its place there waits until it does")
	}
	if _, alone := q.rdb.(*redis.Client); alone && r.Cluster && q.isOneOfMany(ctx) {
		return r, r.bad("cluster", "a node of a cluster", "the server is one node of a cluster, and the client talks to no other: "+
			"give a Cluster client, or name a further node in the URL (?addr=HOST:PORT)")
	}
	return r, q.checkUser(ctx, &r)
}

// servers reads INFO of the server, or of each master of a cluster; away are the masters that
// do not answer. An error means that nobody does.
func (q *Queue) servers(ctx context.Context) (infos []map[string]string, away []string, err error) {
	cluster, ok := q.rdb.(*redis.ClusterClient)
	if !ok {
		raw, err := q.rdb.Info(ctx).Result()
		embedded := err != nil && (strings.Contains(err.Error(), "not supported") || strings.Contains(err.Error(), "wrong number of arguments"))
		if err != nil && !embedded {
			return nil, nil, unavailable(err)
		}
		return []map[string]string{parseInfo(raw)}, nil, nil
	}
	var mu sync.Mutex
	err = cluster.ForEachMaster(ctx, func(ctx context.Context, node *redis.Client) error {
		raw, err := node.Info(ctx).Result()
		mu.Lock()
		defer mu.Unlock()
		if err != nil && !errors.Is(unavailable(err), ErrDenied) {
			away = append(away, node.Options().Addr)
			return nil
		}
		infos = append(infos, parseInfo(raw))
		return err
	})
	if err == nil && len(infos) == 0 {
		err = fmt.Errorf("none of %s answers", strings.Join(away, ", "))
	}
	if err != nil {
		return nil, nil, unavailable(err)
	}
	slices.Sort(away)
	return infos, away, nil
}

// turnedAway returns what a server says to who connects and says nothing: one that has too
// many clients tells why, and closes. Who writes first, as clients do, sees a broken pipe.
func (q *Queue) turnedAway(ctx context.Context) string {
	client, ok := q.rdb.(*redis.Client)
	if !ok {
		return ""
	}
	o := client.Options()
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	conn, err := o.Dialer(ctx, o.Network, o.Addr)
	if err != nil {
		return ""
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetReadDeadline(time.Now().Add(time.Second / 2))
	line, _ := bufio.NewReader(conn).ReadString('\n')
	if !strings.HasPrefix(line, "-") {
		return ""
	}
	return strings.TrimSpace(line[1:])
}

// isOneOfMany tells whether a node of a cluster shares its hash slots with others.
func (q *Queue) isOneOfMany(ctx context.Context) bool {
	return parseInfo(q.rdb.ClusterInfo(ctx).Val())["cluster_size"] > "1"
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

// trouble orders reports by how much somebody has to do.
func (r *Report) trouble() (n int) {
	for _, f := range r.Findings {
		switch f.Verdict {
		case VerdictGood:
		case VerdictWarning:
			n++
		case VerdictBad:
			n += 100
		}
	}
	return n
}

// judge looks at what INFO shows.
func (r *Report) judge(info map[string]string, o Options) error {
	if !versionSuffices(r.Version, 7, 0) {
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
	if err := r.judgeDurability(info, o); err != nil {
		return err
	}
	r.judgeMemory(info)
	return nil
}

// Above these parts of maxmemory somebody should make room, and has little time left to.
const (
	memoryShort = 0.80
	memoryGone  = 0.95
)

// judgeMemory looks how much of its memory the server has used. Even a full one prevents no
// work: who comes then may make room.
func (r *Report) judgeMemory(info map[string]string) {
	used, _ := strconv.ParseFloat(info["used_memory"], 64)
	most, err := strconv.ParseFloat(info["maxmemory"], 64)
	found := info["used_memory_human"] + " used"
	switch share := used / most; {
	case err != nil: // a service that hides it
		r.good("maxmemory", found)
	case most == 0:
		r.warn("maxmemory", "none, "+found, "has no maxmemory: a growing backlog ends with the kernel killing it; set maxmemory below the machine's memory")
	case share <= memoryShort:
		r.good("maxmemory", info["maxmemory_human"]+", "+found)
	default:
		r.warn("maxmemory", info["maxmemory_human"]+", "+found, fmt.Sprintf("has used %.0f %% of its maxmemory, and refuses new tasks when it is full: "+
			"let it finish what waits (add workers, slipstream drain), or raise maxmemory (CONFIG SET maxmemory, and in redis.conf)", 100*share))
		if share > memoryGone {
			r.Findings[len(r.Findings)-1].Verdict = VerdictBad
		}
	}
}

// judgeDurability looks whether the server can give what Options.Replicas and Options.Fsync
// ask for.
func (r *Report) judgeDurability(info map[string]string, o Options) error {
	if o.Fsync {
		switch {
		case !versionSuffices(r.Version, 7, 2):
			return r.bad("fsync", "not known to "+r.Version, fmt.Sprintf("Options.Fsync needs WAITAOF, which version %s does not have: upgrade the server to 7.2 or newer, or unset it", r.Version))
		case r.Persistence != "aof":
			return r.bad("fsync", "no append-only file", "Options.Fsync needs an append-only file: set appendonly yes, or unset it")
		}
		r.good("fsync", "append-only file")
	}
	if o.Replicas > 0 {
		connected, _ := strconv.Atoi(info["connected_slaves"])
		found := fmt.Sprintf("%d of %d", connected, o.Replicas)
		if connected < o.Replicas {
			r.warn("replicas", found, fmt.Sprintf("has %d of the %d replicas that Options.Replicas asks for: nothing goes through the queue until it has them; start them, or ask for fewer", connected, o.Replicas))
		} else {
			r.good("replicas", found)
		}
	}
	return nil
}

// versionSuffices is false for servers older than major.minor. A version nobody can read is
// given the benefit of the doubt.
func versionSuffices(version string, major, minor int) bool {
	var m, n int
	if _, err := fmt.Sscanf(version, "%d.%d", &m, &n); err != nil {
		return true
	}
	return m > major || (m == major && n >= minor)
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
