// Command slipstream is for whoever looks after Slipstream: it shows what its queue in Redis holds and what Temporal
// knows of it, and changes what an operator may change. `slipstream --help` lists the commands.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/redis/go-redis/v9"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the process at once
	redis.SetLogger(silence{})
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run is the program without the process.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := &app{stdin: stdin, stdout: stdout, stderr: stderr}
	defer a.close()
	root := newRoot(a)
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	return a.report(ctx, root.ExecuteContext(ctx))
}

// silence keeps the Redis client from writing what the errors say anyway.
type silence struct{}

func (silence) Printf(context.Context, string, ...any) {}
