package e2e

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/log"
	"go.uber.org/goleak"

	"github.com/slipstream-go/slipstream/internal/redistest"
	"github.com/slipstream-go/slipstream/samples/devstack"
)

// stack is the Temporal server and the Redis of all tests.
var stack *devstack.Stack

func TestMain(m *testing.M) {
	code, err := withStack(m.Run)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// withStack runs the tests between the start and the stop of everything that they share.
func withStack(tests func() int) (code int, err error) {
	if _, err := exec.LookPath("redis-server"); err != nil && os.Getenv("CI") == "true" {
		return 1, errors.New("e2e: CI must test on a real Redis, and redis-server is not installed; run make setup")
	}
	if binaries, err = os.MkdirTemp("", "slipstream-e2e-"); err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(binaries)) }()
	if stack, err = devstack.StartProcess(context.Background(), devstack.Options{}); err != nil {
		return 1, err
	}
	fmt.Fprintln(os.Stderr, "e2e:", stack.Describe())
	code = tests()
	return code, errors.Join(stack.Stop(), goleak.Find())
}

var (
	// binaries is the folder of the programs that tests build.
	binaries string
	building sync.Mutex
)

// build builds a program of this module once per run, with the race detector where race is true, and returns its path.
func build(t *testing.T, program string, race bool) string {
	t.Helper()
	building.Lock()
	defer building.Unlock()
	path := filepath.Join(binaries, fmt.Sprintf("%s-%t.exe", program, race))
	if _, err := os.Stat(path); err == nil {
		return path
	}
	args := []string{"build", "-o", path}
	if race {
		args = append(args, "-race")
	}
	out, err := exec.CommandContext(t.Context(), "go", append(args, "github.com/slipstream-go/slipstream/samples/"+program)...).CombinedOutput()
	require.NoError(t, err, "%s", out)
	return path
}

// freshTaskQueue is a task queue, and so a pool, that nobody else uses. When the test is over, and with it the workers
// that it started later, nothing of the pool may be in Redis for good but what has an owner.
func freshTaskQueue(t *testing.T) string {
	t.Helper()
	taskQueue := strings.ReplaceAll(t.Name(), "/", "-") + "-" + uuid.NewString()
	t.Cleanup(func() {
		if t.Failed() {
			return // it may have stopped anywhere
		}
		options, err := redis.ParseURL(stack.RedisURL())
		require.NoError(t, err)
		rdb := redis.NewClient(options)
		defer rdb.Close()
		redistest.NoLeftovers(t, rdb, "slipstream:{*/"+taskQueue+"*")
	})
	return taskQueue
}

// dial connects to the stack's Temporal server.
func dial(t *testing.T, plugins ...client.Plugin) client.Client {
	t.Helper()
	c, err := client.DialContext(t.Context(), client.Options{
		HostPort:  stack.Temporal(),
		Namespace: stack.Namespace(),
		Logger:    log.NewStructuredLogger(slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))),
		Plugins:   plugins,
	})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

// quiet logs warnings and errors.
func quiet() log.Logger {
	return log.NewStructuredLogger(slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})))
}
