package workflow_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/log"
)

// server is the Temporal server of the tests that need one; its address is empty where
// there is none.
var server struct{ address, namespace string }

// TestMain finds a server: the one that SLIPSTREAM_TEMPORAL=HOST:PORT/NAMESPACE names,
// or the program in SLIPSTREAM_DEVSERVER (samples/devserver, which this module cannot
// import), started for as long as the tests run. `make test` gives the latter.
func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if target := os.Getenv("SLIPSTREAM_TEMPORAL"); target != "" {
		server.address, server.namespace, _ = strings.Cut(target, "/")
		return m.Run()
	}
	program := os.Getenv("SLIPSTREAM_DEVSERVER")
	if program == "" {
		return m.Run()
	}
	stop, err := startServer(program)
	if err != nil {
		fmt.Fprintf(os.Stderr, "SLIPSTREAM_DEVSERVER=%s: %v\n", program, err)
		return 1
	}
	defer stop()
	return m.Run()
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

// dial connects to the server.
func dial(t *testing.T) (c client.Client, namespace string) {
	t.Helper()
	if server.address == "" {
		if os.Getenv("CI") == "true" {
			t.Fatal("CI must run this on a Temporal server: set SLIPSTREAM_DEVSERVER or SLIPSTREAM_TEMPORAL, as make test does")
		}
		t.Skip("no Temporal server: set SLIPSTREAM_DEVSERVER or SLIPSTREAM_TEMPORAL, as make test does")
	}
	c, err := client.Dial(client.Options{
		HostPort: server.address, Namespace: server.namespace, Identity: "recorder", Logger: log.NewStructuredLogger(discard()),
	})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c, server.namespace
}
