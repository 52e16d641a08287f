package batchqueue

import (
	"errors"
	"fmt"
)

// Errors that callers can test with errors.Is.
var (
	// ErrCanceled is the cause of a handler's context when its task was canceled.
	ErrCanceled = errors.New("task canceled")
	// ErrLeaseLost is the cause of a handler's context when its claim is no longer
	// this executor's; its result will be dropped.
	ErrLeaseLost = errors.New("lease lost: the task belongs to another executor or is gone")
	// ErrStopping is the cause of a handler's context when its executor stops.
	ErrStopping = errors.New("executor is stopping")
	// ErrRunGone is what a DeliverFunc returns when the run no longer exists.
	ErrRunGone = errors.New("run is gone")
	// ErrRunDeaf is what a DeliverFunc returns when the run cannot be signalled any
	// more but may still ask.
	ErrRunDeaf = errors.New("run takes no more signals")
	// ErrFull means that Redis refuses to store more (maxmemory).
	ErrFull = errors.New("redis is out of memory")
	// ErrUnavailable means that Redis did not answer, so that nothing is known.
	ErrUnavailable = errors.New("redis is unavailable")
	// ErrInvalid marks errors about options and arguments.
	ErrInvalid = errors.New("invalid")
	// ErrServer marks a Redis that cannot carry the queue: too old, evicting, read-only.
	ErrServer = errors.New("unsuitable redis server")
	// ErrConflict means that the pool's configuration changed since it was read.
	ErrConflict = errors.New("pool configuration changed meanwhile")
	// ErrSuperseded means that the run asks something else by now under the task's number.
	ErrSuperseded = errors.New("superseded by another task of its number")
	// ErrDelivering means that the task's outcome is on its way to the run at this moment.
	ErrDelivering = errors.New("outcome is being delivered")
	// ErrNotFound means that there is no such thing in Redis.
	ErrNotFound = errors.New("not found")
)

func errUndecodable(what, value string) error {
	return fmt.Errorf("decode %s %q: %w", what, value, ErrInvalid)
}
