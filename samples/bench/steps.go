package main

import (
	"context"
	"strings"
	"time"

	sdkactivity "go.temporal.io/sdk/activity"
)

// Steps are the activities of all cases. They know nothing of Slipstream.
type Steps struct {
	record *recorder
	gate   chan struct{} // Hold waits until it is closed; only where there is something to hold
}

// warmUp is the first task number of a warm-up. Those are negative, and not recorded.
const warmUp = -1_000_000

func (s *Steps) start(ctx context.Context, i int) (end func()) {
	if i < 0 {
		return func() {}
	}
	info := sdkactivity.GetInfo(ctx)
	if info.Attempt > 1 {
		s.record.retried()
	}
	return s.record.start(i, info.ScheduledTime)
}

// Step takes its time and returns the number after i.
func (s *Steps) Step(ctx context.Context, i int, takes time.Duration) (int, error) {
	defer s.start(ctx, i)()
	return i + 1, wait(ctx, takes)
}

// Next returns the number after i at once: a step that others can follow in a chain.
func (s *Steps) Next(ctx context.Context, i int) (int, error) {
	defer s.start(ctx, i)()
	return i + 1, nil
}

// Text returns i, written out to so many letters.
func (s *Steps) Text(ctx context.Context, i, letters int) (string, error) {
	defer s.start(ctx, i)()
	return spelled(i, letters), nil
}

// spelled is different for each i.
func spelled(i, letters int) string {
	var digits []byte
	for n := uint(i); n > 0; n /= 26 {
		digits = append(digits, 'a'+byte(n%26))
	}
	return string(digits) + strings.Repeat("-", max(0, letters-len(digits)))
}

// Hold waits until everything that is held is let go, and returns the number after i.
func (s *Steps) Hold(ctx context.Context, i int) (int, error) {
	defer s.start(ctx, i)()
	select {
	case <-s.gate:
		return i + 1, nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

func wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
