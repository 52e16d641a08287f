package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/slipstream-go/slipstream/samples/devstack"
)

// A mode is how the steps run: as plain Temporal activities, or through Slipstream.
type mode string

const (
	standard   mode = "standard"
	slipstream mode = "slipstream"
	both       mode = "both"
)

// A role is which part of the job this process does.
type role string

const (
	roleAll     role = "all"
	roleWorker  role = "worker"
	roleStarter role = "starter"
)

// config is what the flags say, validated.
type config struct {
	mode        mode
	role        role
	n           int
	standardN   int
	perWorkflow int
	input       string
	workers     int
	concurrency int
	jsonFile    string
	taskQueue   string
	otlp        string
	metrics     string
	trace       bool
	translator  string
	latency     time.Duration
	anthropic   anthropicConfig
	stack       devstack.Options
}

const (
	anthropicBaseURL = "https://api.anthropic.com"
	anthropicModel   = "claude-haiku-4-5"
	// maxPerWorkflow keeps a workflow's history and result within Temporal's limits with room to spare.
	maxPerWorkflow = 10_000
)

// parseConfig reads flags, and the environment for the Anthropic settings. The error is flag.ErrHelp after -h.
func parseConfig(args []string, output io.Writer) (config, error) {
	var c config
	flags := flag.NewFlagSet("translate", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // run prints the error, once
	c.bind(flags)
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(output, usage)
		flags.SetOutput(output)
		flags.PrintDefaults()
		return c, err
	case err != nil:
		return c, fmt.Errorf("%w; see -h", err)
	case flags.NArg() > 0:
		return c, fmt.Errorf("unexpected argument %q; every option starts with a dash, see -h", flags.Arg(0))
	}
	c.anthropic.key = cmp.Or(c.anthropic.key, os.Getenv("ANTHROPIC_API_KEY"))
	if c.trace { // one pipeline is enough to read
		c.n, c.perWorkflow = 1, 1
		c.mode = cmp.Or(c.mode, slipstream)
	}
	if c.mode == "" {
		c.mode = both
		if c.role != roleAll {
			c.mode = slipstream
		}
	}
	return c, c.validate()
}

const usage = `translate turns sentences into Spanish and back into English and counts their letters,
once with plain Temporal activities and once through Slipstream, and compares the two.

  go run ./samples/translate
  go run ./samples/translate -translator apertium -input /usr/share/common-licenses/GPL-3 -n 300

`

func (c *config) bind(flags *flag.FlagSet) {
	flags.StringVar((*string)(&c.mode), "mode", "", "standard (plain activities), slipstream, or both (default both; slipstream for a single role)")
	flags.StringVar((*string)(&c.role), "role", string(roleAll), "all, or one part in a process of its own: worker, starter")
	flags.IntVar(&c.n, "n", 1000, "sentences to translate (with -input: at most)")
	flags.IntVar(&c.standardN, "standard-n", 1000, "with -mode both: sentences for the standard run, which is the slow one")
	flags.IntVar(&c.perWorkflow, "per-workflow", 100, "sentences per workflow; 1 is a workflow for each")
	flags.StringVar(&c.input, "input", "", "UTF-8 text `FILE`, one sentence a line or wrapped (default: built-in sentences)")
	flags.IntVar(&c.workers, "workers", 1, "workers in this process, each with its own connection and executor")
	flags.IntVar(&c.concurrency, "concurrency", 1000, "steps that run side by side in each worker, in both modes")
	flags.StringVar(&c.jsonFile, "json", "", "write configuration, versions and all figures to `FILE`")
	flags.StringVar(&c.otlp, "otlp", "", "send traces and metrics to the OpenTelemetry collector at `HOST:PORT` (gRPC, not encrypted)")
	flags.StringVar(&c.metrics, "metrics", "", "serve metrics for Prometheus at http://`HOST:PORT`/metrics, under the names that a collector would give them")
	flags.BoolVar(&c.trace, "trace", false, "translate one sentence and print its trace, from the workflow's start to the last delivery (implies -n 1, and -mode slipstream unless -mode is given)")
	flags.StringVar(&c.taskQueue, "task-queue", "translate", "task queue; the mode is appended")
	flags.StringVar(&c.translator, "translator", "mock", "mock, apertium (offline engine) or anthropic (Messages API)")
	flags.DurationVar(&c.latency, "latency", 100*time.Millisecond, "how long the mock translator takes")
	flags.StringVar(&c.anthropic.baseURL, "anthropic-base-url", cmp.Or(os.Getenv("ANTHROPIC_BASE_URL"), anthropicBaseURL), "`URL` of the Messages API (environment: ANTHROPIC_BASE_URL)")
	flags.StringVar(&c.anthropic.key, "anthropic-key", "", "API key (better in the environment: ANTHROPIC_API_KEY)")
	flags.StringVar(&c.anthropic.model, "anthropic-model", cmp.Or(os.Getenv("ANTHROPIC_MODEL"), anthropicModel), "model (environment: ANTHROPIC_MODEL)")
	c.stack.BindFlags(flags)
}

