package redistest

import (
	"context"
	"io"
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// Cable carries TCP connections to a server, Redis or another, until it is cut and again when it is mended. It
// is safe for concurrent use.
type Cable struct {
	to       string
	listener net.Listener
	wg       sync.WaitGroup

	mu    sync.Mutex
	isCut bool                  // protected by mu
	conns map[net.Conn]struct{} // protected by mu
}

// NewCable lays a cable to an address (host:port). The test closes it.
func NewCable(t testing.TB, to string) *Cable {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	c := &Cable{to: to, listener: l, conns: make(map[net.Conn]struct{})}
	ctx := t.Context() // ends when the test does, before what it has to clean up
	c.wg.Go(func() { c.accept(ctx) })
	t.Cleanup(func() {
		_ = l.Close()
		c.Cut()
		c.wg.Wait()
	})
	return c
}

// Address is where a client connects to.
func (c *Cable) Address() string { return c.listener.Addr().String() }

func (c *Cable) accept(ctx context.Context) {
	for {
		in, err := c.listener.Accept()
		if err != nil {
			return
		}
		out, err := (&net.Dialer{}).DialContext(ctx, "tcp", c.to)
		if err != nil || !c.join(in, out) {
			_ = in.Close()
			if err == nil {
				_ = out.Close()
			}
			continue
		}
		for _, pair := range [2][2]net.Conn{{in, out}, {out, in}} {
			c.wg.Go(func() {
				_, _ = io.Copy(pair[0], pair[1])
				_ = pair[0].Close()
				_ = pair[1].Close()
			})
		}
	}
}

func (c *Cable) join(conns ...net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isCut {
		return false
	}
	for _, conn := range conns {
		c.conns[conn] = struct{}{}
	}
	return true
}

// Cut breaks all connections, and new ones as soon as they are made.
func (c *Cable) Cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.isCut = true
	for conn := range c.conns {
		_ = conn.Close()
	}
	clear(c.conns)
}

// Mend lets connections pass again.
func (c *Cable) Mend() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.isCut = false
}
