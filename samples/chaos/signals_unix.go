//go:build unix

package main

import "syscall"

// What stops a process where it is, and what lets it go on.
const (
	sigStop = syscall.SIGSTOP
	sigCont = syscall.SIGCONT
)
