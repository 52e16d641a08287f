package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	sdkactivity "go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"
	sdkworkflow "go.temporal.io/sdk/workflow"

	"github.com/slipstream-go/slipstream/internal/redistest"
	"github.com/slipstream-go/slipstream/plugin"
	"github.com/slipstream-go/slipstream/workflow"
)

// The settings of the children, which are this test's program again.
const (
	childTaskQueue = "SLIPSTREAM_TEST_TASK_QUEUE"
	childRedis     = "SLIPSTREAM_TEST_REDIS"
	childTemporal  = "SLIPSTREAM_TEST_TEMPORAL"
	childNamespace = "SLIPSTREAM_TEST_NAMESPACE"
	childMended    = "SLIPSTREAM_TEST_MENDED" // once this file is there, Ship does not kill its worker
)

// shipLease is short, because the test waits for leases of workers that died.
const shipLease = time.Second

func order(ctx sdkworkflow.Context, id string) (string, error) {
	ctx = sdkworkflow.WithActivityOptions(ctx, sdkworkflow.ActivityOptions{
		StartToCloseTimeout: time.Minute,
		RetryPolicy:         &temporal.RetryPolicy{InitialInterval: 10 * time.Millisecond, MaximumInterval: 10 * time.Millisecond},
	})
	var packed, shipped string
	if err := sdkworkflow.ExecuteActivity(ctx, "Pack", id).Get(ctx, &packed); err != nil {
		return "", err
	}
	if err := sdkworkflow.Sleep(ctx, time.Millisecond); err != nil { // another workflow task makes the next call
		return "", err
	}
	if err := sdkworkflow.ExecuteActivity(ctx, "Ship", packed).Get(ctx, &shipped); err != nil {
		return "", err
	}
	var greeting string
	sdkworkflow.GetSignalChannel(ctx, "greeting").Receive(ctx, &greeting)
	return shipped + " " + greeting, nil
}

func shopPlugin(redisURL string) (*plugin.Plugin, error) {
	return plugin.New(plugin.Options{RedisURL: redisURL, Lease: shipLease, Marks: []plugin.Mark{{Activity: "Pack"}, {Activity: "Ship"}}})
}

func shopClient(ctx context.Context, p *plugin.Plugin, address, namespace string) (client.Client, error) {
	return client.DialContext(ctx, client.Options{HostPort: address, Namespace: namespace, Plugins: []client.Plugin{p},
		Logger: log.NewStructuredLogger(slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})))})
}