// validate reports the first setting that cannot work: which flag, what it is, what it may be.
func (c *config) validate() error {
	for _, f := range []struct {
		flag       string
		value, max int
	}{
		{"-n", c.n, 10_000_000},
		{"-standard-n", c.standardN, 10_000_000},
		{"-per-workflow", c.perWorkflow, maxPerWorkflow},
		{"-workers", c.workers, 1000},
		{"-concurrency", c.concurrency, 100_000},
	} {
		if f.value < 1 || f.value > f.max {
			return fmt.Errorf("%s is %d; use 1 to %d", f.flag, f.value, f.max)
		}
	}
	if err := oneOf("-mode", c.mode, standard, slipstream, both); err != nil {
		return err
	}
	if err := oneOf("-role", c.role, roleAll, roleWorker, roleStarter); err != nil {
		return err
	}
	if err := oneOf("-translator", c.translator, "mock", "apertium", "anthropic"); err != nil {
		return err
	}
	switch {
	case c.latency < 0:
		return fmt.Errorf("-latency is %s; use 0s or more", c.latency)
	case strings.TrimSpace(c.taskQueue) == "":
		return errors.New("-task-queue is empty; name a task queue, or drop the flag")
	}
	if err := c.validateAddresses(); err != nil {
		return err
	}
	if err := c.validateRole(); err != nil {
		return err
	}
	return c.stack.Validate()
}

// validateAddresses finds what is no address here, not after servers have been started.
func (c *config) validateAddresses() error {
	for _, f := range []struct{ flag, address string }{{"-otlp", c.otlp}, {"-metrics", c.metrics}} {
		if f.address == "" {
			continue
		}
		if _, port, err := net.SplitHostPort(f.address); err != nil || port == "" {
			return fmt.Errorf("%s %q is not HOST:PORT; write it like localhost:9464", f.flag, f.address)
		}
	}
	return nil
}

func (c *config) validateRole() error {
	switch {
	case c.role == roleAll:
		return nil
	case c.trace:
		return fmt.Errorf("-trace shows the spans of this process, and with -role %s others have a part of them; drop one of the two", c.role)
	case c.mode == both:
		return fmt.Errorf("-role %s does one mode at a time; add -mode slipstream or -mode standard", c.role)
	case c.stack.Temporal == "":
		return fmt.Errorf("-role %s needs a server that other processes share; add -temporal HOST:PORT", c.role)
	case c.role == roleWorker && c.mode == slipstream && c.stack.Redis == "":
		return errors.New("-role worker needs a Redis that other workers share; add -redis URL")
	}
	return nil
}

// modes are the runs to make, in their order.
func (c *config) modes() []mode {
	if c.mode == both {
		return []mode{standard, slipstream}
	}
	return []mode{c.mode}
}

// sentencesFor is what a mode gets of the whole input.
func (c *config) sentencesFor(m mode, all []string) []string {
	if m == standard && c.mode == both {
		return all[:min(len(all), c.standardN)]
	}
	return all
}

// queue is the task queue of a mode: each has its own, so that no worker takes the other's work.
func (c *config) queue(m mode) string { return c.taskQueue + "-" + string(m) }

func oneOf[T ~string](flag string, value T, known ...T) error {
	if slices.Contains(known, value) {
		return nil
	}
	names := make([]string, len(known))
	for i, k := range known {
		names[i] = string(k)
	}
	return fmt.Errorf("%s %q is not known; use %s", flag, value, strings.Join(names, ", "))
}
