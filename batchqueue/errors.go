package batchqueue

import (
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"
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
	// ErrDenied means that Redis refuses the user, its password, or a command to it. What
	// Redis said follows; Check names every command that is missing. It matches
	// ErrUnavailable too.
	ErrDenied error = deniedError{}
	// ErrNotDurable means that something is in Redis, but not yet where Options.Replicas and
	// Options.Fsync want it.
	ErrNotDurable = errors.New("not safe yet")
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

type deniedError struct{}

func (deniedError) Error() string        { return "redis denies access" }
func (deniedError) Is(target error) bool { return target == ErrUnavailable }

// unavailable says what an error of Redis means for who called it.
func unavailable(err error) error {
	switch {
	case err == nil:
		return nil
	case redis.HasErrorPrefix(err, "OOM"):
		return fmt.Errorf("%w: %w", ErrFull, err)
	case isScriptDenial(err):
		return fmt.Errorf("%w to a command within a script, Check names it: %w", ErrDenied, err)
	case isDenial(err):
		return fmt.Errorf("%w: %w", ErrDenied, err)
	case redis.HasErrorPrefix(err, "TRYAGAIN"):
		return fmt.Errorf("%w while a hash slot moves to another node of the cluster: %w", ErrUnavailable, err)
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}

// isDenial tells whether an error speaks of the user's rights or password.
func isDenial(err error) bool {
	return redis.HasErrorPrefix(err, "NOPERM") || redis.HasErrorPrefix(err, "NOAUTH") || redis.HasErrorPrefix(err, "WRONGPASS") || isScriptDenial(err)
}

// isScriptDenial tells whether a script was refused a command. Redis 7.0 does not say which.
func isScriptDenial(err error) bool {
	return redis.HasErrorPrefix(err, "The user executing the script can't") || redis.HasErrorPrefix(err, "ACL failure in script")
}
