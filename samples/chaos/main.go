// Command chaos proves that nothing is lost: it runs thousands of workflows of many shapes on several worker processes,
// and meanwhile kills, stops, cuts, slows down, wipes and redeploys everything that they run on. In the end each workflow
// must have its right answer, and what is left must be explained.
//
//	go run ./samples/chaos                                  # every fault once, about seven minutes
//	go run ./samples/chaos -short                           # a few faults, under a minute
//	go run ./samples/chaos -seeds 3 -json out.json          # three runs with fresh seeds
//	go run ./samples/chaos -faults kill,flush -duration 2m  # these faults only, as often as they fit
//	go run ./samples/chaos -list                            # what faults and workflows there are
//
// It brings everything: a Temporal server on an SQLite file, redis-server processes (one must be on PATH), worker
// processes, which are this program itself, and a proxy in front of each server for each worker. Linux or another Unix.
//
// # The schedule
//
// The faults and their times, the workflows and their inputs are drawn from the seed and printed before anything starts.
// The same seed gives the same schedule, not the same run: what a fault meets is a matter of microseconds. A schedule is
// made of rounds: every kind of fault in a random order, with time to recover after each, then a storm, in which a
// worker, Redis and Temporal are hit at about the same time.
//
// Each fault proves that it happened: the exit status of a killed process, Redis' run ID and keys, the answers of probes
// through the same proxies that workers use. A fault that cannot be proven is a violation like a wrong answer.
//
// # The account
//
// Handlers note each start and end in a file of their process, which no fault touches, so executions are counted however
// a process ends. At the end the harness checks, and prints or writes as JSON:
//
//   - Every workflow that was started completed with the right answer. Answers depend on each step.
//   - No step was started again without a fault near; how often steps were, by the fault that was; and no step with
//     MaximumAttempts 1 at all. (Where a failover lost the claim of such a step, nobody can know that it has started: these
//     are counted apart.)
//   - How long it took until what a fault hit went on, and that it was within the bound: two leases and the call's retry
//     interval after the death of a worker, no waiting and no attempt lost at an orderly stop, the run's next ask where
//     Redis lost data. The bounds have some seconds of slack for a busy machine, with -short some more. Where the next
//     fault came sooner, or in a storm, recovery is printed and not judged.
//   - No key stays in Redis without a time-to-live or an owner.
//
// The exit code is 0 if all of it held, 1 with a list of violations if not; the folder with logs and journals is kept
// then. 2 is a wrong flag, 130 an interruption.
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
	exitFailed      = 1 // something was lost, or the harness could not do its work
	exitUsage       = 2
	exitInterrupted = 130
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == roleWorker {
		if err := runWorker(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, "chaos worker:", err)
			os.Exit(exitFailed)
		}
		return
	}
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
		list(stdout)
		return exitOK
	}
	var accounts []*account
	for _, seed := range c.seeds {
		a, err := runSeed(ctx, c, seed, stdout)
		if ctx.Err() != nil {
			return fail(stderr, exitInterrupted, errors.New("interrupted; everything was stopped"))
		}
		if err != nil {
			return fail(stderr, exitFailed, err)
		}
		a.print(stdout)
		accounts = append(accounts, a)
		if c.jsonFile != "" {
			if err := writeJSON(c.jsonFile, accounts); err != nil {
				return fail(stderr, exitFailed, err)
			}
		}
	}
	if failedRuns(accounts) {
		return exitFailed
	}
	return exitOK
}

func fail(stderr *os.File, code int, err error) int {
	fmt.Fprintf(stderr, "chaos: %v\n", err)
	return code
}
