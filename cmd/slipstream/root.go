package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"
	"go.temporal.io/sdk/client"
)

// app is one run of the program.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	flags          flags

	// Made when a command first needs them.
	rdb      redis.UniversalClient
	temporal client.Client
	closers  []func() // called at the end

	// afresh returns a context for the command whose time begins now.
	afresh func() context.Context
}

// flags are those of every command.
type flags struct {
	redis, keyPrefix string
	redisTLS         redisTLS
	temporal         temporalFlags
	json, yes        bool
	timeout          time.Duration
}

// unbounded marks commands that go on for as long as it takes, within their own limits.
const unbounded = "unbounded"

func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "slipstream",
		Short: "Look after Slipstream's queues",
		Long: `slipstream shows what Slipstream's queue in Redis holds and what Temporal knows of it, and changes what an
operator may change.

Redis and the key prefix come from --redis and --key-prefix, or SLIPSTREAM_REDIS and SLIPSTREAM_KEY_PREFIX.
Temporal's address, namespace, TLS and API key come from the flags, environment variables and profiles of the
Temporal CLI (TEMPORAL_ADDRESS, TEMPORAL_NAMESPACE, TEMPORAL_API_KEY, TEMPORAL_TLS_..., TEMPORAL_PROFILE). The
namespace also names the queue's keys in Redis. Temporal itself is called by check, describe and dead redrive only.

` + exitCodes,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	f := root.PersistentFlags()
	f.StringVar(&a.flags.redis, "redis", "", "Redis, as redis://, rediss:// or unix:// URL; with ?addr=HOST:PORT for each further node of a cluster, with ?master_name=NAME of Sentinels (SLIPSTREAM_REDIS, else "+defaultRedis+")")
	a.flags.redisTLS.register(f)
	f.StringVar(&a.flags.keyPrefix, "key-prefix", "", "begins all keys, as plugin.Options.KeyPrefix (SLIPSTREAM_KEY_PREFIX, else slipstream)")
	f.BoolVar(&a.flags.json, "json", false, "write JSON instead of tables")
	f.DurationVar(&a.flags.timeout, "command-timeout", 30*time.Second, "how long a command may take, and again once it is confirmed; 0 is for ever")
	a.flags.temporal.register(f)
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error { return usage("%s: %v", c.CommandPath(), err) })

	root.PersistentPreRunE = func(c *cobra.Command, _ []string) error {
		if err := a.complete(); err != nil {
			return err
		}
		base := c.Context()
		a.afresh = func() context.Context {
			if _, long := c.Annotations[unbounded]; long || a.flags.timeout <= 0 {
				return base
			}
			ctx, cancel := context.WithTimeout(base, a.flags.timeout)
			a.closers = append(a.closers, cancel)
			return ctx
		}
		c.SetContext(a.afresh())
		return nil
	}

	root.AddGroup(&cobra.Group{ID: "see", Title: "See:"}, &cobra.Group{ID: "act", Title: "Act:"})
	for _, c := range []*cobra.Command{a.poolsCommand(), a.statsCommand(), a.topCommand(), a.executorsCommand(), a.describeCommand(), a.checkCommand()} {
		c.GroupID = "see"
		root.AddCommand(c)
	}
	for _, c := range []*cobra.Command{a.tasksCommand(), a.deadCommand(), a.pauseCommand(), a.resumeCommand(), a.drainCommand(), a.configCommand()} {
		c.GroupID = "act"
		root.AddCommand(c)
	}
	group(root)
	return root
}

// group makes a command that only has subcommands say so, instead of helping with exit code 0 whatever it is given.
func group(c *cobra.Command, subcommands ...*cobra.Command) *cobra.Command {
	c.AddCommand(subcommands...)
	c.Args = cobra.ArbitraryArgs
	c.SuggestionsMinimumDistance = 2
	c.RunE = func(c *cobra.Command, args []string) error {
		if len(args) == 0 {
			return c.Help()
		}
		text := fmt.Sprintf("%s has no command %q", c.CommandPath(), args[0])
		if near := c.SuggestionsFor(args[0]); len(near) > 0 {
			text += ", perhaps you mean " + strings.Join(near, " or ")
		}
		return usage("%s", text)
	}
	return c
}

// takes checks the number of arguments; max is -1 for any number. words name them.
func takes(least, most int, words string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) < least || (most >= 0 && len(args) > most) {
			return usage("%s takes %s, not %d arguments", c.CommandPath(), words, len(args))
		}
		return nil
	}
}

// ask adds --yes to a command that must be confirmed.
func (a *app) ask(c *cobra.Command) *cobra.Command {
	c.Flags().BoolVarP(&a.flags.yes, "yes", "y", false, "do it without asking")
	return c
}
