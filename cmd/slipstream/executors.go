package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipstream-go/slipstream/batchqueue"
)

type executorJSON struct {
	Pool        string     `json:"pool"`
	Executor    string     `json:"executor"`
	Worker      string     `json:"worker,omitempty"`
	State       string     `json:"state"` // present, stopping, heir or gone
	Claims      int64      `json:"claims"`
	Concurrency int        `json:"concurrency,omitempty"`
	StartedAt   *time.Time `json:"startedAt,omitempty"`
	Leads       []int      `json:"leads"`
	Types       []string   `json:"types"`
}

func executorState(e batchqueue.ExecutorStatus) string {
	switch {
	case !e.Present:
		return "gone"
	case len(e.Types) == 0:
		return "stopping"
	case e.Heir:
		return "heir"
	}
	return "present"
}

func (a *app) executorsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "executors [POOL...]",
		Short: "List the executors that serve the pools",
		Long: `Lists the executors of the pools, or of all pools: the part of each worker that runs handlers.

STATE is present; stopping: it drains and claims nothing; heir: it runs what a former build has left; gone: it has died,
and what it holds is taken over within two leases. LEADS are the slots that it looks after for the others.`,
		Args:              takes(0, -1, "names of pools"),
		ValidArgsFunction: a.completeManyPools,
		RunE: func(c *cobra.Command, args []string) error {
			pools, err := a.pools(c.Context(), args...)
			if err != nil {
				return err
			}
			out := []executorJSON{}
			for _, p := range pools {
				executors, err := p.q.Executors(c.Context(), p.name)
				if err != nil {
					return err
				}
				for _, e := range executors {
					x := executorJSON{Pool: p.name, Executor: e.ID, Worker: e.Worker, State: executorState(e), Claims: e.Claims,
						Concurrency: e.Concurrency, Leads: append([]int{}, e.Leads...), Types: append([]string{}, e.Types...)}
					slices.Sort(x.Leads)
					if e.Present {
						x.StartedAt = &e.StartedAt
					}
					out = append(out, x)
				}
			}
			return a.show(out, func(w io.Writer) {
				if len(out) == 0 {
					fmt.Fprintln(w, "There are no executors: start a worker that registers a marked activity.")
					return
				}
				row(w, "POOL", "WORKER", "STATE", "CLAIMS", "CONCURRENCY", "UP", "LEADS", "TYPES", "EXECUTOR")
				for _, x := range out {
					up := time.Duration(0)
					if x.StartedAt != nil {
						up = time.Since(*x.StartedAt)
					}
					row(w, x.Pool, x.Worker, x.State, x.Claims, x.Concurrency, up, slots(x.Leads), strings.Join(x.Types, ","), x.Executor)
				}
			})
		},
	}
}

func slots(list []int) string {
	return strings.Trim(strings.ReplaceAll(fmt.Sprint(list), " ", ","), "[]")
}
