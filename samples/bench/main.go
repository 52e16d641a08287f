// Command bench measures Slipstream: case by case, against plain Temporal activities, against other queues and against
// arithmetic, with every repetition checked for lost, repeated and wrong results.
//
//	go run ./samples/bench                                           # a few minutes
//	go run ./samples/bench -suite full -json out.json -html out.html # every case at full size
//	go run ./samples/bench -case latency,echo-10k                    # some cases
//
// It brings a Temporal server and uses the redis-server on PATH; both run as child processes, anew for each case. With
// -temporal and -redis it runs on yours. docs/benchmarks.md has figures, and says what is unfair about them.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// Exit codes.
const (
	exitOK          = 0
	exitFailed      = 1 // a result is wrong or missing, or a case could not be run
	exitUsage       = 2 // a flag that cannot be used
	exitMissed      = 3 // with -strict: a target was missed
	exitInterrupted = 130
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the process at once
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

func run(ctx context.Context, args []string, stdout, stderr *os.File) int {
	c, err := parseConfig(args, stdout)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return exitOK
	case err != nil:
		return fail(stderr, exitUsage, err)
	case c.list:
		printCases(stdout)
		return exitOK
	}
	if err := c.checkFiles(); err != nil {
		return fail(stderr, exitUsage, err)
	}
	r, err := runSuite(ctx, c, stderr)
	if ctx.Err() != nil {
		err = nil // it says no more than that
	}
	// Whatever ended the suite: what was measured is reported.
	if err := errors.Join(err, writeReports(c, r, stdout)); err != nil {
		return fail(stderr, exitFailed, err)
	}
	if ctx.Err() != nil {
		return fail(stderr, exitInterrupted, errors.New("interrupted; everything was stopped"))
	}
	return exitCode(c, r)
}

// exitCode says what the report means to a script. The table has said it to people.
func exitCode(c config, r *report) int {
	switch {
	case r.failed():
		return exitFailed
	case c.strict && r.missed() > 0:
		return exitMissed
	}
	return exitOK
}

func fail(stderr *os.File, code int, err error) int {
	fmt.Fprintf(stderr, "bench: %v\n", err)
	return code
}

// writeReports prints the table and writes the files that were asked for.
func writeReports(c config, r *report, stdout *os.File) error {
	printReport(stdout, r)
	if c.jsonFile != "" {
		if err := writeJSON(c.jsonFile, r); err != nil {
			return err
		}
	}
	if c.htmlFile != "" {
		return writeHTML(c.htmlFile, r)
	}
	return nil
}
