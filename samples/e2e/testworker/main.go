// Command testworker is a worker process for end-to-end tests, to be stopped or killed by them. It prints "ready"
// once it works and "step" whenever an activity starts, and stops on SIGTERM or when its standard input ends.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/slipstream-go/slipstream/activity"
	"github.com/slipstream-go/slipstream/plugin"
	"github.com/slipstream-go/slipstream/samples/e2e/scenario"
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
	flag.Parse()

	options := client.Options{
		HostPort:  *temporal,
		Namespace: *namespace,
		Logger:    log.NewStructuredLogger(slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))),
	}
	steps := &scenario.Steps{Worker: *name, Started: func() { fmt.Println("step") }, Stuck: *stuck}
	if *redisURL != "" {
		p, err := plugin.New(plugin.Options{
			RedisURL:    *redisURL,
			Marks:       []activity.Mark{{Activity: steps.Double}},
			Concurrency: *concurrency, DrainTimeout: *drain,
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
	wo := worker.Options{MaxConcurrentActivityExecutionSize: *concurrency, WorkerStopTimeout: 5 * time.Second, DisableWorkflowWorker: *activitiesOnly}
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
	default:
		w.RegisterWorkflowWithOptions(scenario.Pipelines, workflow.RegisterOptions{Name: scenario.PinnedPipelines, VersioningBehavior: workflow.VersioningBehaviorPinned})
		w.RegisterWorkflowWithOptions(scenario.Pipelines, workflow.RegisterOptions{Name: scenario.UnpinnedPipelines, VersioningBehavior: workflow.VersioningBehaviorAutoUpgrade})
	}
	w.RegisterActivity(steps)
	if err := w.Start(); err != nil {
		return err
	}
	defer w.Stop()
	fmt.Println("ready")
	<-ctx.Done()
	return nil
}
