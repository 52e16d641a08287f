package main

import (
	"github.com/spf13/cobra"

	"github.com/slipstream-go/slipstream/batchqueue"
)

func (a *app) pauseCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "pause POOL",
		Short: "Let a pool's tasks wait",
		Long: `Stops a pool's executors from claiming tasks, within seconds. Handlers that run go on, new tasks are accepted and
wait; their time-outs run. slipstream resume ends it.`,
		Args:              takes(1, 1, "the name of a pool"),
		ValidArgsFunction: a.completePools,
		RunE: func(c *cobra.Command, args []string) error {
			return a.change(c, args[0], func(now *batchqueue.PoolConfig) { now.Paused = true },
				"Pool %s is paused: what runs goes on, what waits stays until slipstream resume.")
		},
	}
}

func (a *app) resumeCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "resume POOL",
		Short:             "End a pause or a drain",
		Long:              `Lets a pool's executors claim tasks again, and the pool take new ones, within ten seconds.`,
		Args:              takes(1, 1, "the name of a pool"),
		ValidArgsFunction: a.completePools,
		RunE: func(c *cobra.Command, args []string) error {
			return a.change(c, args[0], func(now *batchqueue.PoolConfig) { now.Paused, now.Draining = false, false },
				"Pool %s is active.")
		},
	}
}

// change changes a pool's configuration and says so.
func (a *app) change(c *cobra.Command, name string, change func(*batchqueue.PoolConfig), said string) error {
	p, err := a.pool(c.Context(), name)
	if err != nil {
		return err
	}
	config, err := p.q.ChangeConfig(c.Context(), p.name, func(now *batchqueue.PoolConfig) error {
		change(now)
		return nil
	})
	if err != nil {
		return err
	}
	return a.done(configJSON{p.name, config}, said, p.name)
}
