package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

type statsJSON struct {
	poolRow
	Slots       int        `json:"slots"`
	OutboxBytes int64      `json:"outboxBytes"`
	Types       []typeJSON `json:"types"`
	// Totals since the counters began.
	Totals totalsJSON `json:"totals"`
}

type typeJSON struct {
	Type             string  `json:"type"`
	Waiting          int64   `json:"waiting"`
	InFlight         int64   `json:"inFlight"`
	OldestAgeSeconds float64 `json:"oldestAgeSeconds"`
}

type totalsJSON struct {
	Enqueued  int64 `json:"enqueued"`
	Finished  int64 `json:"finished"`
	Retried   int64 `json:"retried"`
	Expired   int64 `json:"expired"`
	Delivered int64 `json:"delivered"`
	Taken     int64 `json:"taken"`
	Dead      int64 `json:"dead"`
}

func (a *app) statsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "stats [POOL...]",
		Short: "Count tasks by pool and type",
		Long: `Counts the tasks of the pools, or of all pools, by activity type, and what they did since the counters began:
finished tasks have an outcome, delivered outcomes went to Temporal, taken ones were handed to a workflow task.`,
		Args:              takes(0, -1, "names of pools"),
		ValidArgsFunction: a.completeManyPools,
		RunE: func(c *cobra.Command, args []string) error {
			rows, err := a.lookAll(c.Context(), args...)
			if err != nil {
				return err
			}
			out := make([]statsJSON, len(rows))
			for i, r := range rows {
				s := r.stats
				out[i] = statsJSON{poolRow: r, Slots: s.Slots, OutboxBytes: s.OutboxBytes, Types: []typeJSON{},
					Totals: totalsJSON{s.Enqueued, s.Finished, s.Retried, s.Expired, s.Delivered, s.Taken, s.Dead}}
				for _, t := range s.Types {
					out[i].Types = append(out[i].Types, typeJSON{t.Type, t.Waiting, t.Claimed, seconds(t.OldestAge)})
				}
			}
			return a.show(out, func(w io.Writer) {
				for i, r := range rows {
					if i > 0 {
						fmt.Fprintln(w)
					}
					writeStats(w, r)
				}
			})
		},
	}
}

func writeStats(w io.Writer, r poolRow) {
	s := r.stats
	fmt.Fprintf(w, "%s (%s): %s in %s, %d in the outbox (%s)\n", r.Pool, r.State,
		plural(r.Executors, "executor"), plural(s.Slots, "slot"), s.Outbox, size(s.OutboxBytes))
	row(w, "  TYPE", "WAITING", "OLDEST", "IN FLIGHT")
	for _, t := range s.Types {
		row(w, "  "+t.Type, t.Waiting, t.OldestAge, t.Claimed)
	}
	row(w, "  all", r.Waiting, r.oldest, r.InFlight)
	fmt.Fprintf(w, "  %d delayed, %s. In all %d enqueued, %d finished, %d retried, %d expired, %d delivered, %d taken, %d given up\n",
		r.Delayed, plural(r.DeadLetters, "dead letter"), s.Enqueued, s.Finished, s.Retried, s.Expired, s.Delivered, s.Taken, s.Dead)
}
