package fidelity

import (
	"context"
	"time"

	"go.temporal.io/sdk/activity"
)

// echo registers an activity that returns its argument.
func (p *play) echo() {
	p.activity("Echo", func(_ context.Context, s string) (string, error) { return "echo " + s, nil })
}

// held registers an activity that returns its argument once release(argument) was called.
func (p *play) held() (release func(s string)) {
	gates := map[string]chan struct{}{}
	gate := func(s string) chan struct{} {
		p.mu.Lock()
		defer p.mu.Unlock()
		if gates[s] == nil {
			gates[s] = make(chan struct{})
		}
		return gates[s]
	}
	p.activity("Held", func(_ context.Context, s string) (string, error) {
		select {
		case <-gate(s):
		case <-p.over:
		}
		return "held " + s, nil
	})
	return func(s string) { close(gate(s)) }
}

// hang notes why its context ends, and returns that error.
func hang(ctx context.Context, p *play, _ int32) (string, error) {
	<-ctx.Done()
	p.seen.note("context", cause(ctx))
	return "", ctx.Err()
}

// deaf returns an attempt that ignores its context until the play is over.
func deaf(_ context.Context, p *play, _ int32) (string, error) {
	<-p.over
	return "too late", nil
}

// beatUntilDone heartbeats until the context ends.
func beatUntilDone(ctx context.Context) {
	beat := time.NewTicker(100 * ms)
	defer beat.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-beat.C:
			activity.RecordHeartbeat(ctx, "alive")
		}
	}
}
