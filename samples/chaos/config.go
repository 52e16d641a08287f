package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"time"
)

// config is what the flags say, validated.
type config struct {
	seeds     []uint64
	kinds     []*kind
	duration  time.Duration // 0: one round
	workflows int           // 0: by the duration
	workers   int
	short     bool
	patience  patience
	jsonFile  string
	list      bool
	program   string // of the workers
}

const (
	defaultSeed    = 1
	defaultWorkers = 4
	// perSecond is how many workflows are started per second, unless a number was given.
	perSecond = 6
	// shortWorkflows and shortWorkers are those of -short.
	shortWorkflows = 200
	shortWorkers   = 3
)

// parseConfig reads flags. The error is flag.ErrHelp after -h.
func parseConfig(args []string, output io.Writer) (config, error) {
	var c config
	var seed uint64
	var seeds int
	var faults string
	flags := flag.NewFlagSet("chaos", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // run prints the error, once
	flags.Uint64Var(&seed, "seed", defaultSeed, "seed of the schedule of faults and of the workflows")
	flags.IntVar(&seeds, "seeds", 0, "run so many times, with fresh seeds")
	flags.DurationVar(&c.duration, "duration", 0, "time in which faults happen (default: what one round of them takes)")
	flags.IntVar(&c.workflows, "workflows", 0, fmt.Sprintf("workflows to start over the duration, about; fewer where the machine is too slow (default: %d a second)", perSecond))
	flags.IntVar(&c.workers, "workers", defaultWorkers, "worker processes")
	flags.StringVar(&faults, "faults", "", "`LIST` of faults with commas between (default: all)")
	flags.BoolVar(&c.short, "short", false, fmt.Sprintf("a few kinds of faults, %d workflows, %d workers", shortWorkflows, shortWorkers))
	flags.StringVar(&c.jsonFile, "json", "", "write the accounts to `FILE`")
	flags.BoolVar(&c.list, "list", false, "list the faults and the workflows")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(output, "chaos proves that nothing is lost. go doc ./samples/chaos says how.\n\n")
		flags.SetOutput(output)
		flags.PrintDefaults()
		return c, err
	case err != nil:
		return c, fmt.Errorf("%w; see -h", err)
	case flags.NArg() > 0:
		return c, fmt.Errorf("unexpected argument %q; every option starts with a dash, see -h", flags.Arg(0))
	}
	if c.list {
		return c, nil
	}
	given := map[string]bool{}
	flags.Visit(func(f *flag.Flag) { given[f.Name] = true })
	if given["seed"] && given["seeds"] {
		return c, errors.New("-seed and -seeds are both given; a seed that you know needs no fresh one")
	}
	c.seeds = []uint64{seed}
	if given["seeds"] {
		c.seeds = nil
		for range seeds {
			c.seeds = append(c.seeds, rand.Uint64N(1_000_000))
		}
	}
	names := splitNames(faults)
	c.patience = usualPatience
	if c.short {
		c.patience = shortPatience
		if len(names) == 0 {
			names = shortKinds
		}
		if !given["workflows"] {
			c.workflows = shortWorkflows
		}
		if !given["workers"] {
			c.workers = shortWorkers
		}
	}
	return c, c.settle(names)
}

func (c *config) settle(names []string) (err error) {
	switch {
	case len(c.seeds) == 0:
		return errors.New("-seeds is not positive; give 1 or more")
	case c.workers < 2 || c.workers > 50:
		return fmt.Errorf("-workers is %d; use 2 to 50: somebody must take over", c.workers)
	case c.workflows < 0:
		return fmt.Errorf("-workflows is %d; use 1 or more, or 0 for %d a second", c.workflows, perSecond)
	case c.duration < 0:
		return fmt.Errorf("-duration is %s; give a positive one, or 0 for one round of faults", c.duration)
	}
	c.kinds = kinds
	if len(names) > 0 {
		if c.kinds, err = chooseKinds(names); err != nil {
			return err
		}
	}
	if runtime.GOOS == "windows" {
		return errors.New("processes cannot be stopped and killed here as a Unix does it; run it on one")
	}
	if _, err := exec.LookPath("redis-server"); err != nil {
		return errors.New("redis-server is not on PATH, and a stand-in cannot be killed; install redis-server (make setup)")
	}
	c.program, err = os.Executable()
	return err
}
