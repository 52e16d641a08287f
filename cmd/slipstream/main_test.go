package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/slipstream-go/slipstream/internal/redistest"
)

// server is the Temporal server of the tests that need one; its address is empty where there is none.
var server struct{ address, namespace string }

// TestMain finds a server: the one that SLIPSTREAM_TEMPORAL=HOST:PORT/NAMESPACE names, or the program in
// SLIPSTREAM_DEVSERVER (samples/devserver, which this module cannot import), started for as long as the tests run.
// `make test` gives the latter. In the children that tests start it is a worker.
func TestMain(m *testing.M) {
	if os.Getenv(childTaskQueue) != "" {
		os.Exit(child())
	}
	redis.SetLogger(silence{})
	for _, pair := range os.Environ() { // of the person who runs the tests
		for _, settings := range []string{"TEMPORAL_", "SLIPSTREAM_REDIS", "SLIPSTREAM_KEY_PREFIX"} {
			if name, _, _ := strings.Cut(pair, "="); strings.HasPrefix(name, settings) {
				_ = os.Unsetenv(name)
			}
		}
	}
	_ = os.Setenv("TEMPORAL_CONFIG_FILE", os.DevNull)
	os.Exit(withServer(m.Run))
}

func withServer(tests func() int) int {
	if target := os.Getenv("SLIPSTREAM_TEMPORAL"); target != "" {
		server.address, server.namespace, _ = strings.Cut(target, "/")
		return tests()
	}
	program := os.Getenv("SLIPSTREAM_DEVSERVER")
	if program == "" {
		return tests()
	}
	stop, err := startServer(program)
	if err != nil {
		fmt.Fprintf(os.Stderr, "SLIPSTREAM_DEVSERVER=%s: %v\n", program, err)
		return 1
	}
	defer stop()
	return tests()
}

// startServer returns when the server answers. It ends with this process at the latest.
func startServer(program string) (stop func(), err error) {
	cmd := exec.Command(program, "-until-stdin-closes", "-no-redis")
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	stop = func() {
		_ = stdin.Close()
		_, _ = io.Copy(io.Discard, stdout)
		_ = cmd.Wait()
	}
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	if err != nil {
		stop()
		return nil, fmt.Errorf("no address on its standard output: %w", err)
	}
	var ready struct{ Temporal, Namespace string }
	if err := json.Unmarshal(line, &ready); err != nil {
		stop()
		return nil, fmt.Errorf("printed %q instead of its addresses: %w", line, err)
	}
	server.address, server.namespace = ready.Temporal, ready.Namespace
	return stop, nil
}

// needTemporal skips a test where there is no server, but fails it in CI.
func needTemporal(t *testing.T) {
	t.Helper()
	if server.address != "" {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("CI must run this on a Temporal server: set SLIPSTREAM_DEVSERVER or SLIPSTREAM_TEMPORAL, as make test does")
	}
	t.Skip("no Temporal server: set SLIPSTREAM_DEVSERVER or SLIPSTREAM_TEMPORAL, as make test does")
}

// desk is a Redis and the way to call the program on it.
type desk struct {
	*testing.T
	redis     *redistest.Server
	namespace string
	// temporal is the address that the program is given: nobody's, unless a test needs one.
	temporal string
}

const nobody = "127.0.0.1:1"

func newDesk(t *testing.T, redisArgs ...string) *desk {
	t.Helper()
	leaks := goleak.IgnoreCurrent()
	t.Cleanup(func() { // the Redis client's own end within a second or two where their server has died
		redistest.Eventually(t, 10*time.Second, "nothing is left running", func() bool { return goleak.Find(leaks) == nil })
	})
	return &desk{T: t, redis: redistest.Start(t, redisArgs...), namespace: "shop", temporal: nobody}
}

// args puts the desk's connection before a command.
func (d *desk) args(args ...string) []string {
	return append([]string{"--redis", d.redis.URL(), "--namespace", d.namespace, "--address", d.temporal}, args...)
}

// run calls the program without a terminal.
func (d *desk) run(args ...string) (code int, stdout, stderr string) {
	d.Helper()
	var out, errs bytes.Buffer
	code = run(d.Context(), d.args(args...), strings.NewReader(""), &out, &errs)
	return code, out.String(), errs.String()
}

// ok calls the program, which must succeed, and returns what it printed.
func (d *desk) ok(args ...string) string {
	d.Helper()
	code, stdout, stderr := d.run(args...)
	require.Zero(d, code, stderr)
	require.Empty(d, stderr)
	return stdout
}

// json calls the program with --json and decodes what it printed.
func (d *desk) json(v any, args ...string) {
	d.Helper()
	require.NoError(d, json.Unmarshal([]byte(d.ok(append(args, "--json")...)), v))
}

// fails calls the program, which must fail with the exit code and say so.
func (d *desk) fails(code int, says string, args ...string) {
	d.Helper()
	got, _, stderr := d.run(args...)
	require.Equal(d, code, got, stderr)
	require.Contains(d, stderr, says)
	require.NotContains(d, stderr, "goroutine")
}
