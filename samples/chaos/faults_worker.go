package main

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// kill ends a worker by SIGKILL; another takes its place after a while.
func kill(f *strike) error {
	m := f.member()
	f.began = time.Now()
	p, err := m.kill()
	if err != nil {
		return err
	}
	f.stopped[p.child.PID()] = f.began
	f.showf("process %d: %s", p.child.PID(), p.child.State())
	f.healed = time.Now()
	f.pause()
	return m.start(f.ctx)
}

// suspend stops a worker for longer than its lease, and lets it go on: it believes that it still has what it had.
func suspend(f *strike) error {
	m := f.member()
	p := m.current()
	pid := p.child.PID()
	f.began = time.Now()
	if err := p.child.Signal(sigStop); err != nil {
		return err
	}
	f.stopped[pid] = f.began
	defer func() { _ = p.child.Signal(sigCont) }() // whatever happens: nobody else does it
	if err := until(f.ctx, time.Second, "the kernel says T", func() bool { is, known := isState(pid, 'T'); return is || !known }); err != nil {
		return unproven("%w", err)
	}
	yes, all := f.probing(func() bool { is, known := isState(pid, 'T'); return is || !known })
	if yes < all || f.hold <= lease {
		return unproven("process %d was seen stopped %d times of %d, for %s", pid, yes, all, f.hold)
	}
	if err := p.child.Signal(sigCont); err != nil {
		return err
	}
	f.healed = time.Now()
	f.showf("process %d was in state T in %d looks of %d; it goes on after %.1f s, a lease is %s", pid, yes, all, f.healed.Sub(f.began).Seconds(), lease)
	return nil
}

// redeploy stops a worker in order and starts another in its place.
func redeploy(f *strike) error {
	f.began = time.Now()
	return f.replace(f.ctx, f.member(), f.member().config)
}

// replace puts a process with another configuration in the place of a member's.
func (f *strike) replace(ctx context.Context, m *member, c workerConfig) error {
	p, err := m.stop(ctx)
	if err != nil {
		return err
	}
	f.stopped[p.child.PID()] = p.until
	took := time.Since(p.until)
	m.config = c
	if err := m.start(ctx); err != nil {
		return err
	}
	f.showf("worker %d: process %d ended in order in %.1f s, process %d is ready", m.number, p.child.PID(), took.Seconds(), m.current().child.PID())
	return nil
}

// remark deploys another set of marks to one worker after the other, then the old set again.
func remark(marks string) func(f *strike) error {
	return func(f *strike) error {
		f.began = time.Now()
		for _, deployed := range []string{marks, "all"} {
			for _, m := range f.stage.fleet {
				c := m.config
				c.marks = deployed
				if err := f.replace(f.ctx, m, c); err != nil {
					return err
				}
				if !m.current().lines.has(c.readyLine()) {
					return unproven("worker %d does not say %q", m.number, c.readyLine())
				}
			}
			if deployed == marks {
				f.pause()
			}
		}
		f.evidence = []string{fmt.Sprintf("all workers said marks=%s, then marks=all; %d processes ended in order", marks, len(f.stopped))}
		return nil
	}
}

// skew has half of the workers, the first among them, be of the protocol before, for a while.
func skew(f *strike) error {
	f.began = time.Now()
	half := f.stage.fleet[:(len(f.stage.fleet)+1)/2]
	for _, m := range half {
		c := m.config
		c.older = true
		if err := f.replace(f.ctx, m, c); err != nil {
			return err
		}
	}
	var wrote []string
	err := until(f.ctx, 30*time.Second, "a worker writes a record of the older protocol", func() bool {
		wrote = nil
		for _, m := range half {
			if m.current().lines.has(recordLine) {
				wrote = append(wrote, fmt.Sprint(m.number))
			}
		}
		return len(wrote) > 0
	})
	if err != nil {
		return unproven("%w", err)
	}
	f.pause()
	for _, m := range half {
		c := m.config
		c.older = false
		if err := f.replace(f.ctx, m, c); err != nil {
			return err
		}
	}
	f.evidence = []string{fmt.Sprintf("%d of %d workers were one protocol older; records of it were written by worker %s",
		len(half), len(f.stage.fleet), strings.Join(wrote, ", "))}
	return nil
}