// child is a worker of the activities. Ship kills it until somebody mends that.
func child() int {
	p, err := shopPlugin(os.Getenv(childRedis))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer p.Close()
	c, err := shopClient(context.Background(), p, os.Getenv(childTemporal), os.Getenv(childNamespace))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer c.Close()
	w := worker.New(c, os.Getenv(childTaskQueue), worker.Options{DisableWorkflowWorker: true})
	w.RegisterActivityWithOptions(func(_ context.Context, id string) (string, error) {
		return id + " packed", os.WriteFile(filepath.Join(filepath.Dir(os.Getenv(childMended)), fmt.Sprintf("packed-%d", time.Now().UnixNano())), nil, 0o600)
	}, activityName("Pack"))
	w.RegisterActivityWithOptions(func(_ context.Context, id string) (string, error) {
		if _, err := os.Stat(os.Getenv(childMended)); err != nil {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
		return id + " shipped", nil
	}, activityName("Ship"))
	if err := w.Run(worker.InterruptCh()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func activityName(name string) sdkactivity.RegisterOptions {
	return sdkactivity.RegisterOptions{Name: name}
}

// keepAlive starts the child again whenever it died, until the test ends.
func (d *desk) keepAlive(taskQueue, mended string) {
	ctx, cancel := context.WithCancel(context.Background())
	var wait sync.WaitGroup
	wait.Go(func() {
		for ctx.Err() == nil {
			cmd := exec.CommandContext(ctx, os.Args[0])
			cmd.Env = append(os.Environ(), childTaskQueue+"="+taskQueue, childRedis+"="+d.redis.URL(), childTemporal+"="+server.address,
				childNamespace+"="+server.namespace, childMended+"="+mended)
			cmd.Stderr = os.Stderr
			cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
			cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
			_ = cmd.Run() // dying is what it is for
		}
	})
	d.Cleanup(func() {
		cancel()
		wait.Wait()
	})
}

// A step kills its workers until it is given up, and its workflow fails. Somebody mends the step, redrives it, and the
// workflow finishes.
func TestRedrivenTaskFinishesItsWorkflow(t *testing.T) {
	needTemporal(t)
	d := newDesk(t)
	d.namespace, d.temporal = server.namespace, server.address
	taskQueue := fmt.Sprintf("orders-%d", time.Now().UnixNano())
	mended := filepath.Join(t.TempDir(), "mended")
	d.keepAlive(taskQueue, mended)

	p, err := shopPlugin(d.redis.URL())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	c, err := shopClient(t.Context(), p, server.address, server.namespace)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	w := worker.New(c, taskQueue, worker.Options{LocalActivityWorkerOnly: true})
	w.RegisterWorkflowWithOptions(order, sdkworkflow.RegisterOptions{Name: "order"})
	require.NoError(t, w.Start())
	t.Cleanup(w.Stop)

	redistest.Eventually(t, time.Minute, "the pool is known", func() bool {
		code, _, _ := d.run("config", "set", taskQueue, "--poison-limit", "1")
		return code == exitOK
	})
	run, err := c.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{ID: taskQueue, TaskQueue: taskQueue}, "order", "books")
	require.NoError(t, err)
	require.NoError(t, c.SignalWorkflow(t.Context(), taskQueue, "", "greeting", "with love"))
	redistest.Eventually(t, time.Minute, "the step is being tried again", func() bool {
		var d1 describeJSON
		d.json(&d1, "describe", taskQueue)
		return d1.Status == "Running" && len(d1.Calls) == 1 && d1.Calls[0].Type == "Ship" && d1.Calls[0].Losses > 0
	})

	var failure *temporal.ApplicationError
	require.ErrorAs(t, run.Get(t.Context(), nil), &failure)
	require.Equal(t, workflow.ErrorTypePoison, failure.Type())
	var dead letterList
	d.json(&dead, "dead", "list", taskQueue)
	require.Len(t, dead.Letters, 1)
	l := dead.Letters[0]
	require.Equal(t, []any{"Ship", taskQueue, run.GetRunID(), run.GetRunID(), 5}, []any{l.Type, l.Workflow, l.WorkflowRun, l.Run, l.Losses})

	code, stdout, stderr := d.run("dead", "redrive", taskQueue, l.ID, "--yes")
	require.Equal(t, exitRefused, code)
	require.Contains(t, stdout, "has been told of the failure and would drop another outcome; --reset takes it back to before")
	require.Contains(t, stderr, "1 dead letter of 1 stayed")

	require.NoError(t, os.WriteFile(mended, nil, 0o600))
	d.fails(exitRefused, "resets workflow "+taskQueue+" to event", "dead", "redrive", taskQueue, l.ID, "--reset")
	var out []redriven
	d.json(&out, "dead", "redrive", taskQueue, l.ID, "--reset", "--yes")
	require.Equal(t, []redriven{{ID: l.ID, Done: "reset", Workflow: taskQueue, NewRun: out[0].NewRun}}, out)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var result string
	require.NoError(t, c.GetWorkflow(ctx, taskQueue, out[0].NewRun).Get(ctx, &result))
	require.Equal(t, "books packed shipped with love", result, "signals are applied again")
	packed, err := filepath.Glob(filepath.Join(filepath.Dir(mended), "packed-*"))
	require.NoError(t, err)
	require.Len(t, packed, 1, "what came before the call is not done again")
	require.Contains(t, d.ok("dead", "list"), "There are no dead letters.")
	redistest.Eventually(t, time.Minute, "the last outcome is acknowledged", func() bool {
		return strings.Contains(d.ok("describe", taskQueue), "No open calls in the queue.")
	})
	require.Contains(t, d.ok("check"), "pool "+taskQueue)
}
