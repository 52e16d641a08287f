package e2e

import (
	"bufio"
	"io"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// workerProcess is a testworker of a test's own.
type workerProcess struct {
	name    string
	cmd     *exec.Cmd
	stdin   io.Closer
	steps   atomic.Int64
	claimed atomic.Int64  // tasks in all; known once it has stopped in order
	died    atomic.Bool   // at the point that workerOptions.die names
	ready   chan struct{} // closed once it works
	ended   chan struct{} // closed once it is gone; err is set before
	err     error
}

// workerOptions are testworker's flags.
type workerOptions struct {
	name        string
	taskQueue   string
	concurrency int
	plain       bool // without the plugin
	deployment  string
	build       string // within the deployment
	stuck       bool   // its steps never end
	// activitiesOnly leaves workflows to another worker.
	activitiesOnly bool
	drain          time.Duration // 0: the plugin's default
	fast           bool          // without the race detector
	// more are flags as they are.
	more []string
}

// startWorkerProcess returns once the worker works. The process ends with the test at the latest.
func startWorkerProcess(t *testing.T, o workerOptions) *workerProcess {
	t.Helper()
	p := launchWorkerProcess(t, o)
	p.awaitReady(t)
	return p
}

func (p *workerProcess) awaitReady(t *testing.T) {
	t.Helper()
	select {
	case <-p.ready:
	case <-p.ended:
		require.NoError(t, p.err, "worker %s ended before it was ready", p.name)
	case <-t.Context().Done():
		require.NoError(t, t.Context().Err())
	}
}

// launchWorkerProcess is startWorkerProcess for a worker that may be gone before it is ready.
func launchWorkerProcess(t *testing.T, o workerOptions) *workerProcess {
	t.Helper()
	args := []string{
		"-temporal", stack.Temporal(), "-namespace", stack.Namespace(),
		"-task-queue", o.taskQueue, "-name", o.name, "-concurrency", strconv.Itoa(o.concurrency), "-drain", o.drain.String(),
		"-activities-only=" + strconv.FormatBool(o.activitiesOnly),
	}
	if !o.plain {
		args = append(args, "-redis", stack.RedisURL())
	}
	if o.deployment != "" {
		args = append(args, "-deployment", o.deployment, "-build", o.build)
	}
	if o.stuck {
		args = append(args, "-stuck")
	}
	args = append(args, o.more...)
	p := &workerProcess{name: o.name, ready: make(chan struct{}), ended: make(chan struct{})}
	p.cmd = exec.Command(build(t, "e2e/testworker", raceEnabled && !o.fast), args...)
	p.cmd.Stderr = t.Output()
	var err error
	p.stdin, err = p.cmd.StdinPipe()
	require.NoError(t, err)
	out, err := p.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, p.cmd.Start())
	go p.follow(out)
	t.Cleanup(p.kill)
	return p
}

// follow reads what the process says until it is gone.
func (p *workerProcess) follow(out io.Reader) {
	defer close(p.ended)
	for lines := bufio.NewScanner(out); lines.Scan(); {
		what, number, _ := strings.Cut(lines.Text(), " ")
		switch what {
		case "ready":
			close(p.ready)
		case "step":
			p.steps.Add(1)
		case "dies":
			p.died.Store(true)
		case "claimed":
			n, _ := strconv.ParseInt(number, 10, 64) // 0, and the test fails, if it is none
			p.claimed.Store(n)
		}
	}
	p.err = p.cmd.Wait()
}

// started is how many steps the worker has started so far.
func (p *workerProcess) started() int { return int(p.steps.Load()) }

func (p *workerProcess) isGone() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

// kill ends the process as a crash would, if it still runs, and waits until it is gone.
func (p *workerProcess) kill() {
	_ = p.cmd.Process.Kill() // fails if it is gone, which is the aim
	<-p.ended
	_ = p.stdin.Close()
}

// stop ends the process in order, as a deployment would.
func (p *workerProcess) stop(t *testing.T) {
	t.Helper()
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM))
	select {
	case <-p.ended:
		require.NoError(t, p.err)
	case <-time.After(time.Minute):
		require.FailNow(t, "worker did not stop", p.name)
	}
}
