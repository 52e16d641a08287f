package main

import (
	"context"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/charmbracelet/x/vt"
	"github.com/creack/pty"
	"github.com/stretchr/testify/require"

	"github.com/slipstream-go/slipstream/internal/redistest"
)

// session is the program in a terminal that answers what it is asked.
type session struct {
	*testing.T
	keyboard *os.File
	ended    chan int

	mu     sync.Mutex
	screen *vt.Emulator // protected by mu, but for its answers
}

// Write writes to the screen.
func (s *session) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.screen.Write(p)
}

func (s *session) shows(what string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Contains(s.screen.String(), what)
}

func (d *desk) terminal(args ...string) *session {
	d.Helper()
	keyboard, tty, err := pty.Open()
	require.NoError(d, err)
	require.NoError(d, pty.Setsize(tty, &pty.Winsize{Rows: 30, Cols: 160}))
	s := &session{T: d.T, keyboard: keyboard, screen: vt.NewEmulator(160, 30), ended: make(chan int, 1)}
	var copying sync.WaitGroup
	copying.Go(func() { _, _ = io.Copy(s, keyboard) })
	copying.Go(func() { _, _ = io.Copy(keyboard, s.screen) })
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
		answers, ok := s.screen.InputPipe().(io.Closer)
		require.True(d, ok)
		_ = answers.Close() // the emulator's own Close is not safe beside a Read
		copying.Wait()
	})
	return s
}

// sees waits until something stands on the screen.
func (s *session) sees(what string) {
	s.Helper()
	redistest.Eventually(s, 20*time.Second, "the screen shows "+what, func() bool { return s.shows(what) })
}

func (s *session) press(keys string) {
	s.Helper()
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

	s = d.terminal("tasks", "cancel", "orders", "order-1", "4", "--command-timeout", "3s")
	s.sees("nobody confirmed it in time")
	require.Equal(t, exitRefused, s.ends())
	s.press("\r") // what still reads must end with the terminal
}

// Whoever thinks before they confirm does not take the time from what they confirm.
func TestTimeBeginsWithTheConfirmation(t *testing.T) {
	d := scene(t)
	began := time.Now()
	s := d.terminal("tasks", "cancel", "orders", "order-1", "3", "--command-timeout", "6s")
	s.sees("Go on? [y/N]")
	redistest.Eventually(s, 6*time.Second, "more than half of the time is over", func() bool { return time.Since(began) > 3500*time.Millisecond })
	require.NoError(t, d.redis.Client().Do(t.Context(), "CLIENT", "PAUSE", 3000, "WRITE").Err())
	s.press("y\r")
	s.sees("Cancelled 1 task of run order-1.")
	require.Equal(t, exitOK, s.ends())
}
