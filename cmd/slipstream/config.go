package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/slipstream-go/slipstream/batchqueue"
)

type configJSON struct {
	Pool string `json:"pool"`
	batchqueue.PoolConfig
}

func (a *app) configCommand() *cobra.Command {
	return group(&cobra.Command{
		Use:   "config",
		Short: "Show or change what is configured for a pool",
	}, a.configGetCommand(), a.configSetCommand())
}

func (a *app) configGetCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "get POOL",
		Short:             "Show what is configured for a pool",
		Args:              takes(1, 1, "the name of a pool"),
		ValidArgsFunction: a.completePools,
		RunE: func(c *cobra.Command, args []string) error {
			p, err := a.pool(c.Context(), args[0])
			if err != nil {
				return err
			}
			config, err := p.q.Config(c.Context(), p.name)
			if err != nil {
				return err
			}
			return a.showConfig(p.name, config)
		},
	}
}

func (a *app) showConfig(pool string, c batchqueue.PoolConfig) error {
	return a.show(configJSON{pool, c}, func(w io.Writer) {
		orOwn := func(set bool, text string) string {
			if set {
				return text
			}
			return "as the executors have it"
		}
		version := fmt.Sprintf("version %d", c.Version)
		if c.Version == 0 {
			version = "nothing is stored, these are the defaults"
		}
		fmt.Fprintf(w, "%s: %s\n", pool, version)
		row(w, "slots", c.Slots)
		row(w, "concurrency", orOwn(c.Concurrency > 0, fmt.Sprintf("%d per executor", c.Concurrency)))
		row(w, "rate", orOwn(c.RatePerSecond > 0, fmt.Sprintf("%v starts per second", c.RatePerSecond)))
		row(w, "outbox-limit", fmt.Sprintf("%d outcomes per slot", c.OutboxLimit))
		row(w, "outbox-bytes", size(int64(c.OutboxBytes))+" per slot")
		row(w, "poison-limit", poisonLimit(c.PoisonLimit))
		row(w, "paused", c.Paused)
		row(w, "draining", c.Draining)
	})
}

func poisonLimit(n int) string {
	if n < 0 {
		return "off"
	}
	return plural(n, "lost executor")
}

func (a *app) configSetCommand() *cobra.Command {
	var change batchqueue.PoolConfig
	c := &cobra.Command{
		Use:   "set POOL",
		Short: "Change what is configured for a pool",
		Long: `Changes what is configured for a pool while it runs; what is not given stays. Executors follow within seconds, a
change of the slots takes effect after a minute, for runs that start from then on.

Pausing and draining have commands of their own.`,
		Example: `  slipstream config set translate --concurrency 50 --rate 200
  slipstream config set translate --rate 0`,
		Args:              takes(1, 1, "the name of a pool"),
		ValidArgsFunction: a.completePools,
	}
	f := c.Flags()
	f.IntVar(&change.Slots, "slots", 0, "partitions for runs that start from now on, 1 to 1,024")
	f.IntVar(&change.Concurrency, "concurrency", 0, "tasks at a time per executor; 0: as the executors have it")
	f.Float64Var(&change.RatePerSecond, "rate", 0, "starts per second over the whole pool; 0: as the executors have it")
	f.IntVar(&change.OutboxLimit, "outbox-limit", 0, "undelivered outcomes per slot beyond which claiming pauses; 0: 200,000")
	f.IntVar(&change.OutboxBytes, "outbox-bytes", 0, "the same for their bytes; 0: 268,435,456 (256 MiB)")
	f.IntVar(&change.PoisonLimit, "poison-limit", 0, "executors that a task may take down before it is given up; 0: 3, negative: never")
	c.RunE = func(c *cobra.Command, args []string) error {
		if !anyChanged(c, "slots", "concurrency", "rate", "outbox-limit", "outbox-bytes", "poison-limit") {
			return usage("config set changes nothing without a flag: give --slots, --concurrency, --rate, --outbox-limit, --outbox-bytes or --poison-limit")
		}
		p, err := a.pool(c.Context(), args[0])
		if err != nil {
			return err
		}
		config, err := p.q.ChangeConfig(c.Context(), p.name, func(now *batchqueue.PoolConfig) error {
			for flag, set := range map[string]func(){
				"slots":        func() { now.Slots = change.Slots },
				"concurrency":  func() { now.Concurrency = change.Concurrency },
				"rate":         func() { now.RatePerSecond = change.RatePerSecond },
				"outbox-limit": func() { now.OutboxLimit = change.OutboxLimit },
				"outbox-bytes": func() { now.OutboxBytes = change.OutboxBytes },
				"poison-limit": func() { now.PoisonLimit = change.PoisonLimit },
			} {
				if f.Changed(flag) {
					set()
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		return a.showConfig(p.name, config)
	}
	return c
}

func anyChanged(c *cobra.Command, flags ...string) bool {
	for _, name := range flags {
		if c.Flags().Changed(name) {
			return true
		}
	}
	return false
}
