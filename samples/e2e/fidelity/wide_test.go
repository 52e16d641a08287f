package fidelity

import (
	"context"
	"fmt"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"
)

// Not for the test without the sticky cache, where a server under load takes minutes for them.
var wideScenarios = []scenario{
	{name: "a hundred calls at once", play: fanOut(100)},
	{name: "five hundred calls at once", play: fanOut(500)},
	{
		name: "ten thousand calls at once", plainSendsNothing: true, play: tenThousand,
		differs: map[string]string{"sum": pendingReason, "failed": pendingReason, "workflow": pendingReason},
	},
}

// fanOut plays n calls at once and notes what is wrong with their results.
func fanOut(n int) func(p *play) {
	return func(p *play) {
		p.activity("Act", func(_ context.Context, n int) (int, error) {
			if n%100 == 99 {
				return 0, temporal.NewNonRetryableApplicationError(fmt.Sprint("no ", n), "No", nil)
			}
			return 2 * n, nil
		})
		p.workflow(func(ctx workflow.Context, see *notes) error {
			ctx = withOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: 5 * time.Minute})
			calls := make([]workflow.Future, n)
			for i := range calls {
				calls[i] = workflow.ExecuteActivity(ctx, "Act", i)
			}
			sum, failed := 0, 0
			for i, call := range calls {
				var got int
				if err := call.Get(ctx, &got); err != nil {
					failed++
				} else if got != 2*i {
					see.note("wrong result", fmt.Sprint(i, got))
				}
				sum += got
			}
			see.note("sum", sum)
			see.note("failed", failed)
			return nil
		})
	}
}

const pendingReason = "A run may have any number of routed calls open at a time. Plain, the server takes no workflow task that opens more than 2,000."

// tenThousand plays more calls at once than a plain workflow may have open. Plainly that is one more than 2,000 already:
// its workflow task fails again and again, and it is terminated.
func tenThousand(p *play) {
	p.workerOptions.DeadlockDetectionTimeout = time.Minute
	if p.mode == routed {
		fanOut(10_000)(p)
		return
	}
	fanOut(2_001)(p)
	p.start()
	p.await("the server to refuse the workflow task", func() bool {
		for _, e := range p.history(p.workflowID, "") {
			if e.GetWorkflowTaskFailedEventAttributes().GetCause() == enumspb.WORKFLOW_TASK_FAILED_CAUSE_PENDING_ACTIVITIES_LIMIT_EXCEEDED {
				return true
			}
		}
		return false
	})
	p.terminate()
}
