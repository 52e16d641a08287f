package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipstream-go/slipstream/activity"
	"github.com/slipstream-go/slipstream/batchqueue"
)

// taskJSON is a task; what is not known of it is left out.
type taskJSON struct {
	Pool        string     `json:"pool"`
	Run         string     `json:"run"`
	Number      uint64     `json:"number"`
	Type        string     `json:"type"`
	State       string     `json:"state"`
	Outcome     string     `json:"outcome,omitempty"`
	Executor    string     `json:"executor,omitempty"`
	Workflow    string     `json:"workflow,omitempty"`
	WorkflowRun string     `json:"workflowRun,omitempty"`
	Batch       string     `json:"batch,omitempty"`
	Receiver    string     `json:"receiver,omitempty"`
	Diverted    bool       `json:"diverted,omitempty"`
	Attempt     int        `json:"attempt,omitempty"`
	Losses      int        `json:"losses,omitempty"`
	ScheduledAt *time.Time `json:"scheduledAt,omitempty"`
	AttemptAt   *time.Time `json:"attemptScheduledAt,omitempty"`
	NextAt      *time.Time `json:"nextAttemptAt,omitempty"`
	ClaimedFor  float64    `json:"claimedForSeconds,omitempty"`
	Slot        *int       `json:"slot,omitempty"`
	Payload     *int       `json:"payloadBytes,omitempty"`
	Failed      bool       `json:"failedBefore,omitempty"`
}

// taskList is what tasks list found.
type taskList struct {
	Tasks []taskJSON `json:"tasks"`
	More  bool       `json:"more"` // there are more than the limit
}

func newTask(pool, run string, t batchqueue.TaskStatus) taskJSON {
	return taskJSON{Pool: pool, Run: run, Number: t.Number, Type: t.Type, State: string(t.State), Outcome: outcome(t.Kind), Executor: t.Executor}
}

// detail adds what is known of an open task.
func (t *taskJSON) detail(d batchqueue.TaskDetails) {
	t.Attempt, t.Losses, t.ClaimedFor = d.Attempt, d.Losses, seconds(d.ClaimedFor)
	t.ScheduledAt, t.AttemptAt, t.NextAt = known(d.ScheduledAt), known(d.AttemptScheduledAt), known(d.DueAt)
	t.Slot, t.Failed = &d.Slot, d.LastFailure != nil
	if d.Payload != nil {
		n := len(d.Payload)
		t.Payload = &n
	}
	t.own(d.Common)
}

// own adds whose task it is.
func (t *taskJSON) own(common []byte) {
	o, err := activity.ReadOwner(common)
	if err != nil {
		return // enqueued by somebody else than Slipstream's plugin
	}
	t.Workflow, t.WorkflowRun, t.Batch, t.Receiver, t.Diverted = o.WorkflowID, o.RunID, o.Batch, o.Receiver, o.Diverted
}

