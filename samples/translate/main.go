// Command translate is Slipstream's main sample: it takes many sentences to Spanish and back to English and counts
// their letters, three steps for each, once as plain Temporal activities and once through Slipstream, and compares
// speed, cost and results of the two. The workflow and the activities are the same in both.
//
//	go run ./samples/translate
//
// needs nothing but Go: a Temporal server and a Redis start inside. With -temporal and -redis it runs on yours, and
// with -role in several processes.
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
	exitFailed      = 1 // the run failed, or what it shows is wrong
	exitUsage       = 2 // a flag, an input file or a translator that cannot be used
	exitInterrupted = 130
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the process at once
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

func run(ctx context.Context, args []string, stdout, stderr *os.File) int {
	c, err := parseConfig(args, stdout)
	if errors.Is(err, flag.ErrHelp) {
		return exitOK
	}
	if err != nil {
		return fail(stderr, exitUsage, err)
	}
	j, err := prepare(ctx, c, stdout, stderr)
	if err != nil {
		return fail(stderr, exitUsage, err)
	}
	switch err := j.run(ctx); {
	case err != nil && ctx.Err() != nil:
		return fail(stderr, exitInterrupted, errors.New("interrupted; everything was stopped"))
	case err != nil:
		return fail(stderr, exitFailed, err)
	}
	return exitOK
}

func fail(stderr *os.File, code int, err error) int {
	fmt.Fprintf(stderr, "translate: %v\n", err)
	return code
}
