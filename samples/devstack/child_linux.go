package devstack

import (
	"os/exec"
	"syscall"
)

// bindLifetime makes cmd stop when this process dies, and keeps a Ctrl-C in the terminal from reaching it: this process
// stops it in order, after what uses it.
func bindLifetime(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM, Setpgid: true}
}
