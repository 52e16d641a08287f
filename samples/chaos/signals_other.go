//go:build !unix

package main

import "syscall"

// No process can be stopped here, which parseConfig says before anything starts.
const (
	sigStop = syscall.SIGTERM
	sigCont = syscall.SIGTERM
)
