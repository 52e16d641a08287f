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
const stopTimeout = 15 * time.Second

// child is a process that this one owns. One goroutine starts it, waits for it and ends with it.
type child struct {
	cmd    *exec.Cmd
	exited chan struct{} // closed once the process is gone; err is set before
	err    error
}

// startChild starts cmd so that it does not outlive this process where the system can promise that (Linux).
func startChild(cmd *exec.Cmd) (*child, error) {
	bindLifetime(cmd)
	c := &child{cmd: cmd, exited: make(chan struct{})}
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

// stop asks the process to end, kills it if it does not, and returns once it is gone.
func (c *child) stop() error {
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
