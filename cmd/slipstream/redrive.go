package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipstream-go/slipstream/activity"
	"github.com/slipstream-go/slipstream/batchqueue"
)

const redriveHelp = `Brings dead letters back, as first attempts without losses. Mend the fault first: a task that still takes its executors
down will do so again. What happens depends on who waits for the task:

  - The failure has not left the queue yet: it is taken back, the task waits again, and its workflow never hears of it.
  - A batch without a workflow: the task waits again, and the workflow that is told of the batch gets a second completion
    for it.
  - A workflow that has been told of the failure keeps to it, as with any activity: a second outcome of the call would be
    dropped. It must go back to before, which --reset does: like temporal workflow reset it starts a new run from the
    workflow task that made the call, without its failure. That workflow task's other calls are made again too, signals
    are applied again, and the former run is terminated if it is still running. The new run asks for the task itself,
    and the dead letter is removed. Without --reset such a letter is refused and stays.
  - An activity of a workflow that is not routed: Temporal retries it by its own policy. Drop the letter.

--reset reads the workflow's history. Where a codec encrypts it, give --codec-endpoint.`

// redriven is what became of a dead letter.
type redriven struct {
	ID string `json:"id"`
	// Done is queued, reset, gone or refused.
	Done     string `json:"done"`
	Workflow string `json:"workflow,omitempty"`
	NewRun   string `json:"newRun,omitempty"`
	Reason   string `json:"reason,omitempty"`
}

func (a *app) deadRedriveCommand() *cobra.Command {
	var all, reset bool
	c := &cobra.Command{
		Use:   "redrive POOL [ID...]",
		Short: "Bring dead letters back",
		Long:  redriveHelp,
		Example: `  slipstream dead redrive translate 2/1795911525149-0
  slipstream dead redrive translate --all --reset --yes`,
		Args:              takes(1, -1, "a pool, and IDs of dead letters or --all"),
		ValidArgsFunction: a.completePools,
		RunE: func(c *cobra.Command, args []string) error {
			p, letters, err := a.chosen(c.Context(), args, all)
			if err != nil {
				return err
			}
			plan, err := a.plan(c.Context(), p, letters, reset)
			if err != nil {
				return err
			}
			ctx := c.Context()
			if plan.size() > 0 {
				if ctx, err = a.confirm("%s", plan); err != nil {
					return err
				}
			}
			return a.redrive(ctx, p, plan)
		},
	}
	c.Flags().BoolVar(&all, "all", false, "all dead letters of the pool")
	c.Flags().BoolVar(&reset, "reset", false, "take workflows that were told of the failure back to before")
	return a.ask(c)
}

// redrivePlan is what a redrive is about to do.
type redrivePlan struct {
	queue   []batchqueue.DeadLetter
	resets  []*workflowReset
	refused []redriven
}

func (r *redrivePlan) size() int { return len(r.queue) + len(r.resets) }

func (r *redrivePlan) String() string {
	var parts []string
	if n := len(r.queue); n > 0 {
		parts = append(parts, "queues "+plural(n, "task")+" again")
	}
	for _, w := range r.resets {
		parts = append(parts, fmt.Sprintf("resets workflow %s to event %d", w.workflow, w.event))
	}
	return "This " + strings.Join(parts, ", and ")
}

// plan decides about each letter.
func (a *app) plan(ctx context.Context, p pool, letters []batchqueue.DeadLetter, reset bool) (*redrivePlan, error) {
	plan := &redrivePlan{}
	for _, l := range letters {
		refuse := func(format string, args ...any) {
			plan.refused = append(plan.refused, redriven{ID: letterID(l), Done: "refused", Reason: fmt.Sprintf(format, args...)})
		}
		if l.Undecodable {
			refuse("it could not be decoded; drop it")
			continue
		}
		owner, err := activity.ReadOwner(l.Common)
		if err != nil {
			owner = activity.Owner{} // not enqueued by the plugin: the queue's own users know what they do
		}
		if owner.Diverted {
			refuse("Temporal retries the activity of workflow %s by its own policy; drop it", owner.WorkflowID)
			continue
		}
		state, err := p.stateOf(ctx, l)
		if err != nil {
			return nil, err
		}
		told := state == "" || batchqueue.TaskState(state) == batchqueue.StateAcknowledged || batchqueue.TaskState(state) == batchqueue.StateTaken
		switch {
		case owner.WorkflowID == "" || !told:
			plan.queue = append(plan.queue, l)
		case !reset:
			refuse("workflow %s has been told of the failure and would drop another outcome; --reset takes it back to before", owner.WorkflowID)
		default:
			if err := a.planReset(ctx, plan, owner, l); err != nil {
				if !errors.Is(err, errRefused) {
					return nil, err
				}
				refuse("%v", err)
			}
		}
	}
	return plan, nil
}

