package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"

	"github.com/slipstream-go/slipstream/samples/devstack"
)

// A suite is a set of sizes, one for each case.
type suite string

const (
	seed  suite = "seed"  // every case once, as small as it makes sense: does the benchmark work?
	quick suite = "quick" // a few minutes
	full  suite = "full"  // the sizes that the targets are about
)

// config is what the flags say, validated.
type config struct {
	suite       suite
	cases       []*benchCase
	reps        int // 0: as the suite says
	variants    []string
	jsonFile    string
	htmlFile    string
	cpuProfiles string
	memProfiles string
	strict      bool
	list        bool
	stack       devstack.Options
}

const usage = `bench measures Slipstream against plain Temporal activities, other queues and arithmetic.

  go run ./samples/bench
  go run ./samples/bench -suite full -json out.json -html out.html
  go run ./samples/bench -case echo-10k -variant slipstream -cpuprofile /tmp/profiles

`

// parseConfig reads flags. The error is flag.ErrHelp after -h.
func parseConfig(args []string, output io.Writer) (config, error) {
	c := config{suite: quick}
	var cases, variants string
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // run prints the error, once
	flags.StringVar((*string)(&c.suite), "suite", string(quick), "seed (well under a minute), quick (a few minutes) or full (the targets' sizes)")
	flags.StringVar(&cases, "case", "", "`NAMES` of cases with commas between (default: all; -list has them)")
	flags.StringVar(&variants, "variant", "", "`NAMES` of variants with commas between, to run no others (such as slipstream; comparisons with the others are left out)")
	flags.IntVar(&c.reps, "reps", 0, "repetitions of each variant (default: the suite's)")
	flags.StringVar(&c.jsonFile, "json", "", "write configuration, versions and every repetition to `FILE`")
	flags.StringVar(&c.htmlFile, "html", "", "write a report with plots to `FILE`")
	flags.StringVar(&c.cpuProfiles, "cpuprofile", "", "write a CPU profile of each case's last Slipstream repetition to `FOLDER`")
	flags.StringVar(&c.memProfiles, "memprofile", "", "write what the same repetition allocated to `FOLDER`")
	flags.BoolVar(&c.strict, "strict", false, "fail (exit code 3) if a target is missed")
	flags.BoolVar(&c.list, "list", false, "list the cases and their targets")
	c.stack.BindFlags(flags)
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
	return c, c.settle(splitNames(cases), splitNames(variants))
}

// settle checks the settings. Its error says which flag, what it is, and what it may be.
func (c *config) settle(cases, variants []string) error {
	if !slices.Contains([]suite{seed, quick, full}, c.suite) {
		return fmt.Errorf("-suite %q is not known; use seed, quick or full", c.suite)
	}
	if c.reps < 0 || c.reps > 100 {
		return fmt.Errorf("-reps is %d; use 1 to 100, or 0 for the suite's", c.reps)
	}
	all := allCases()
	c.cases = all
	if len(cases) > 0 {
		c.cases = nil
	}
	for _, name := range cases {
		i := slices.IndexFunc(all, func(b *benchCase) bool { return b.name == name })
		if i < 0 {
			return fmt.Errorf("-case %q is not known; use %s", name, strings.Join(caseNames(all), ", "))
		}
		c.cases = append(c.cases, all[i])
	}
	c.variants = variants
	for _, name := range variants {
		if !slices.ContainsFunc(c.cases, func(b *benchCase) bool { return b.variant(name) != nil }) {
			return fmt.Errorf("-variant %q: none of the cases %s has it; -list says what they have", name, strings.Join(caseNames(c.cases), ", "))
		}
	}
	return c.stack.Validate()
}

func splitNames(list string) []string {
	var names []string
	for name := range strings.SplitSeq(list, ",") {
		if name = strings.TrimSpace(name); name != "" {
			names = append(names, name)
		}
	}
	return names
}

// wants tells whether the variant is to be run.
func (c *config) wants(variant string) bool {
	return len(c.variants) == 0 || slices.Contains(c.variants, variant)
}

// checkFiles finds out before a long run whether its end can be written, and whether there is a Redis.
func (c *config) checkFiles() error {
	for _, f := range []struct{ flag, path string }{{"-json", c.jsonFile}, {"-html", c.htmlFile}} {
		if f.path == "" {
			continue
		}
		file, err := os.OpenFile(f.path, os.O_WRONLY|os.O_CREATE, reportMode)
		if err != nil {
			return fmt.Errorf("%s cannot be written: %w; name a file in a folder that exists", f.flag, err)
		}
		file.Close()
	}
	for _, f := range []struct{ flag, path string }{{"-cpuprofile", c.cpuProfiles}, {"-memprofile", c.memProfiles}} {
		if f.path == "" {
			continue
		}
		if err := os.MkdirAll(f.path, 0o755); err != nil { //nolint:gosec // readable by others, as any output
			return fmt.Errorf("%s: %w; name a folder that can be made", f.flag, err)
		}
	}
	if c.stack.Redis == "" {
		if _, err := exec.LookPath("redis-server"); err != nil {
			return errors.New("no redis-server on PATH: figures from a stand-in would mean nothing; install it, or name one with -redis URL")
		}
	}
	return nil
}

// reportMode lets others read a report, as any output.
const reportMode = 0o644