func known(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

// owner is whose task it is, in one word.
func (t *taskJSON) owner() string {
	if t.Batch != "" {
		return "batch " + t.Batch
	}
	return t.Workflow
}

func (a *app) tasksCommand() *cobra.Command {
	return group(&cobra.Command{
		Use:   "tasks",
		Short: "List, show and cancel tasks",
		Long: `A task is named by its pool, its run and its number within the run. The run is that of the workflow which made the
call (of a workflow that was reset, the run before); of a batch without a workflow it is b. and the batch's ID.`,
	}, a.tasksListCommand(), a.tasksShowCommand(), a.tasksCancelCommand())
}

// taskStates are what --state takes.
var taskStates = []string{
	string(batchqueue.StateWaiting), string(batchqueue.StateClaimed), string(batchqueue.StateCanceling), string(batchqueue.StateDelayed),
	string(batchqueue.StateFinished), string(batchqueue.StateTaken), string(batchqueue.StateAcknowledged), string(batchqueue.StateParked),
}

func (a *app) tasksListCommand() *cobra.Command {
	var run, typ, state string
	var limit int
	c := &cobra.Command{
		Use:   "list POOL",
		Short: "List the tasks of a pool",
		Long: `Lists tasks of a pool by run, those that ended too for as long as the queue knows them.

It looks through runs that have open tasks; with --run at one run, whether it has or not.`,
		Args:              takes(1, 1, "the name of a pool"),
		ValidArgsFunction: a.completePools,
		RunE: func(c *cobra.Command, args []string) error {
			if state != "" && !slices.Contains(taskStates, state) {
				return usage("--state %q is none of %s", state, strings.Join(taskStates, ", "))
			}
			if limit < 1 {
				return usage("--limit is %d: give 1 or more", limit)
			}
			p, err := a.pool(c.Context(), args[0])
			if err != nil {
				return err
			}
			matches := func(t batchqueue.TaskStatus) bool {
				return (typ == "" || t.Type == typ) && (state == "" || string(t.State) == state)
			}
			out, err := p.list(c.Context(), run, limit, matches)
			if err != nil {
				return err
			}
			return a.show(out, func(w io.Writer) {
				if len(out.Tasks) == 0 {
					fmt.Fprintln(w, "There are no such tasks.")
					return
				}
				row(w, "RUN", "NUMBER", "TYPE", "STATE", "OUTCOME", "EXECUTOR", "FOR")
				for _, t := range out.Tasks {
					row(w, t.Run, t.Number, t.Type, t.State, t.Outcome, t.Executor, t.owner())
				}
				if out.More {
					fmt.Fprintf(w, "There are more: give a higher --limit than %d.\n", limit)
				}
			})
		},
	}
	c.Flags().StringVar(&run, "run", "", "of one run only")
	c.Flags().StringVar(&typ, "type", "", "of one activity type only")
	c.Flags().StringVar(&state, "state", "", "in one state only: "+strings.Join(taskStates, ", "))
	c.Flags().IntVar(&limit, "limit", 100, "how many at most")
	_ = c.RegisterFlagCompletionFunc("state", cobra.FixedCompletions(taskStates, cobra.ShellCompDirectiveNoFileComp))
	return c
}

// list returns tasks of a run, or of all runs with open tasks.
func (p pool) list(ctx context.Context, run string, limit int, matches func(batchqueue.TaskStatus) bool) (taskList, error) {
	out := []taskJSON{}
	add := func(run string) error {
		tasks, err := p.q.Tasks(ctx, p.name, run)
		if err != nil {
			return err
		}
		from := len(out)
		for _, t := range tasks {
			if matches(t) && len(out) <= limit {
				out = append(out, newTask(p.name, run, t))
			}
		}
		if from == len(out) {
			return nil
		}
		return p.ownAll(ctx, run, tasks, out[from:])
	}
	if run != "" {
		if err := add(run); err != nil {
			return taskList{}, err
		}
	} else {
		seen := map[string]bool{}
		for run, err := range p.q.EachRun(ctx, p.name) {
			if err != nil {
				return taskList{}, err
			}
			if seen[run] {
				continue
			}
			seen[run] = true
			if err := add(run); err != nil {
				return taskList{}, err
			}
			if len(out) > limit {
				break
			}
		}
	}
	return taskList{out[:min(limit, len(out))], len(out) > limit}, nil
}

// ownAll says whose the tasks of a run are: an open one knows.
func (p pool) ownAll(ctx context.Context, run string, tasks []batchqueue.TaskStatus, out []taskJSON) error {
	i := slices.IndexFunc(tasks, func(t batchqueue.TaskStatus) bool { return isOpen(t.State) })
	if i < 0 {
		return nil
	}
	details, err := p.q.Details(ctx, p.name, run, tasks[i].Number)
	if err != nil || len(details) == 0 {
		return err
	}
	for k := range out {
		out[k].own(details[0].Common)
	}
	return nil
}

// isOpen tells whether the queue still has something to do for a task.
func isOpen(s batchqueue.TaskState) bool {
	switch s {
	case batchqueue.StateWaiting, batchqueue.StateClaimed, batchqueue.StateCanceling, batchqueue.StateDelayed, batchqueue.StateParked:
		return true
	case batchqueue.StateFinished, batchqueue.StateTaken, batchqueue.StateAcknowledged:
	}
	return false
}

func (a *app) tasksShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "show POOL RUN NUMBER",
		Short:             "Show one task",
		Args:              takes(3, 3, "a pool, a run and a task's number"),
		ValidArgsFunction: a.completePools,
		RunE: func(c *cobra.Command, args []string) error {
			p, err := a.pool(c.Context(), args[0])
			if err != nil {
				return err
			}
			n, err := taskNumber(args[2])
			if err != nil {
				return err
			}
			details, err := p.q.Details(c.Context(), p.name, args[1], n)
			if err != nil {
				return err
			}
			if len(details) == 0 {
				return notFound("pool %s knows no task %d of run %s: it ended a while ago, or never was there", p.name, n, args[1])
			}
			d := details[0]
			t := newTask(p.name, args[1], d.TaskStatus)
			t.detail(d)
			return a.show(t, func(w io.Writer) { t.write(w, d) })
		},
	}
}

func taskNumber(s string) (uint64, error) {
	n, err := strconv.ParseUint(s, 10, 53)
	if err != nil || n == 0 {
		return 0, usage("%q is no task's number: they count from 1", s)
	}
	return n, nil
}

