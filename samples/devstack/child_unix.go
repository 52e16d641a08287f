//go:build unix && !linux

package devstack

import (
	"os/exec"
	"syscall"
)

// bindLifetime keeps a Ctrl-C in the terminal from reaching cmd: this process stops it in order, after what uses it.
// Only Linux can make it die with this process too.
func bindLifetime(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
}
