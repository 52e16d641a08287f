package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipstream-go/slipstream/batchqueue"
)

// poolRow is a pool at a glance.
type poolRow struct {
	Pool             string  `json:"pool"`
	State            string  `json:"state"` // active, paused, draining, both, or unattended
	Executors        int     `json:"executors"`
	Permits          int     `json:"permits"` // what the executors could run together
	Waiting          int64   `json:"waiting"`
	OldestAgeSeconds float64 `json:"oldestAgeSeconds"`
	InFlight         int64   `json:"inFlight"`
	Delayed          int64   `json:"delayed"`
	Outbox           int64   `json:"outbox"`
	DeadLetters      int64   `json:"deadLetters"`

	oldest    time.Duration
	config    batchqueue.PoolConfig
	stats     batchqueue.Stats
	executors []batchqueue.ExecutorStatus
}

// look reads a pool's row.
func (p pool) look(ctx context.Context) (poolRow, error) {
	config, err := p.q.Config(ctx, p.name)
	if err != nil {
		return poolRow{}, err
	}
	stats, err := p.q.Stats(ctx, p.name)
	if err != nil {
		return poolRow{}, err
	}
	executors, err := p.q.Executors(ctx, p.name)
	if err != nil {
		return poolRow{}, err
	}
	dead, err := p.q.DeadLetterCount(ctx, p.name)
	if err != nil {
		return poolRow{}, err
	}
	r := poolRow{
		Pool: p.name, Waiting: stats.Depth(), InFlight: stats.InFlight(), Delayed: stats.Delayed, Outbox: stats.Outbox,
		DeadLetters: dead, config: config, stats: stats, executors: executors,
	}
	for _, e := range executors {
		if e.Present && len(e.Types) > 0 {
			r.Executors++
			r.Permits += permits(e, config)
		}
	}
	for _, t := range stats.Types {
		r.oldest = max(r.oldest, t.OldestAge)
	}
	r.OldestAgeSeconds = seconds(r.oldest)
	r.State = stateOf(config, r.Executors)
	return r, nil
}

// permits are how many tasks an executor may run, by its own limit and the pool's.
func permits(e batchqueue.ExecutorStatus, c batchqueue.PoolConfig) int {
	if c.Concurrency > 0 {
		return min(c.Concurrency, e.Concurrency)
	}
	return e.Concurrency
}

func stateOf(c batchqueue.PoolConfig, executors int) string {
	var states []string
	if c.Paused {
		states = append(states, "paused")
	}
	if c.Draining {
		states = append(states, "draining")
	}
	if executors == 0 {
		states = append(states, "unattended")
	}
	if len(states) == 0 {
		return "active"
	}
	return strings.Join(states, ", ")
}

// lookAll reads the rows of the named pools, or of all.
func (a *app) lookAll(ctx context.Context, names ...string) ([]poolRow, error) {
	pools, err := a.pools(ctx, names...)
	if err != nil {
		return nil, err
	}
	rows := make([]poolRow, len(pools))
	for i, p := range pools {
		if rows[i], err = p.look(ctx); err != nil {
			return nil, err
		}
	}
	return rows, nil
}

func (a *app) poolsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "pools",
		Short: "List the pools of the namespace",
		Long: `Lists the pools of the namespace: those whose workers have started, or whose configuration was changed, within
30 days. A pool is a task queue, followed by /NAME for a mark's own pool and @BUILD for versioned workers.

STATE is active; paused: nothing is claimed; draining: new calls go another way; unattended: no executor is there.
PERMITS is how many tasks the executors may run together, OLDEST how long the first waiting task has waited, OUTBOX
how many outcomes have not been delivered, DEAD how many dead letters there are.`,
		Args: takes(0, 0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			rows, err := a.lookAll(c.Context())
			if err != nil {
				return err
			}
			return a.show(rows, func(w io.Writer) {
				if len(rows) == 0 {
					fmt.Fprintf(w, "There are no pools in namespace %q: no worker with Slipstream has started on this Redis.\n", a.namespace())
					return
				}
				row(w, "POOL", "STATE", "EXECUTORS", "PERMITS", "WAITING", "OLDEST", "IN FLIGHT", "DELAYED", "OUTBOX", "DEAD")
				for _, r := range rows {
					row(w, r.Pool, r.State, r.Executors, r.Permits, r.Waiting, r.oldest, r.InFlight, r.Delayed, r.Outbox, r.DeadLetters)
				}
			})
		},
	}
}

// completePools offers pool names as the first argument.
func (a *app) completePools(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.poolNames(c.Context())
}

// completeManyPools offers pool names for all arguments.
func (a *app) completeManyPools(c *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	return a.poolNames(c.Context())
}

// completionTimeout: whoever presses tab does not wait.
const completionTimeout = 2 * time.Second

func (a *app) poolNames(ctx context.Context) ([]string, cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(ctx, completionTimeout)
	defer cancel()
	if a.complete() != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	pools, err := a.pools(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	names := make([]string, len(pools))
	for i, p := range pools {
		names[i] = p.name
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
