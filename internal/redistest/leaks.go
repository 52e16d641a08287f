package redistest

import "go.uber.org/goleak"

// IgnoreRedials lets go-redis's tries to reach a server that was away outlive their client: one
// a second, of which a closed client ends the next.
func IgnoreRedials() goleak.Option {
	return goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial")
}
