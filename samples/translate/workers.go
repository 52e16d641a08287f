package main

import (
	"fmt"
	"log/slog"
	"os"
	"time"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/worker"

	"github.com/slipstream-go/slipstream/plugin"
	"github.com/slipstream-go/slipstream/samples/devstack"
)

// pollers is how many requests for work a worker keeps open per kind: enough that polling never limits a mode.
const pollers = 16

// workers run workflows and steps of one mode until they are stopped.
type workers struct {
	plugins []*plugin.Plugin
	clients []client.Client
	running []worker.Worker
}

// startWorkers starts c.workers of them, each with a connection and, in slipstream mode, a plugin of its own. Apart
// from that plugin both modes have the same settings.
func startWorkers(c config, m mode, stack *devstack.Stack, steps *Activities, t *telemetry) (*workers, error) {
	w := &workers{}
	for range c.workers {
		if err := w.start(c, m, stack, steps, t); err != nil {
			w.stop()
			return nil, err
		}
	}
	return w, nil
}

func (w *workers) start(c config, m mode, stack *devstack.Stack, steps *Activities, t *telemetry) error {
	options, err := clientOptions(stack, t)
	if err != nil {
		return err
	}
	if m == slipstream {
		p, err := usePlugin(&options, stack.RedisURL(), c.concurrency, t)
		if err != nil {
			return err
		}
		w.plugins = append(w.plugins, p)
	}
	cl, err := client.Dial(options)
	if err != nil {
		return fmt.Errorf("cannot connect to Temporal at %s: %w", stack.Temporal(), err)
	}
	w.clients = append(w.clients, cl)
	wk := worker.New(cl, c.queue(m), worker.Options{
		MaxConcurrentActivityExecutionSize: c.concurrency,
		MaxConcurrentActivityTaskPollers:   pollers,
		MaxConcurrentWorkflowTaskPollers:   pollers,
		WorkerStopTimeout:                  5 * time.Second,
	})
	wk.RegisterWorkflow(Translate)
	wk.RegisterActivity(steps)
	if err := wk.Start(); err != nil {
		return fmt.Errorf("worker on task queue %s does not start: %w", c.queue(m), err)
	}
	w.running = append(w.running, wk)
	return nil
}

// stop stops the workers, waits for them and closes their connections.
func (w *workers) stop() {
	for _, wk := range w.running {
		wk.Stop()
	}
	for _, cl := range w.clients {
		cl.Close()
	}
	for _, p := range w.plugins {
		_ = p.Close() // nobody uses the connection any more
	}
}

func clientOptions(stack *devstack.Stack, t *telemetry) (client.Options, error) {
	o := client.Options{
		HostPort:  stack.Temporal(),
		Namespace: stack.Namespace(),
		Logger:    log.NewStructuredLogger(slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))),
	}
	return o, t.useClient(&o)
}
