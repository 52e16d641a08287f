package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// strike is a fault that happens, or has happened.
type strike struct {
	fault

	ctx    context.Context
	stage  *stage
	number int

	// began is when it began to hurt, healed when its cause was gone.
	began, healed time.Time
	// lostSince: Redis has lost what it acknowledged between this time and began. Zero: all or nothing.
	lostSince time.Time
	// stopped are the worker processes that it ended or stopped, and when.
	stopped  map[int]time.Time
	evidence []string
	err      error
}

// showf notes what proves that it happened.
func (f *strike) showf(format string, args ...any) {
	f.evidence = append(f.evidence, fmt.Sprintf(format, args...))
}

// unproven is the error of a fault that did not happen as it should have.
func unproven(format string, args ...any) error {
	return fmt.Errorf("the fault did not happen: "+format, args...)
}

func (f *strike) member() *member { return f.stage.fleet[f.worker] }

// pause lasts as long as the fault.
func (f *strike) pause() { wait(f.ctx, f.hold) }

// wait waits for time to pass, which is all that there is to wait for.
func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// probing repeats a probe as long as the fault lasts and counts how often it said yes.
func (f *strike) probing(probe func() bool) (yes, all int) {
	ctx, cancel := context.WithTimeout(f.ctx, f.hold)
	defer cancel()
	for ctx.Err() == nil {
		if probe() {
			yes++
		}
		all++
		wait(ctx, 200*time.Millisecond)
	}
	return yes, all
}

// strikeAll lets the faults happen, each at its time, and returns once all are over.
func strikeAll(ctx context.Context, s *stage, plan schedule, log io.Writer) []*strike {
	begin := time.Now()
	strikes := make([]*strike, 0, len(plan.faults))
	var open sync.WaitGroup
	var late time.Duration // faults take longer on a busy machine; then the others come later
	for i, planned := range plan.faults {
		if !planned.storm {
			open.Wait()
			if i > 0 {
				late = max(late, time.Since(begin)-plan.faults[i-1].at-plan.faults[i-1].hold)
			}
		}
		wait(ctx, time.Until(begin.Add(planned.at+late)))
		if ctx.Err() != nil {
			break
		}
		f := &strike{fault: planned, ctx: ctx, stage: s, number: i + 1, stopped: map[int]time.Time{}}
		strikes = append(strikes, f)
		open.Go(func() {
			f.began = time.Now()
			f.err = f.kind.strike(f)
			if f.healed.IsZero() {
				f.healed = time.Now()
			}
			switch {
			case ctx.Err() != nil:
			case f.err != nil:
				s.violatef("fault %d, %s: %v", f.number, f.fault, f.err)
				fmt.Fprintf(log, "%7.1fs  %s: %v\n", f.began.Sub(begin).Seconds(), f.fault, f.err)
			default:
				fmt.Fprintf(log, "%7.1fs  %s: %s\n", f.began.Sub(begin).Seconds(), f.fault, strings.Join(f.evidence, "; "))
			}
		})
	}
	open.Wait()
	return strikes
}
