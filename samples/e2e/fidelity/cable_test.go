package fidelity

import (
	"bytes"
	"io"
	"net"
	"net/url"
	"sync"
	"sync/atomic"

	"github.com/stretchr/testify/require"
)

// cable is a connection to the play's Redis that can lose answers: what was sent arrived and took effect, but nobody
// hears of it.
type cable struct {
	to       string
	listener net.Listener
	wg       sync.WaitGroup
	// loses says of each request whether its connection breaks before the answer.
	loses atomic.Pointer[func(request []byte) bool]
	lost  atomic.Int64

	mu     sync.Mutex
	closed bool                  // protected by mu
	conns  map[net.Conn]struct{} // protected by mu
}

// throughCable puts a cable between the play and its Redis.
func (p *play) throughCable() *cable {
	p.t.Helper()
	u, err := url.Parse(p.pluginOptions.RedisURL)
	require.NoError(p.t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(p.t, err)
	c := &cable{to: u.Host, listener: l, conns: map[net.Conn]struct{}{}}
	c.wg.Go(c.accept)
	p.t.Cleanup(func() {
		_ = l.Close()
		c.mu.Lock()
		c.closed = true
		for conn := range c.conns {
			_ = conn.Close()
		}
		c.mu.Unlock()
		c.wg.Wait()
	})
	u.Host = l.Addr().String()
	p.pluginOptions.RedisURL = u.String()
	return c
}

// lose makes the cable lose the answer to each nth request that contains the text, up to a number of them.
func (c *cable) lose(text string, nth, most int64) {
	var seen atomic.Int64
	loses := func(request []byte) bool {
		return c.lost.Load() < most && bytes.Contains(request, []byte(text)) && seen.Add(1)%nth == 0
	}
	c.loses.Store(&loses)
}

func (c *cable) accept() {
	for {
		in, err := c.listener.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", c.to)
		if err != nil || !c.join(in, out) {
			_ = in.Close()
			if err == nil {
				_ = out.Close()
			}
			continue
		}
		c.wg.Go(func() { c.carry(in, out) })
	}
}

func (c *cable) join(conns ...net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	for _, conn := range conns {
		c.conns[conn] = struct{}{}
	}
	return true
}

// carry carries requests and answers until either end closes.
func (c *cable) carry(in, out net.Conn) {
	var broken atomic.Bool
	answers := make(chan struct{})
	c.wg.Go(func() {
		defer close(answers)
		_, _ = io.Copy(answerWriter{in, &broken}, out)
		_ = in.Close()
	})
	buffer := make([]byte, 1<<20)
	for {
		n, err := in.Read(buffer)
		if err != nil {
			break
		}
		if loses := c.loses.Load(); loses != nil && (*loses)(buffer[:n]) {
			c.lost.Add(1)
			broken.Store(true)
		}
		if _, err := out.Write(buffer[:n]); err != nil {
			break
		}
	}
	_ = out.Close()
	<-answers
	c.mu.Lock()
	delete(c.conns, in)
	delete(c.conns, out)
	c.mu.Unlock()
}

// answerWriter fails where an answer is to be lost; the request was carried out by then.
type answerWriter struct {
	net.Conn
	broken *atomic.Bool
}

func (w answerWriter) Write(b []byte) (int, error) {
	if w.broken.Load() {
		return 0, io.ErrClosedPipe
	}
	return w.Conn.Write(b)
}
