// Package redistest starts Redis servers for tests: real ones where redis-server is
// installed, alone or as replicas, under Sentinels, as a cluster or behind TLS; and miniredis
// where a test says that it will do.
package redistest

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/slipstream-go/slipstream/internal/freeport"
)

// Server is a redis-server child process that a test owns.
type Server struct {
	Addr string

	t       testing.TB
	port    int
	command []string

	mu  sync.Mutex // protects cmd
	cmd *exec.Cmd
}

// Start starts a redis-server on a free port with its data in a temporary folder, and
// stops it when the test ends. Without redis-server the test is skipped, but fails if CI
// is set: a green run in which nothing was tested is worse than a red one. args are
// added to the command line.
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	port := freePort(t)
	own := []string{"--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--dir", t.TempDir(), "--save", "", "--maxmemory-policy", "noeviction"}
	return start(t, port, append(own, args...))
}

// start starts a redis-server that listens on port.
func start(t testing.TB, port int, command []string) *Server {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("redis-server is not installed: run `make setup` (Debian: apt-get install redis-server)")
		}
		t.Skip("redis-server is not installed: run `make setup`")
	}
	s := &Server{t: t, port: port, Addr: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), command: command}
	s.Restart()
	t.Cleanup(s.Kill)
	return s
}

// URL is the server's address as redis.ParseURL takes it.
func (s *Server) URL() string { return "redis://" + s.Addr + "/0" }

// Client returns a client that is closed when the test ends.
func (s *Server) Client() *redis.Client {
	c := redis.NewClient(&redis.Options{Addr: s.Addr, ContextTimeoutEnabled: true})
	s.t.Cleanup(func() { _ = c.Close() })
	return c
}

// Restart starts the server again, with the same port and folder, and waits until it
// answers.
func (s *Server) Restart() {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cmd = exec.Command("redis-server", s.command...)
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		s.t.Fatalf("start redis-server: %v", err)
	}
	c := redis.NewClient(&redis.Options{Addr: s.Addr, MaxRetries: -1})
	defer func() { _ = c.Close() }()
	Eventually(s.t, 30*time.Second, "redis-server answers", func() bool {
		err := c.Ping(context.Background()).Err()
		return err == nil || redis.HasErrorPrefix(err, "NOAUTH")
	})
}

// Kill ends the server with SIGKILL; what it did not write to disk is lost.
func (s *Server) Kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
	s.cmd = nil
}

// Signal sends a signal to the server, such as SIGSTOP.
func (s *Server) Signal(sig os.Signal) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd == nil {
		return fmt.Errorf("redis-server is not running")
	}
	return s.cmd.Process.Signal(sig)
}

// Eventually waits until the condition holds, looking often, and fails the test with
// what it waited for when the time is over.
func Eventually(t testing.TB, within time.Duration, what string, condition func() bool) {
	t.Helper()
	deadline := time.NewTimer(within)
	defer deadline.Stop()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-deadline.C:
			if !condition() { // all may have stood still until now
				t.Fatalf("not within %v: %s", within, what)
			}
			return
		case <-tick.C:
		}
	}
}

func freePort(t testing.TB) int {
	t.Helper()
	port, err := freeport.Find(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return port
}
