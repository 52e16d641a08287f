package main

import (
	"context"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/stretchr/testify/require"

	"github.com/slipstream-go/slipstream/internal/redistest"
)

// session is the program in a pseudo-terminal.
type session struct {
	*testing.T
	keyboard *os.File
	ended    chan int

	mu     sync.Mutex
	screen strings.Builder // protected by mu: everything that was written to it
}

func (d *desk) terminal(args ...string) *session {
	d.Helper()
	keyboard, tty, err := pty.Open()
	require.NoError(d, err)
	require.NoError(d, pty.Setsize(tty, &pty.Winsize{Rows: 30, Cols: 160}))
	s := &session{T: d.T, keyboard: keyboard, ended: make(chan int, 1)}
	read := make(chan struct{})
	go func() {
		defer close(read)
		buffer := make([]byte, 4096)
		for {
			n, err := keyboard.Read(buffer)
			s.mu.Lock()
			s.screen.Write(buffer[:n])
			s.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan struct{})
	go func() {
		defer close(ran)
		s.ended <- run(ctx, d.args(args...), tty, tty, tty)
	}()
	d.Cleanup(func() {
		cancel()
		<-ran
		_ = tty.Close()
		_ = keyboard.Close()
		<-read
	})
	return s
}

// sees waits until something was written to the screen since the last key, and returns all of that.
func (s *session) sees(what string) string {
	s.Helper()
	var seen string
	redistest.Eventually(s, 20*time.Second, "the screen shows "+what, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		seen = s.screen.String()
		return strings.Contains(seen, what)
	})
	return seen
}

func (s *session) press(keys string) {
	s.Helper()
	s.mu.Lock()
	s.screen.Reset()
	s.mu.Unlock()
	_, err := io.WriteString(s.keyboard, keys)
	require.NoError(s, err)
}

func (s *session) ends() int {
	s.Helper()
	select {
	case code := <-s.ended:
		return code
	case <-time.After(20 * time.Second):
		require.FailNow(s, "the program does not end")
		return -1
	}
}

func TestTop(t *testing.T) {
	d := scene(t)
	s := d.terminal("top", "--interval", "100ms")
	s.sees("namespace shop on " + d.redis.URL())
	s.sees("3 waiting, 2 in flight")
	s.sees("idle:") // the first pool is chosen
	s.press("\x1b[B")
	s.sees("orders:")
	s.sees("worker-1")
	d.ok("tasks", "cancel", "orders", "order-1", "3", "--yes")
	s.sees("2 waiting, 2 in flight")
	d.redis.Kill()
	s.sees("no news since")
	s.press(" ")
	d.redis.Restart()
	s.sees("up and down choose a pool")
	s.press("q")
	require.Equal(t, exitOK, s.ends())
}

func TestTopWithoutATerminal(t *testing.T) {
	d := scene(t)
	lines := strings.Split(strings.TrimSpace(d.ok("top", "orders", "--json", "--count", "2", "--interval", "100ms")), "\n")
	require.Len(t, lines, 2)
	require.Contains(t, lines[1], `"pool":"orders"`)
	require.Contains(t, lines[1], `"enqueuedPerSecond":0`)
	require.NotContains(t, lines[1], "idle")
}

func TestConfirmingInATerminal(t *testing.T) {
	d := scene(t)
	s := d.terminal("tasks", "cancel", "orders", "order-1", "3")
	s.sees("This cancels 1 task of run order-1, and the workflow is told. Go on? [y/N]")
	s.press("\r")
	s.sees("not confirmed, nothing was done")
	require.Equal(t, exitRefused, s.ends())

	s = d.terminal("tasks", "cancel", "orders", "order-1", "3")
	s.sees("Go on? [y/N]")
	s.press("yes\r")
	s.sees("Cancelled 1 task of run order-1.")
	require.Equal(t, exitOK, s.ends())

	s = d.terminal("tasks", "cancel", "orders", "order-1", "4", "--command-timeout", "300ms")
	s.sees("nobody confirmed it in time")
	require.Equal(t, exitRefused, s.ends())
	s.press("\r") // what still reads must end with the terminal
}
