package devstack

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"time"
)

// stopTimeout is how long a child process may take to stop in order before it is killed.
const stopTimeout = time.Minute

// Child is a process that this one owns. One goroutine starts it, waits for it and ends with it. Safe for concurrent use.
type Child struct {
	cmd    *exec.Cmd
	exited chan struct{} // closed once the process is gone; err is set before
	err    error
}

// StartChild starts cmd in a process group of its own, so that it does not outlive this process where the system can
// promise that (Linux).
func StartChild(cmd *exec.Cmd) (*Child, error) {
	bindLifetime(cmd)
	c := &Child{cmd: cmd, exited: make(chan struct{})}
	started := make(chan error)
	go func() {
		// The kernel takes the parent's death to be the death of the thread that forked, hence one thread for
		// as long as the child lives.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			c.err = cmd.Wait()
			close(c.exited)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("devstack: cannot start %s: %w", cmd.Path, err)
	}
	return c, nil
}

// PID is its process ID, also after its end.
func (c *Child) PID() int { return c.cmd.Process.Pid }

// Exited is closed once the process is gone.
func (c *Child) Exited() <-chan struct{} { return c.exited }

// State says how the process ended. It is nil until Exited is closed.
func (c *Child) State() *os.ProcessState {
	select {
	case <-c.exited:
		return c.cmd.ProcessState
	default:
		return nil
	}
}

// Signal sends a signal to the process.
func (c *Child) Signal(s os.Signal) error { return c.cmd.Process.Signal(s) }

// Kill ends the process as a crash would and returns once it is gone. It fails if the process had ended before.
func (c *Child) Kill() error {
	if err := c.cmd.Process.Kill(); err != nil {
		return fmt.Errorf("devstack: cannot kill %s: %w", c.cmd.Path, err)
	}
	<-c.exited
	if c.cmd.ProcessState.Exited() {
		return fmt.Errorf("devstack: %s ended by itself before it was killed: %s", c.cmd.Path, c.cmd.ProcessState)
	}
	return nil
}

// Stop asks the process to end, kills it if it does not, and returns once it is gone.
func (c *Child) Stop() error {
	if err := c.cmd.Process.Signal(os.Interrupt); err != nil && !errors.Is(err, os.ErrProcessDone) {
		_ = c.cmd.Process.Kill() // Windows cannot interrupt a process
	}
	timeout := time.NewTimer(stopTimeout)
	defer timeout.Stop()
	select {
	case <-c.exited:
		return nil
	case <-timeout.C:
		_ = c.cmd.Process.Kill()
		<-c.exited
		return fmt.Errorf("devstack: %s did not stop within %s and was killed", c.cmd.Path, stopTimeout)
	}
}
