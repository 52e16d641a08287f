package main

import "github.com/prometheus/procfs"

// processCPU is the CPU time that another process has used, in seconds, with a resolution of 10 ms. 0: not known.
func processCPU(pid int) float64 {
	p, err := procfs.NewProc(pid)
	if err != nil {
		return 0
	}
	stat, err := p.Stat()
	if err != nil {
		return 0
	}
	return stat.CPUTime()
}
