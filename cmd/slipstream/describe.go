package main

import (
	"context"
	"errors"
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
	Calls         []callJSON     `json:"openCalls"`
	CallsInAll    int            `json:"openCallsInAll"`
	Hints         []string       `json:"hints,omitempty"`

	queueAway bool
}

// callJSON is a call that the run waits for.
type callJSON struct {
	taskJSON
	// InQueue is false where the queue does not know the call; State is the run's word for it then. It is left out where
	// the queue could not be asked.
	InQueue *bool `json:"inQueue,omitempty"`
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
		Long: `Shows what a workflow's run waits for: its routed calls, with state and attempt as the queue has them, beside what
Temporal knows: the workflow task under way, ordinary activities, child workflows. The run itself is asked for its calls
too, by a query: that shows those that Redis has lost, and those that wait for Redis. Hints say what keeps calls from
running, such as a pool that is paused or that nobody serves, and what could not be asked: Redis, or a worker.`,
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
	var waited []openCall
	if d.ClosedAt == nil { // the run first: what the queue tells it in between, the queue still knows
		waited = d.askRun(ctx, c)
	}
	found, err := a.addQueued(ctx, d, runs, waited, limit)
	if err != nil && (!errors.Is(err, batchqueue.ErrUnavailable) || errors.Is(ctx.Err(), context.Canceled)) {
		return nil, err
	}
	d.queueAway = err != nil
	if d.queueAway {
		d.hintf("Redis at %s could not be asked, so that calls are shown as far as the run knows them: %v.", a.redisAddress(), err)
	}
	d.addOthers(waited, found, limit)
	return d, nil
}

func (d *describeJSON) hintf(format string, args ...any) {
	d.Hints = append(d.Hints, fmt.Sprintf(format, args...))
}

func newDescription(reply *workflowservice.DescribeWorkflowExecutionResponse) *describeJSON {
	info := reply.GetWorkflowExecutionInfo()
	d := &describeJSON{
		Workflow: info.GetExecution().GetWorkflowId(), Run: info.GetExecution().GetRunId(), Type: info.GetType().GetName(),
		Status: info.GetStatus().String(), TaskQueue: info.GetTaskQueue(), StartedAt: info.GetStartTime().AsTime(),
		HistoryLength: info.GetHistoryLength(), Children: len(reply.GetPendingChildren()),
		Activities: []activityJSON{}, Calls: []callJSON{},
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

// addQueued adds the runs' calls of all pools, and returns what the queue knows of, shown or not.
func (a *app) addQueued(ctx context.Context, d *describeJSON, runs []string, waited []openCall, limit int) (map[callName]bool, error) {
	found := map[callName]bool{}
	pools, err := a.pools(ctx)
	if err != nil {
		return found, err
	}
	waits := make(map[callName]bool, len(waited))
	for _, c := range waited {
		waits[c.name(d.Run)] = true
	}
	for _, p := range pools {
		before := d.CallsInAll
		for _, run := range runs {
			if err := d.addCalls(ctx, p, run, waits, found, limit); err != nil {
				return found, err
			}
		}
		if d.CallsInAll == before {
			continue
		}
		if err := d.addHints(ctx, p); err != nil {
			return found, err
		}
	}
	return found, nil
}

// addCalls adds a run's calls in a pool: those that are open, and those whose outcome the run has not got yet, by its own
// word.
func (d *describeJSON) addCalls(ctx context.Context, p pool, run string, waits, found map[callName]bool, limit int) error {
	tasks, err := p.q.Tasks(ctx, p.name, run)
	if err != nil {
		return err
	}
	var numbers []uint64
	for _, t := range tasks {
		name := callName{run, t.Number}
		found[name] = true
		if !isOpen(t.State) && t.State != batchqueue.StateFinished && !waits[name] {
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
		call := callJSON{newTask(p.name, run, detail.TaskStatus), new(true)}
		call.detail(detail)
		d.Calls = append(d.Calls, call)
	}
	return nil
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
	switch {
	case config.Paused:
		d.hintf("Pool %s is paused: slipstream resume %s lets it go on.", p.name, p.name)
	case r.Executors == 0:
		d.hintf("Nobody serves pool %s: start a worker of its task queue.", p.name)
	case r.InFlight >= int64(r.Permits) && r.Waiting > 0:
		d.hintf("Pool %s is busy: %d of %d permits are taken, and %s wait.", p.name, r.InFlight, r.Permits, plural(r.Waiting, "task"))
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
	switch {
	case len(d.Calls) > 0:
	case d.queueAway:
		fmt.Fprintln(w, "No open calls are known.")
		return
	default:
		fmt.Fprintln(w, "No open calls in the queue.")
		return
	}
	fmt.Fprintf(w, "%s:\n", plural(d.CallsInAll, "open call"))
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
		row(w, c.Pool, c.Number, c.Type, c.where(), attempt, enqueued, time.Duration(c.ClaimedFor*float64(time.Second)), next, c.Executor)
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
