package main

import "time"

// restartTemporal kills the Temporal server and starts another on what it has left.
func restartTemporal(f *strike) error {
	t := f.stage.temporal
	pid := t.stack.TemporalPID()
	f.began = time.Now()
	if err := t.kill(); err != nil {
		return err
	}
	if takesConnections(f.ctx, t.address()) {
		return unproven("somebody still listens at %s", t.address())
	}
	f.pause()
	if err := t.start(f.ctx); err != nil {
		return err
	}
	f.healed = time.Now()
	if t.stack.TemporalPID() == pid {
		return unproven("it is still process %d", pid)
	}
	f.showf("process %d was killed by SIGKILL, process %d answers on the same file and port after %.1f s", pid, t.stack.TemporalPID(), f.healed.Sub(f.began).Seconds())
	return nil
}
