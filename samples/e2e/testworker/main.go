// Command testworker is a worker process for end-to-end tests, to be stopped or killed by them. It prints "ready"
// once it works, "step" whenever an activity starts and "claimed N" at its end, N tasks in all, and stops on SIGTERM or
// when its standard input ends.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
	"google.golang.org/grpc"

	"github.com/slipstream-go/slipstream/activity"
	"github.com/slipstream-go/slipstream/plugin"
	"github.com/slipstream-go/slipstream/samples/e2e/scenario"
	"github.com/slipstream-go/slipstream/samples/e2e/tenant"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	go func() { // ends with standard input, at the latest with the process: nothing can interrupt a read
		_, _ = io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "testworker:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) (err error) {
	temporal := flag.String("temporal", "", "`HOST:PORT` of the Temporal server")
	namespace := flag.String("namespace", "", "namespace")
	redisURL := flag.String("redis", "", "`URL` of Redis; without, the plugin is not installed")
	taskQueue := flag.String("task-queue", "", "task queue")
	name := flag.String("name", "", "name of this worker in results")
	concurrency := flag.Int("concurrency", 100, "activities side by side")
	deployment := flag.String("deployment", "", "deployment of this worker, which makes it a versioned one")
	build := flag.String("build", "", "build ID within the deployment")
	stuck := flag.Bool("stuck", false, "steps end with their contexts only")
	drain := flag.Duration("drain", 0, "how long activities may run on at stop; 0: the plugin's default")
	activitiesOnly := flag.Bool("activities-only", false, "leave workflows to another worker")
	failures := flag.Int("failures", 0, "how many attempts of a step fail first")
	lease := flag.Duration("lease", 0, "how long this worker keeps its tasks if it dies; 0: the plugin's default")
	window := flag.Duration("window", 0, "how long a workflow task waits for results; 0: the plugin's default")
	sticky := flag.Duration("sticky", 0, "how long a workflow task waits for this worker before others get it; 0: the SDK's default")
	types := flag.String("types", "Double,Attempt", "the activity types that it has")
	strict := flag.Bool("strict", false, "refuse what has no tenant in its header")
	sessions := flag.Bool("sessions", false, "take sessions too")
	localOnly := flag.Bool("local-only", false, "run local activities only")
	die := flag.String("die", "", "`POINT` at which this process kills itself, such as before:settle.complete:1")
	flag.Parse()

	options := client.Options{
		HostPort:  *temporal,
		Namespace: *namespace,
		Logger:    log.NewStructuredLogger(slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))),
	}
	if *strict {
		options.ContextPropagators = []workflow.ContextPropagator{tenant.Propagator{}}
	}
	steps := &scenario.Steps{Worker: *name, Started: func() { fmt.Println("step") }, Stuck: *stuck, Failures: *failures}
	activities := map[string]any{"Double": steps.Double, "Attempt": steps.Attempt}
	maps.DeleteFunc(activities, func(name string, _ any) bool { return !slices.Contains(strings.Split(*types, ","), name) })
	claims := metric.NewManualReader()
	var d *death
	if *die != "" {
		if d, err = parseDeath(*die); err != nil {
			return err
		}
		options.ConnectionOptions.DialOptions = append(options.ConnectionOptions.DialOptions, grpc.WithChainUnaryInterceptor(d.interceptor))
		steps.Started = func() {
			fmt.Println("step")
			d.pass(false, "step")
		}
	}
	if *redisURL != "" {
		o, err := redis.ParseURL(*redisURL)
		if err != nil {
			return err
		}
		rdb := redis.NewClient(o)
		defer rdb.Close()
		if d != nil {
			rdb.AddHook(d)
		}
		var marks []activity.Mark
		for name := range activities {
			marks = append(marks, activity.Mark{Activity: name})
		}
		p, err := plugin.New(plugin.Options{
			Redis: rdb, Marks: marks, MeterProvider: metric.NewMeterProvider(metric.WithReader(claims)),
			Concurrency: *concurrency, DrainTimeout: *drain, Lease: *lease, Window: *window,
		})
		if err != nil {
			return err
		}
		defer p.Close()
		options.Plugins = []client.Plugin{p}
	}
	c, err := client.DialContext(ctx, options)
	if err != nil {
		return err
	}
	defer c.Close()
	wo := worker.Options{
		StickyScheduleToStartTimeout: *sticky, MaxConcurrentActivityExecutionSize: *concurrency, WorkerStopTimeout: 5 * time.Second,
		DisableWorkflowWorker: *activitiesOnly, EnableSessionWorker: *sessions, LocalActivityWorkerOnly: *localOnly,
	}
	if *deployment != "" {
		wo.DeploymentOptions = worker.DeploymentOptions{
			UseVersioning: true,
			Version:       worker.WorkerDeploymentVersion{DeploymentName: *deployment, BuildID: *build},
		}
	}
	w := worker.New(c, *taskQueue, wo)
	switch {
	case *activitiesOnly:
	case *deployment == "":
		w.RegisterWorkflow(scenario.Pipelines)
		w.RegisterWorkflow(scenario.OneCall)
		w.RegisterWorkflow(scenario.FanOut)
	default:
		w.RegisterWorkflowWithOptions(scenario.FanOut, workflow.RegisterOptions{VersioningBehavior: workflow.VersioningBehaviorAutoUpgrade})
		w.RegisterWorkflowWithOptions(scenario.Pipelines, workflow.RegisterOptions{Name: scenario.PinnedPipelines, VersioningBehavior: workflow.VersioningBehaviorPinned})
		w.RegisterWorkflowWithOptions(scenario.Pipelines, workflow.RegisterOptions{Name: scenario.UnpinnedPipelines, VersioningBehavior: workflow.VersioningBehaviorAutoUpgrade})
	}
	for _, a := range activities {
		w.RegisterActivity(a)
	}
	if err := w.Start(); err != nil {
		return err
	}
	fmt.Println("ready")
	<-ctx.Done()
	w.Stop()
	return tellClaims(claims)
}

// tellClaims prints how many tasks this worker claimed.
func tellClaims(claims *metric.ManualReader) error {
	var all metricdata.ResourceMetrics
	if err := claims.Collect(context.Background(), &all); err != nil && !errors.Is(err, metric.ErrReaderNotRegistered) {
		return err
	}
	n := int64(0)
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			if sizes, ok := m.Data.(metricdata.Histogram[int64]); ok && m.Name == "slipstream.claim.size" {
				for _, p := range sizes.DataPoints {
					n += p.Sum
				}
			}
		}
	}
	fmt.Println("claimed", n)
	return nil
}
