package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipstream-go/slipstream/batchqueue"
)

// drainLook is how often drain looks whether the pool is empty.
const drainLook = 500 * time.Millisecond

type drainJSON struct {
	Pool  string `json:"pool"`
	Empty bool   `json:"empty"`
	Left  int64  `json:"left"`
}

func (a *app) drainCommand() *cobra.Command {
	var within time.Duration
	var noWait bool
	c := &cobra.Command{
		Use:   "drain POOL",
		Short: "Let a pool run empty, and wait for it",
		Long: `Lets a pool run empty, before its Redis is taken away for instance: within ten seconds workers send new calls another
way (marked steps become ordinary activities, batches without a workflow are refused), while executors finish what the
pool has. The command returns when nothing waits, runs, is delayed or is undelivered.

The pool stays closed to new calls until slipstream resume.`,
		Args:              takes(1, 1, "the name of a pool"),
		ValidArgsFunction: a.completePools,
		Annotations:       map[string]string{unbounded: ""},
		RunE: func(c *cobra.Command, args []string) error {
			p, err := a.pool(c.Context(), args[0])
			if err != nil {
				return err
			}
			_, err = p.q.ChangeConfig(c.Context(), p.name, func(now *batchqueue.PoolConfig) error {
				if now.Paused && !noWait {
					return refused("pool %s is paused, so that it never runs empty: slipstream resume %s first, or give --no-wait", p.name, p.name)
				}
				now.Draining = true
				return nil
			})
			if err != nil {
				return err
			}
			if noWait {
				return a.done(drainJSON{Pool: p.name}, "Pool %s drains: new calls go another way within ten seconds, until slipstream resume.", p.name)
			}
			ctx, cancel := context.WithTimeout(c.Context(), within)
			defer cancel()
			return a.awaitEmpty(ctx, p, within)
		},
	}
	c.Flags().DurationVar(&within, "within", 10*time.Minute, "how long to wait until the pool is empty")
	c.Flags().BoolVar(&noWait, "no-wait", false, "return at once")
	return c
}

// closedAfter is how long workers may still enqueue by what they knew before.
const closedAfter = 10 * time.Second

// awaitEmpty waits until the pool has been empty since nobody could have added anything.
func (a *app) awaitEmpty(ctx context.Context, p pool, within time.Duration) error {
	closed := time.Now().Add(closedAfter)
	tick := time.NewTicker(drainLook)
	defer tick.Stop()
	left, said := int64(-1), int64(-1)
	for {
		stats, err := p.q.Stats(ctx, p.name)
		switch {
		case err == nil:
			left = stats.Depth() + stats.InFlight() + stats.Delayed + stats.Outbox
		case errors.Is(ctx.Err(), context.DeadlineExceeded):
		default:
			return err
		}
		if left == 0 && time.Now().After(closed) {
			return a.done(drainJSON{p.name, true, 0}, "Pool %s is empty. It takes no new calls until slipstream resume.", p.name)
		}
		if left != said && left >= 0 && terminal(a.stderr) {
			fmt.Fprintf(a.stderr, "%d left: %d waiting, %d in flight, %d delayed, %d undelivered\n",
				left, stats.Depth(), stats.InFlight(), stats.Delayed, stats.Outbox)
			said = left
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return ctx.Err()
			}
			if left < 0 {
				return fmt.Errorf("pool %s goes on draining, and Redis did not say within %v what is left: repeat the command to wait on", p.name, within)
			}
			return fmt.Errorf("pool %s is not empty after %v, %s left; it goes on draining: repeat the command to wait on, slipstream tasks list %s shows what is there",
				p.name, within, plural(left, "task"), p.name)
		}
	}
}
