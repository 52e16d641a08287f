// Package freeport finds ports for servers that have to be told theirs.
package freeport

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
)

// The ports of the operating system's own choosing begin above (32768 on Linux, 49152
// elsewhere). A connection to somewhere else must not take a port before its server does, or
// while its server is down and comes back.
const first, last = 10_000, 32_767

const attempts = 100

// Find returns a TCP port of 127.0.0.1 that nobody listens to. It is safe for concurrent use;
// nothing keeps others from taking the port, but chance makes that rare.
func Find(ctx context.Context) (int, error) {
	var errs []error
	for range attempts {
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		port := first + rand.N(last-first+1)
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err == nil {
			return port, l.Close()
		}
		errs = append(errs, err)
	}
	return 0, fmt.Errorf("no free port of 127.0.0.1 in %d attempts: %w", attempts, errors.Join(errs...))
}
