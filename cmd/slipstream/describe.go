package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	enumspb "go.temporal.io/api/enums/v1"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"

	"github.com/slipstream-go/slipstream/batchqueue"
)

// describeJSON is what a run waits for.
type describeJSON struct {
	Workflow      string         `json:"workflow"`
	Run           string         `json:"run"`
	Type          string         `json:"type"`
	Status        string         `json:"status"`
	TaskQueue     string         `json:"taskQueue"`
	StartedAt     time.Time      `json:"startedAt"`
	ClosedAt      *time.Time     `json:"closedAt,omitempty"`
	HistoryLength int64          `json:"historyLength"`
	WorkflowTask  string         `json:"workflowTask,omitempty"`
	Activities    []activityJSON `json:"pendingActivities"`
	Children      int            `json:"pendingChildren"`
	Calls         []taskJSON     `json:"openCalls"`
	CallsInAll    int            `json:"openCallsInAll"`
	Hints         []string       `json:"hints,omitempty"`
}

type activityJSON struct {
	ID          string `json:"id"`
	Type        string `json:"type"`
	State       string `json:"state"`
	Attempt     int32  `json:"attempt"`
	LastFailure string `json:"lastFailure,omitempty"`
}

func (a *app) describeCommand() *cobra.Command {
	var runID string
	var limit int
	c := &cobra.Command{
		Use:   "describe WORKFLOW",
		Short: "Show what a workflow's run waits for",
		Long: `Shows what a workflow's run waits for: its open calls that went through the queue, with state and attempt, beside what
Temporal knows: the workflow task under way, ordinary activities, child workflows. Hints say what keeps calls from
running, such as a pool that is paused or that nobody serves.`,
		Args: takes(1, 1, "a workflow's ID"),
		RunE: func(c *cobra.Command, args []string) error {
			if limit < 1 {
				return usage("--limit is %d: give 1 or more", limit)
			}
			d, err := a.describe(c.Context(), args[0], runID, limit)
			if err != nil {
				return err
			}
			return a.show(d, d.write)
		},
	}
	c.Flags().StringVarP(&runID, "run-id", "r", "", "the run; without it the newest")
	c.Flags().IntVar(&limit, "limit", 100, "how many open calls to show at most")
	return c
}

func (a *app) describe(ctx context.Context, workflow, runID string, limit int) (*describeJSON, error) {
	c, err := a.client(ctx)
	if err != nil {
		return nil, err
	}
	reply, err := c.DescribeWorkflowExecution(ctx, workflow, runID)
	if err != nil {
		return nil, fmt.Errorf("describe workflow %s in namespace %s: %w", workflow, a.namespace(), err)
	}
	d := newDescription(reply)
	runs := []string{d.Run}
	if reply.GetWorkflowExtendedInfo().GetLastResetTime() != nil {
		before, err := a.runsBefore(ctx, workflow, d.Run)
		if err != nil {
			return nil, err
		}
		runs = append(runs, before...)
	}
	pools, err := a.pools(ctx)
	if err != nil {
		return nil, err
	}
	for _, p := range pools {
		if err := d.addCalls(ctx, p, runs, limit); err != nil {
			return nil, err
		}
	}
	return d, nil
}

func newDescription(reply *workflowservice.DescribeWorkflowExecutionResponse) *describeJSON {
	info := reply.GetWorkflowExecutionInfo()
	d := &describeJSON{
		Workflow: info.GetExecution().GetWorkflowId(), Run: info.GetExecution().GetRunId(), Type: info.GetType().GetName(),
		Status: info.GetStatus().String(), TaskQueue: info.GetTaskQueue(), StartedAt: info.GetStartTime().AsTime(),
		HistoryLength: info.GetHistoryLength(), Children: len(reply.GetPendingChildren()),
		Activities: []activityJSON{}, Calls: []taskJSON{},
	}
	if info.GetCloseTime() != nil {
		d.ClosedAt = known(info.GetCloseTime().AsTime())
	}
	if t := reply.GetPendingWorkflowTask(); t != nil {
		d.WorkflowTask = workflowTask(t)
	}
	for _, p := range reply.GetPendingActivities() {
		d.Activities = append(d.Activities, activityJSON{
			ID: p.GetActivityId(), Type: p.GetActivityType().GetName(), State: p.GetState().String(), Attempt: p.GetAttempt(),
			LastFailure: p.GetLastFailure().GetMessage(),
		})
	}
	return d
}

func workflowTask(t *workflowpb.PendingWorkflowTaskInfo) string {
	state := "scheduled, no worker has taken it"
	if t.GetState() == enumspb.PENDING_WORKFLOW_TASK_STATE_STARTED {
		state = "with a worker"
	}
	since := age(max(time.Since(t.GetOriginalScheduledTime().AsTime()), time.Millisecond))
	if t.GetAttempt() > 1 {
		return fmt.Sprintf("%s, attempt %d, since %s", state, t.GetAttempt(), since)
	}
	return fmt.Sprintf("%s, since %s", state, since)
}

