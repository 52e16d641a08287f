package main

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/spf13/cobra"
)

// lookTimeout is how long top waits for Redis before it says so and tries again.
const lookTimeout = 5 * time.Second

// snapshot is what top knows at one moment.
type snapshot struct {
	at   time.Time
	rows []topRow
}

// topRow is a pool with its pace since the snapshot before.
type topRow struct {
	poolRow
	EnqueuedPerSecond float64 `json:"enqueuedPerSecond"`
	FinishedPerSecond float64 `json:"finishedPerSecond"`
}

func (a *app) topCommand() *cobra.Command {
	var every time.Duration
	var count int
	c := &cobra.Command{
		Use:   "top [POOL...]",
		Short: "Watch the pools live",
		Long: `Watches the pools, or those that are named, until q is pressed: depth, age, pace, and of the pool that is chosen with
the arrow keys its types and executors.

With --json it writes one line per look instead, and needs no terminal.`,
		Args:              takes(0, -1, "names of pools"),
		ValidArgsFunction: a.completeManyPools,
		Annotations:       map[string]string{unbounded: ""},
		RunE: func(c *cobra.Command, args []string) error {
			switch {
			case every < 100*time.Millisecond:
				return usage("--interval is %v: give at least 100ms", every)
			case count < 0:
				return usage("--count is %d: give 1 or more, or 0 for no end", count)
			case a.flags.json:
				return a.topLines(c.Context(), args, every, count)
			case count > 0:
				return usage("--count is for --json")
			case !terminal(a.stdin) || !terminal(a.stdout):
				return refused("top needs a terminal: use slipstream stats, or top --json, where there is none")
			}
			return a.topScreen(c.Context(), args, every)
		},
	}
	c.Flags().DurationVarP(&every, "interval", "i", time.Second, "how often to look")
	c.Flags().IntVar(&count, "count", 0, "with --json: how many lines; 0 is without end")
	return c
}

func (a *app) topScreen(ctx context.Context, names []string, every time.Duration) error {
	first, err := a.snapshot(ctx, snapshot{}, names) // a pool or a server that is not there is an error, not a screen
	if err != nil {
		return err
	}
	m := topModel{
		look:   func(last snapshot) (snapshot, error) { return a.snapshot(ctx, last, names) },
		every:  every,
		title:  "namespace " + a.namespace() + " on " + a.redisAddress(),
		last:   first,
		width:  80,
		height: 24,
	}
	p := tea.NewProgram(m, tea.WithContext(ctx), tea.WithInput(a.stdin), tea.WithOutput(a.stdout), tea.WithoutSignalHandler())
	_, err = p.Run()
	if errors.Is(err, tea.ErrProgramKilled) && ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

func (a *app) topLines(ctx context.Context, names []string, every time.Duration, count int) error {
	enc := json.NewEncoder(a.stdout)
	tick := time.NewTicker(every)
	defer tick.Stop()
	var last snapshot
	for n := 1; ; n++ {
		now, err := a.snapshot(ctx, last, names)
		if err != nil {
			return err
		}
		line := struct {
			At    time.Time `json:"at"`
			Pools []topRow  `json:"pools"`
		}{now.at.UTC(), now.rows}
		if err := enc.Encode(line); err != nil {
			return err
		}
		if n == count {
			return nil
		}
		last = now
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// snapshot looks at the pools and compares with the last look.
func (a *app) snapshot(ctx context.Context, last snapshot, names []string) (snapshot, error) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	rows, err := a.lookAll(ctx, names...)
	if err != nil {
		return snapshot{}, err
	}
	now := snapshot{at: time.Now(), rows: make([]topRow, len(rows))}
	for i, r := range rows {
		now.rows[i].poolRow = r
		for _, before := range last.rows {
			if passed := now.at.Sub(last.at).Seconds(); before.Pool == r.Pool && passed > 0 {
				now.rows[i].EnqueuedPerSecond = float64(r.stats.Enqueued-before.stats.Enqueued) / passed
				now.rows[i].FinishedPerSecond = float64(r.stats.Finished-before.stats.Finished) / passed
			}
		}
	}
	return now, nil
}
