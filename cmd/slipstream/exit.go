package main

import (
	"context"
	"errors"
	"fmt"

	"go.temporal.io/api/serviceerror"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/slipstream-go/slipstream/batchqueue"
)

// Exit codes, as the help lists them.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitNotFound    = 3
	exitRefused     = 4
	exitUnreachable = 5
	exitInterrupted = 130
)

const exitCodes = `Exit codes:
  0    done
  1    it failed; of check: a setting must be mended
  2    a flag, an argument or an environment variable that cannot be used
  3    there is no such pool, task, dead letter or workflow
  4    refused: not confirmed, or it would do harm
  5    Redis or Temporal cannot be reached, or did not answer in time
  130  interrupted`

var (
	errUsage       = errors.New("wrong usage")
	errRefused     = errors.New("refused")
	errUnreachable = errors.New("unreachable")
)

// coded is an error with a text of its own that matches one of the above.
type coded struct {
	kind error
	text string
}

func (e *coded) Error() string { return e.text }
func (e *coded) Unwrap() error { return e.kind }

func usage(format string, args ...any) error { return &coded{errUsage, fmt.Sprintf(format, args...)} }
func refused(format string, args ...any) error {
	return &coded{errRefused, fmt.Sprintf(format, args...)}
}
func notFound(format string, args ...any) error {
	return &coded{batchqueue.ErrNotFound, fmt.Sprintf(format, args...)}
}

// report says what went wrong and returns the exit code.
func (a *app) report(ctx context.Context, err error) int {
	if err == nil {
		return exitOK
	}
	code := exitCode(err)
	if ctx.Err() != nil {
		code, err = exitInterrupted, errors.New("interrupted")
	}
	fmt.Fprintf(a.stderr, "slipstream: %v\n", err)
	switch {
	case code == exitUsage:
		fmt.Fprintln(a.stderr, "Run it with --help for what it takes.")
	case errors.Is(err, batchqueue.ErrUnavailable):
		fmt.Fprintf(a.stderr, "Redis is taken from --redis or SLIPSTREAM_REDIS, here %s; --command-timeout (%v) is how long it may take.\n",
			a.redisAddress(), a.flags.timeout)
	case code == exitUnreachable:
		fmt.Fprintf(a.stderr, "Temporal is taken from --address, TEMPORAL_ADDRESS or the profile, here %s; --command-timeout (%v) is how long it may take.\n",
			a.temporalAddress(), a.flags.timeout)
	}
	return code
}

func exitCode(err error) int {
	var gone *serviceerror.NotFound
	var noNamespace *serviceerror.NamespaceNotFound
	switch {
	case errors.Is(err, errUsage):
		return exitUsage
	case errors.Is(err, errRefused):
		return exitRefused
	case errors.Is(err, batchqueue.ErrNotFound), errors.As(err, &gone), errors.As(err, &noNamespace):
		return exitNotFound
	case errors.Is(err, batchqueue.ErrUnavailable), errors.Is(err, errUnreachable), errors.Is(err, context.DeadlineExceeded), unreachable(err):
		return exitUnreachable
	case errors.Is(err, batchqueue.ErrInvalid):
		return exitUsage
	}
	return exitFailed
}

// unreachable tells whether an error of Temporal's client says that nobody answered.
func unreachable(err error) bool {
	switch status.Code(err) {
	case codes.Unavailable, codes.DeadlineExceeded:
		return true
	default:
	}
	var away *serviceerror.Unavailable
	var late *serviceerror.DeadlineExceeded
	return errors.As(err, &away) || errors.As(err, &late)
}