// write shows a task line by line, what is known of it.
func (t *taskJSON) write(w io.Writer, d batchqueue.TaskDetails) {
	line := func(name string, value string) {
		if value != "" && value != "-" {
			row(w, name, value)
		}
	}
	line("pool", fmt.Sprintf("%s, slot %d", t.Pool, d.Slot))
	line("run", t.Run)
	line("number", strconv.FormatUint(t.Number, 10))
	line("type", t.Type)
	line("state", t.State)
	line("outcome", t.Outcome)
	line("workflow", t.Workflow)
	if t.Batch != "" {
		line("batch", t.Batch)
		line("tells workflow", t.Receiver)
	}
	if t.Diverted {
		line("diverted", "an attempt that Temporal started and counts")
	}
	if t.Attempt == 0 {
		return
	}
	line("attempt", strconv.Itoa(t.Attempt))
	line("enqueued", ago(d.ScheduledAt))
	line("this attempt", ago(d.AttemptScheduledAt))
	if !d.DueAt.IsZero() {
		what := "next attempt"
		if d.State == batchqueue.StateParked {
			what = "given up"
		}
		line(what, clock(d.DueAt))
	}
	line("executor", t.Executor)
	if d.ClaimedFor > 0 {
		line("claimed for", age(d.ClaimedFor))
	}
	if d.Losses > 0 {
		line("executors lost", strconv.Itoa(d.Losses))
	}
	line("time-outs", timeouts(d.Options))
	line("retries", retries(d.Options.Retry))
	line("payload", size(int64(len(d.Payload))))
	if t.Failed {
		line("failed before", "yes, the failure is encoded; the workflow sees it")
	}
}

func ago(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return fmt.Sprintf("%s, %s ago", clock(t), age(max(time.Since(t), time.Millisecond)))
}

func timeouts(o batchqueue.TaskOptions) string {
	var parts []string
	for _, x := range []struct {
		name string
		d    time.Duration
	}{
		{"schedule-to-start", o.ScheduleToStart}, {"schedule-to-close", o.ScheduleToClose},
		{"start-to-close", o.StartToClose}, {"heartbeat", o.Heartbeat},
	} {
		if x.d > 0 {
			parts = append(parts, fmt.Sprintf("%s %s", x.name, age(x.d)))
		}
	}
	return strings.Join(parts, ", ")
}

func retries(p batchqueue.RetryPolicy) string {
	switch p.MaximumAttempts {
	case 0:
		return "without limit"
	case 1:
		return "none"
	}
	return fmt.Sprintf("at most %d attempts", p.MaximumAttempts)
}

type canceledJSON struct {
	Pool    string   `json:"pool"`
	Run     string   `json:"run"`
	Numbers []uint64 `json:"numbers"`
}

func (a *app) tasksCancelCommand() *cobra.Command {
	var all bool
	c := &cobra.Command{
		Use:   "cancel POOL RUN [NUMBER...]",
		Short: "Cancel tasks of a run",
		Long: `Cancels tasks of a run: waiting ones end at once, running ones have their context canceled and are not retried. The
workflow gets their cancellation as the calls' outcome. Tasks that have ended are left alone.

To cancel a whole workflow, cancel it in Temporal (temporal workflow cancel).`,
		Args:              takes(2, -1, "a pool, a run, and numbers of tasks or --all"),
		ValidArgsFunction: a.completePools,
		RunE: func(c *cobra.Command, args []string) error {
			if (len(args) > 2) == all {
				return usage("give either numbers of tasks or --all")
			}
			wanted := make([]uint64, len(args)-2)
			for i, s := range args[2:] {
				var err error
				if wanted[i], err = taskNumber(s); err != nil {
					return err
				}
			}
			p, err := a.pool(c.Context(), args[0])
			if err != nil {
				return err
			}
			return a.cancel(c.Context(), p, args[1], wanted)
		},
	}
	c.Flags().BoolVar(&all, "all", false, "all tasks of the run that are open")
	return a.ask(c)
}

// cancel cancels tasks of a run, all that are open if none are named.
func (a *app) cancel(ctx context.Context, p pool, run string, wanted []uint64) error {
	tasks, err := p.q.Tasks(ctx, p.name, run)
	if err != nil {
		return err
	}
	states := make(map[uint64]batchqueue.TaskState, len(tasks))
	for _, t := range tasks {
		states[t.Number] = t.State
	}
	numbers := wanted
	if len(wanted) == 0 {
		for _, t := range tasks {
			if isOpen(t.State) && t.State != batchqueue.StateParked {
				numbers = append(numbers, t.Number)
			}
		}
	}
	for _, n := range wanted {
		switch s := states[n]; {
		case s == "":
			return notFound("pool %s knows no task %d of run %s", p.name, n, run)
		case !isOpen(s):
			return refused("task %d of run %s has ended (%s), there is nothing to cancel", n, run, s)
		}
	}
	if len(numbers) == 0 {
		return notFound("run %s has no open tasks in pool %s", run, p.name)
	}
	ctx, err = a.confirm("This cancels %s of run %s, and the workflow is told", plural(len(numbers), "task"), run)
	if err != nil {
		return err
	}
	canceled := make([]uint64, 0, len(numbers))
	var failed error
	for _, n := range numbers {
		if failed = p.q.CancelTask(ctx, p.name, run, n); failed != nil {
			break
		}
		canceled = append(canceled, n)
	}
	err = a.done(canceledJSON{p.name, run, canceled}, "Cancelled %s of run %s.", plural(len(canceled), "task"), run)
	return cmp.Or(failed, err)
}
