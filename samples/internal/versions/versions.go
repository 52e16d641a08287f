// Package versions names what a sample ran on, for its report.
package versions

import (
	"context"
	"runtime"
	"runtime/debug"

	"github.com/redis/go-redis/v9"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"

	"github.com/slipstream-go/slipstream/samples/devstack"
)

// reportedModules are those whose version bears on the figures.
var reportedModules = []string{
	"github.com/slipstream-go/slipstream",
	"go.temporal.io/sdk",
	"go.temporal.io/server",
	"github.com/redis/go-redis/v9",
}

// Of says what a run ran on: this program's Go and modules, and the servers'. What cannot be found out is left out: it
// must not fail a run that succeeded.
func Of(ctx context.Context, c client.Client, stack *devstack.Stack) map[string]string {
	found := map[string]string{"go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH}
	if build, ok := debug.ReadBuildInfo(); ok {
		modules := make(map[string]string)
		for _, m := range append(build.Deps, &build.Main) {
			modules[m.Path] = m.Version
		}
		for _, path := range reportedModules {
			if v := modules[path]; v != "" {
				found[path] = v
			}
		}
	}
	if info, err := c.WorkflowService().GetSystemInfo(ctx, &workflowservice.GetSystemInfoRequest{}); err == nil {
		found["temporal server"] = info.GetServerVersion()
	}
	if v := redisVersion(ctx, stack.RedisURL()); v != "" {
		found["redis server"] = v
	}
	return found
}

func redisVersion(ctx context.Context, url string) string {
	options, err := redis.ParseURL(url)
	if err != nil {
		return ""
	}
	rdb := redis.NewClient(options)
	defer rdb.Close()
	info, err := rdb.InfoMap(ctx, "server").Result()
	if err != nil {
		return ""
	}
	return info["Server"]["redis_version"]
}
