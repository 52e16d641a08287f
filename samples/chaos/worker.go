package main

import (
	"context"
	"errors"
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

	"github.com/slipstream-go/slipstream/activity"
	"github.com/slipstream-go/slipstream/plugin"
)

// roleWorker as the first argument makes this program a worker.
const roleWorker = "worker"

const (
	concurrency = 200
	// drain is short, so that deployments find handlers that have not ended by then.
	drain = 2 * time.Second
	lease = 5 * time.Second // the plugin's default
)

// workerConfig is what a worker process is told.
type workerConfig struct {
	temporal, redisURL, journal string
	number                      int
	marks                       string // a key of markSets
	older                       bool   // by one protocol version
	foreign                     bool   // without the plugin, and for its own workflows only
}

func (c *workerConfig) bindFlags(flags *flag.FlagSet) {
	flags.StringVar(&c.temporal, "temporal", "", "`HOST:PORT` of the Temporal server")
	flags.StringVar(&c.redisURL, "redis", "", "`URL` of Redis")
	flags.StringVar(&c.journal, "journal", "", "`FOLDER` of the journals")
	flags.IntVar(&c.number, "number", 0, "number of this worker")
	flags.StringVar(&c.marks, "marks", "all", "which activities are marked")
	flags.BoolVar(&c.older, "older", false, "write records as the protocol version before")
	flags.BoolVar(&c.foreign, "foreign", false, "be the worker without the plugin")
}

// args is the command line that bindFlags reads.
func (c *workerConfig) args() []string {
	return []string{
		roleWorker, "-temporal", c.temporal, "-redis", c.redisURL, "-journal", c.journal, "-number", fmt.Sprint(c.number),
		"-marks", c.marks, fmt.Sprintf("-older=%t", c.older), fmt.Sprintf("-foreign=%t", c.foreign),
	}
}

// markSets are what deployments mark. A deployment with "off" has the plugin disabled: runs that were routed go on.
var markSets = map[string][]activity.Mark{
	"all":   {{Activity: steps.Step}, {Activity: steps.Once}, {Activity: steps.Hop}, {Activity: steps.Extra}},
	"fewer": {{Activity: steps.Step}, {Activity: steps.Hop}},
	"off":   {{Activity: steps.Step}, {Activity: steps.Once}, {Activity: steps.Hop}, {Activity: steps.Extra}},
}

// runWorker is a worker process: it prints readyLine once it works, and stops in order on SIGTERM, or when its standard
// input ends.
func runWorker(args []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	go func() { // ends with standard input, at the latest with the process: nothing can interrupt a read
		_, _ = io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	var c workerConfig
	flags := flag.NewFlagSet(roleWorker, flag.ContinueOnError)
	c.bindFlags(flags)
	if err := flags.Parse(args); err != nil {
		return err
	}
	if c.foreign {
		return c.runForeign(ctx)
	}
	return c.run(ctx)
}

func (c *workerConfig) clientOptions() client.Options {
	return client.Options{
		HostPort: c.temporal,
		Identity: fmt.Sprintf("worker %d, process %d", c.number, os.Getpid()),
		Logger:   log.NewStructuredLogger(slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))),
	}
}

func (c *workerConfig) run(ctx context.Context) (err error) {
	j, err := openJournal(c.journal, c.number)
	if err != nil {
		return err
	}
	p, err := plugin.New(plugin.Options{
		RedisURL:     c.redisURL,
		Marks:        markSets[c.marks],
		Disabled:     c.marks == "off",
		Concurrency:  concurrency,
		DrainTimeout: drain,
		Lease:        lease,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	o := c.clientOptions()
	o.Plugins = []client.Plugin{p}
	if c.older {
		o.DataConverter = newOlderConverter()
	}
	cl, err := client.DialContext(ctx, o)
	if err != nil {
		return err
	}
	defer cl.Close()
	w := worker.New(cl, mainQueue, worker.Options{MaxConcurrentActivityExecutionSize: concurrency, WorkerStopTimeout: drain})
	for _, s := range shapes {
		if s.queue == mainQueue {
			w.RegisterWorkflow(s.workflow)
		}
	}
	w.RegisterActivity(&Steps{journal: j})
	return c.serve(ctx, w)
}

// runForeign has workflows alone: the task queue that it polls has no activities.
func (c *workerConfig) runForeign(ctx context.Context) error {
	cl, err := client.DialContext(ctx, c.clientOptions())
	if err != nil {
		return err
	}
	defer cl.Close()
	w := worker.New(cl, foreignQueue, worker.Options{LocalActivityWorkerOnly: true})
	for _, s := range shapes {
		if s.queue == foreignQueue {
			w.RegisterWorkflow(s.workflow)
		}
	}
	return c.serve(ctx, w)
}

func (c *workerConfig) serve(ctx context.Context, w worker.Worker) error {
	if err := w.Start(); err != nil {
		return err
	}
	defer w.Stop()
	fmt.Println(c.readyLine())
	<-ctx.Done()
	return nil
}

// readyLine is what the process says of itself once it works. What is to be seen from outside is in it.
func (c *workerConfig) readyLine() string {
	return fmt.Sprintf("ready marks=%s older=%t", c.marks, c.older)
}
