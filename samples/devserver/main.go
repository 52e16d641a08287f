// Command devserver runs a Temporal server and a Redis for development until it is interrupted.
//
// Once both answer, it prints their addresses as one line of JSON on standard output, and for people how to use them on
// standard error. Nothing is kept: the next start is empty (-temporal-file and -redis-dir keep data).
//
//	go run ./samples/devserver
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/slipstream-go/slipstream/samples/devstack"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the process at once
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run returns the exit code: 0 stopped as asked, 1 a failure, 2 wrong flags.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	var o devstack.Options
	flags := flag.NewFlagSet("devserver", flag.ContinueOnError)
	flags.SetOutput(stderr)
	o.BindFlags(flags)
	flags.StringVar(&o.TemporalFile, "temporal-file", "", "SQLite `FILE` in which the Temporal server keeps its data (default: nothing is kept)")
	flags.IntVar(&o.TemporalPort, "temporal-port", 0, "port of the Temporal server with -temporal-file (0: any free one)")
	flags.IntVar(&o.RedisPort, "redis-port", 0, "port of the Redis that is started (0: any free one)")
	flags.StringVar(&o.RedisDir, "redis-dir", "", "`FOLDER` in which redis-server keeps its data (default: nothing is kept)")
	flags.BoolVar(&o.NoRedis, "no-redis", false, "start no Redis")
	untilEOF := flags.Bool("until-stdin-closes", false, "stop when standard input ends too; for programs that start this one")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	}
	if flags.NArg() > 0 {
		fmt.Fprintf(stderr, "devserver: unexpected argument %q; see -h\n", flags.Arg(0))
		return 2
	}
	if err := o.Validate(); err != nil {
		fmt.Fprintln(stderr, err)
		return 2
	}

	if *untilEOF {
		var cancel context.CancelFunc
		ctx, cancel = context.WithCancel(ctx)
		defer cancel()
		go func() { // ends with standard input, at the latest with the process: nothing can interrupt a read
			_, _ = io.Copy(io.Discard, stdin)
			cancel()
		}()
	}
	hint := stderr
	if *untilEOF { // a program reads the addresses, nobody reads hints
		hint = io.Discard
	}
	if err := serve(ctx, o, stdout, stderr, hint); err != nil {
		fmt.Fprintln(stderr, err)
		return 1
	}
	return 0
}

func serve(ctx context.Context, o devstack.Options, stdout, stderr, hint io.Writer) error {
	stack, err := devstack.Start(ctx, o)
	if err != nil {
		return err
	}
	defer func() {
		if err := stack.Stop(); err != nil {
			fmt.Fprintln(stderr, err)
		}
	}()
	err = json.NewEncoder(stdout).Encode(devstack.Addresses{
		Temporal:  stack.Temporal(),
		Namespace: stack.Namespace(),
		Redis:     stack.RedisURL(),
		Describe:  stack.Describe(),
	})
	if err != nil {
		return fmt.Errorf("devserver: cannot print the addresses: %w", err)
	}
	fmt.Fprintf(hint, "%s\nUse it with -temporal %s -namespace %s -redis %s; Ctrl-C stops it.\n",
		stack.Describe(), stack.Temporal(), stack.Namespace(), stack.RedisURL())
	<-ctx.Done()
	return nil
}
