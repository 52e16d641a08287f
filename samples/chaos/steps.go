package main

import (
	"bytes"
	"context"
	"fmt"
	"hash/fnv"
	"runtime"
	"strings"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"
)

// Work is what a step does.
type Work struct {
	// Key names the step: no two steps of a run of this program have the same. It has no spaces.
	Key   string
	Value int64
	Takes time.Duration
	// Fails is how many attempts fail, from the first on.
	Fails int32
	// Beats: with heartbeats.
	Beats bool
}

// Link is what a chain hands from step to step.
type Link struct {
	Key   string // of the chain
	Hop   int
	Value int64
	Takes time.Duration
}

func (l Link) work() Work {
	return Work{Key: fmt.Sprintf("%s/%d", l.Key, l.Hop), Value: l.Value, Takes: l.Takes}
}

// mix is what a step makes of its value: nothing that comes out right by chance.
func mix(key string, value int64) int64 {
	h := fnv.New64a()
	fmt.Fprintf(h, "%s %d", key, value)
	return int64(h.Sum64() >> 12) // small enough for any JSON
}

// Steps are the activities of a worker. They all do the same; what is different is how workers mark them and how
// workflows call them.
type Steps struct{ journal *journal }

// Step is marked by every deployment.
func (s *Steps) Step(ctx context.Context, w Work) (int64, error) { return s.do(ctx, w) }

// Once is called with MaximumAttempts 1.
func (s *Steps) Once(ctx context.Context, w Work) (int64, error) { return s.do(ctx, w) }

// Extra is marked by some deployments.
func (s *Steps) Extra(ctx context.Context, w Work) (int64, error) { return s.do(ctx, w) }

// Plain is marked by none.
func (s *Steps) Plain(ctx context.Context, w Work) (int64, error) { return s.do(ctx, w) }

// Hop is a step of a chain.
func (s *Steps) Hop(ctx context.Context, l Link) (Link, error) {
	value, err := s.do(ctx, l.work())
	l.Hop++
	l.Value = value
	return l, err
}

// howItCame tells how an attempt came to its handler: by the token that the plugin makes up for its own tasks, and by who
// called the handler. Nothing in the API says it, because handlers shall not care.
func howItCame(info activity.Info) byte {
	if bytes.HasPrefix(info.TaskToken, []byte("slipstream/")) {
		return routed
	}
	callers := make([]uintptr, 64)
	frames := runtime.CallersFrames(callers[:runtime.Callers(1, callers)])
	for {
		frame, more := frames.Next()
		switch {
		case strings.Contains(frame.Function, "slipstream/batchqueue."):
			return diverted
		case !more:
			return inPlace
		}
	}
}

// beat is the time between two heartbeats.
const beat = 500 * time.Millisecond

func (s *Steps) do(ctx context.Context, w Work) (int64, error) {
	info := activity.GetInfo(ctx)
	how := howItCame(info)
	note := func(what byte) error { return s.journal.note(what, how, info.Attempt, w.Key) }
	if err := note(started); err != nil {
		return 0, err
	}
	if info.Attempt <= w.Fails {
		if err := note(failed); err != nil {
			return 0, err
		}
		return 0, temporal.NewApplicationError("as told", "Told")
	}
	timer, beats := time.NewTimer(w.Takes), time.NewTicker(beat)
	defer timer.Stop()
	defer beats.Stop()
	for {
		select {
		case <-timer.C:
			// Before the result leaves: what the journal does not have did not happen.
			return mix(w.Key, w.Value), note(ended)
		case <-beats.C:
			if w.Beats {
				activity.RecordHeartbeat(ctx)
			}
		case <-ctx.Done():
			_ = note(interrupted) // the attempt is over either way
			return 0, ctx.Err()
		}
	}
}