// planReset adds a letter to the reset of its workflow's run.
func (a *app) planReset(ctx context.Context, plan *redrivePlan, owner activity.Owner, l batchqueue.DeadLetter) error {
	var w *workflowReset
	for _, known := range plan.resets {
		if known.run == owner.RunID {
			w = known
		}
	}
	if w != nil {
		return w.add(l)
	}
	w, err := a.newReset(ctx, owner)
	if err != nil {
		return err
	}
	if err := w.add(l); err != nil {
		return err
	}
	plan.resets = append(plan.resets, w)
	return nil
}

// redeliverWait is how often a letter is tried again whose failure is on its way at that moment.
const (
	deliveringTries = 20
	deliveringWait  = 100 * time.Millisecond
)

// redrive does what was planned and tells what became of each letter, of those up to an error as well.
func (a *app) redrive(ctx context.Context, p pool, plan *redrivePlan) error {
	out, failed := a.carryOut(ctx, p, plan)
	if err := a.show(out, func(w io.Writer) { writeRedriven(w, out) }); err != nil {
		return err
	}
	if failed != nil {
		return failed
	}
	left := 0
	for _, r := range out {
		if r.Done == "refused" {
			left++
		}
	}
	if left > 0 {
		return refused("%s of %d stayed where they are", plural(left, "dead letter"), len(out))
	}
	return nil
}

// carryOut stops at the first error, and returns what it has done until then.
func (a *app) carryOut(ctx context.Context, p pool, plan *redrivePlan) ([]redriven, error) {
	out := append([]redriven{}, plan.refused...)
	for _, l := range plan.queue {
		r := redriven{ID: letterID(l), Done: "queued"}
		err := p.requeue(ctx, l)
		switch {
		case errors.Is(err, batchqueue.ErrSuperseded):
			r.Done, r.Reason = "refused", "its run asks something else by now; drop it"
		case errors.Is(err, batchqueue.ErrDelivering):
			r.Done, r.Reason = "refused", "its failure is being delivered at this moment; try again"
		case errors.Is(err, batchqueue.ErrInvalid):
			r.Done, r.Reason = "refused", err.Error()
		case errors.Is(err, batchqueue.ErrNotFound):
			// Somebody else was there first, or this was sent twice and the reply is the second's.
			r.Done = "gone"
		case err != nil:
			return out, err
		}
		out = append(out, r)
	}
	for _, w := range plan.resets {
		newRun, err := a.reset(ctx, w)
		if err != nil {
			return out, err
		}
		for _, l := range w.letters {
			out = append(out, redriven{ID: letterID(l), Done: "reset", Workflow: w.workflow, NewRun: newRun})
		}
		for _, l := range w.letters {
			// The new run asks for its tasks by itself.
			if err := p.q.DropDeadLetter(ctx, p.name, l.Slot, l.ID); err != nil && !errors.Is(err, batchqueue.ErrNotFound) {
				return out, err
			}
		}
	}
	return out, nil
}

func (p pool) requeue(ctx context.Context, l batchqueue.DeadLetter) error {
	for try := 1; ; try++ {
		err := p.q.Redrive(ctx, p.name, l.Slot, l.ID)
		if !errors.Is(err, batchqueue.ErrDelivering) || try == deliveringTries {
			return err
		}
		select {
		case <-time.After(deliveringWait):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func writeRedriven(w io.Writer, all []redriven) {
	for _, r := range all {
		switch r.Done {
		case "queued":
			fmt.Fprintf(w, "%s: its task waits again.\n", r.ID)
		case "gone":
			fmt.Fprintf(w, "%s: the letter is gone already.\n", r.ID)
		case "reset":
			fmt.Fprintf(w, "%s: workflow %s was reset and goes on as run %s.\n", r.ID, r.Workflow, r.NewRun)
		default:
			fmt.Fprintf(w, "%s: refused: %s.\n", r.ID, r.Reason)
		}
	}
}
