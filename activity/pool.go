package activity

import (
	"strings"

	sdkactivity "go.temporal.io/sdk/activity"

	"github.com/slipstream-go/slipstream/internal/wire"
)

// PoolName is the name under which the queue knows a pool: the task queue, the optional
// pool name of the mark and, where worker versioning is on, the build that serves it.
// The parts are escaped, so that no two triples share a name.
//
// The name stands in dispatch markers and in Redis: it never changes. Neither does that
// of UnpinnedPoolName.
func PoolName(taskQueue, pool, build string) string {
	name := escapePoolPart(taskQueue)
	if pool != "" {
		name += "/" + escapePoolPart(pool)
	}
	if build != "" {
		name += "@" + escapePoolPart(build)
	}
	return name
}

// unpinnedSuffix follows the build. No part has an @ of its own.
const unpinnedSuffix = "@unpinned"

// UnpinnedPoolName names the pool beside PoolName's for tasks of runs that Temporal moves
// to newer builds. When no worker of the build is left, a newer one serves it.
func UnpinnedPoolName(taskQueue, pool, build string) string {
	return PoolName(taskQueue, pool, build) + unpinnedSuffix
}

// isUnpinned tells whether the pool is one of the task queue's whose tasks belong to runs
// that are not pinned to a build: those of UnpinnedPoolName, and those without a build.
func isUnpinned(pool, taskQueue string) bool {
	rest, ok := strings.CutPrefix(pool, escapePoolPart(taskQueue))
	if !ok || (rest != "" && rest[0] != '/' && rest[0] != '@') {
		return false
	}
	return !strings.Contains(rest, "@") || (strings.Count(rest, "@") == 2 && strings.HasSuffix(rest, unpinnedSuffix))
}

var poolPartEscaper = strings.NewReplacer("%", "%25", "/", "%2f", "@", "%40")

func escapePoolPart(s string) string { return poolPartEscaper.Replace(s) }

// runPools names the pools of a run's calls. The build is that of the worker that
// dispatches; on another task queue it means nothing.
type runPools struct {
	w         *Worker // nil in an unknown worker
	taskQueue string  // of the run
	unpinned  bool
}

func poolsOf(w *Worker, info sdkactivity.Info) runPools {
	return runPools{w, info.TaskQueue, w != nil && w.unpinned(info.WorkflowType.Name)}
}

func (p runPools) name(c *wire.Call) string {
	taskQueue := c.TaskQueue
	if taskQueue == "" {
		taskQueue = p.taskQueue
	}
	switch {
	case p.w == nil || taskQueue != p.w.taskQueue:
		return PoolName(taskQueue, c.Pool, "")
	case p.unpinned:
		return UnpinnedPoolName(taskQueue, c.Pool, p.w.build)
	}
	return PoolName(taskQueue, c.Pool, p.w.build)
}