// runsBefore are the runs that a run of a workflow that was reset has its history from: calls that they made keep
// their names.
func (a *app) runsBefore(ctx context.Context, workflow, run string) ([]string, error) {
	c, err := a.client(ctx)
	if err != nil {
		return nil, err
	}
	var out []string
	history := c.GetWorkflowHistory(ctx, workflow, run, false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for history.HasNext() {
		event, err := history.Next()
		if err != nil {
			return nil, fmt.Errorf("read the history of workflow %s: %w", workflow, err)
		}
		failed := event.GetWorkflowTaskFailedEventAttributes()
		if failed.GetCause() == enumspb.WORKFLOW_TASK_FAILED_CAUSE_RESET_WORKFLOW {
			out = append(out, failed.GetBaseRunId())
		}
	}
	return out, nil
}

// addCalls adds the runs' open calls in a pool.
func (d *describeJSON) addCalls(ctx context.Context, p pool, runs []string, limit int) error {
	before := d.CallsInAll
	for _, run := range runs {
		tasks, err := p.q.Tasks(ctx, p.name, run)
		if err != nil {
			return err
		}
		var numbers []uint64
		for _, t := range tasks {
			if !isOpen(t.State) && t.State != batchqueue.StateFinished {
				continue
			}
			d.CallsInAll++
			if len(d.Calls)+len(numbers) < limit {
				numbers = append(numbers, t.Number)
			}
		}
		details, err := p.q.Details(ctx, p.name, run, numbers...)
		if err != nil {
			return err
		}
		for _, detail := range details {
			call := newTask(p.name, run, detail.TaskStatus)
			call.detail(detail)
			d.Calls = append(d.Calls, call)
		}
	}
	if d.CallsInAll == before {
		return nil
	}
	return d.addHints(ctx, p)
}

// addHints says what keeps a pool's tasks from running.
func (d *describeJSON) addHints(ctx context.Context, p pool) error {
	r, err := p.look(ctx)
	if err != nil {
		return err
	}
	config, err := p.q.Config(ctx, p.name)
	if err != nil {
		return err
	}
	hint := func(format string, args ...any) { d.Hints = append(d.Hints, fmt.Sprintf(format, args...)) }
	switch {
	case config.Paused:
		hint("Pool %s is paused: slipstream resume %s lets it go on.", p.name, p.name)
	case r.Executors == 0:
		hint("Nobody serves pool %s: start a worker of its task queue.", p.name)
	case r.InFlight >= int64(r.Permits) && r.Waiting > 0:
		hint("Pool %s is busy: %d of %d permits are taken, and %s wait.", p.name, r.InFlight, r.Permits, plural(r.Waiting, "task"))
	}
	return nil
}

func (d *describeJSON) write(w io.Writer) {
	row(w, "workflow", d.Workflow)
	row(w, "run", d.Run)
	row(w, "type", fmt.Sprintf("%s on task queue %s", d.Type, d.TaskQueue))
	status := fmt.Sprintf("%s, started %s", d.Status, ago(d.StartedAt))
	if d.ClosedAt != nil {
		status = fmt.Sprintf("%s, %s", d.Status, ago(*d.ClosedAt))
	}
	row(w, "status", status)
	row(w, "history", plural(d.HistoryLength, "event"))
	if d.WorkflowTask != "" {
		row(w, "workflow task", d.WorkflowTask)
	}
	if d.Children > 0 {
		row(w, "children", fmt.Sprintf("%d pending", d.Children))
	}
	fmt.Fprintln(w)
	d.writeCalls(w)
	d.writeActivities(w)
	for _, h := range d.Hints {
		fmt.Fprintln(w, h)
	}
}

func (d *describeJSON) writeCalls(w io.Writer) {
	if len(d.Calls) == 0 {
		fmt.Fprintln(w, "No open calls in the queue.")
		return
	}
	fmt.Fprintf(w, "%s in the queue:\n", plural(d.CallsInAll, "open call"))
	row(w, "POOL", "NUMBER", "TYPE", "STATE", "ATTEMPT", "ENQUEUED", "CLAIMED FOR", "NEXT ATTEMPT", "EXECUTOR")
	for _, c := range d.Calls {
		attempt, enqueued, next := "", time.Duration(0), ""
		if c.Attempt > 0 {
			attempt = fmt.Sprint(c.Attempt)
		}
		if c.ScheduledAt != nil {
			enqueued = max(time.Since(*c.ScheduledAt), time.Millisecond)
		}
		if c.NextAt != nil {
			next = "in " + age(max(time.Until(*c.NextAt), time.Millisecond))
		}
		row(w, c.Pool, c.Number, c.Type, c.State, attempt, enqueued, time.Duration(c.ClaimedFor*float64(time.Second)), next, c.Executor)
	}
	if d.CallsInAll > len(d.Calls) {
		fmt.Fprintf(w, "There are more: give a higher --limit than %d.\n", len(d.Calls))
	}
}

func (d *describeJSON) writeActivities(w io.Writer) {
	if len(d.Activities) == 0 {
		return
	}
	fmt.Fprintln(w, "\nPending activities in Temporal:")
	row(w, "ID", "TYPE", "STATE", "ATTEMPT", "LAST FAILURE")
	for _, x := range d.Activities {
		row(w, x.ID, x.Type, x.State, x.Attempt, x.LastFailure)
	}
}
