package fidelity

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"

	"github.com/slipstream-go/slipstream/plugin"
)

// processVariable makes this test binary a worker process: it holds its processOptions.
const processVariable = "FIDELITY_WORKER"

// processOptions say what a worker process connects to. Without a Redis it has no plugin.
type processOptions struct {
	Temporal, Namespace, Redis, TaskQueue, Identity string
}

// process is a worker of activities that runs as a process of its own, so that it can be killed.
type process struct {
	cmd    *exec.Cmd
	stdin  io.Closer
	starts atomic.Int64
	ready  chan struct{} // closed once it works
	first  chan struct{} // closed at the first start of a handler
	gone   chan struct{} // closed when it has ended
}

// startProcess starts a process whose handler of "Act" heartbeats and never returns by itself.
func (p *play) startProcess() *process {
	p.t.Helper()
	o := processOptions{Temporal: stack.Temporal(), Namespace: stack.Namespace(), TaskQueue: p.taskQueue, Identity: p.identity + "-process"}
	if p.mode == routed {
		o.Redis = p.pluginOptions.RedisURL
	}
	encoded, err := json.Marshal(o)
	require.NoError(p.t, err)
	binary, err := os.Executable()
	require.NoError(p.t, err)
	w := &process{ready: make(chan struct{}), first: make(chan struct{}), gone: make(chan struct{})}
	w.cmd = exec.CommandContext(p.ctx, binary)
	w.cmd.Env = append(os.Environ(), processVariable+"="+string(encoded))
	w.cmd.Stderr = p.t.Output()
	w.stdin, err = w.cmd.StdinPipe()
	require.NoError(p.t, err)
	out, err := w.cmd.StdoutPipe()
	require.NoError(p.t, err)
	require.NoError(p.t, w.cmd.Start())
	go w.follow(out)
	p.t.Cleanup(w.kill)
	p.receive("the worker process", w.ready)
	return w
}

func (w *process) follow(out io.Reader) {
	defer close(w.gone)
	var started sync.Once
	for lines := bufio.NewScanner(out); lines.Scan(); {
		switch lines.Text() {
		case "ready":
			close(w.ready)
		case "started":
			w.starts.Add(1)
			started.Do(func() { close(w.first) })
		}
	}
	_ = w.cmd.Wait() // it was killed
}

// kill ends the process as a crash would, and waits until it is gone.
func (w *process) kill() {
	_ = w.cmd.Process.Kill() // fails if it is gone, which is the aim
	<-w.gone
	_ = w.stdin.Close()
}

// runProcess is what the process does, until its standard input closes.
func runProcess(encoded string) error {
	var o processOptions
	if err := json.Unmarshal([]byte(encoded), &o); err != nil {
		return err
	}
	options := client.Options{HostPort: o.Temporal, Namespace: o.Namespace, Identity: o.Identity}
	if o.Redis != "" {
		p, err := plugin.New(plugin.Options{RedisURL: o.Redis, Marks: []plugin.Mark{{Activity: "Act"}}})
		if err != nil {
			return err
		}
		options.Plugins = []client.Plugin{p}
	}
	c, err := client.DialContext(context.Background(), options)
	if err != nil {
		return err
	}
	w := worker.New(c, o.TaskQueue, worker.Options{DisableWorkflowWorker: true, WorkerStopTimeout: time.Second})
	w.RegisterActivityWithOptions(func(ctx context.Context) (string, error) {
		fmt.Println("started")
		for ctx.Err() == nil {
			activity.RecordHeartbeat(ctx, "alive")
			select {
			case <-ctx.Done():
			case <-time.After(50 * time.Millisecond):
			}
		}
		return "", ctx.Err()
	}, activity.RegisterOptions{Name: "Act"})
	if err := w.Start(); err != nil {
		return err
	}
	fmt.Println("ready")
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}
