package fidelity

import (
	"context"
	"fmt"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"
)

// Runs that end, or are canceled, with calls still open.
var closingScenarios = []scenario{
	{
		name: "workflow canceled, clean-up on a disconnected context",
		play: func(p *play) {
			running := make(chan struct{})
			p.activity("Act", func(ctx context.Context) (string, error) {
				close(running)
				beatUntilDone(ctx)
				p.seen.note("context", cause(ctx))
				return "", ctx.Err()
			})
			p.activity("CleanUp", func(context.Context) (string, error) { return "clean", nil })
			p.workflow(func(ctx workflow.Context, see *notes) error {
				o := workflow.ActivityOptions{HeartbeatTimeout: 10 * time.Second, WaitForCancellation: true}
				defer func() {
					apart, _ := workflow.NewDisconnectedContext(ctx)
					_ = noteResult[string](apart, see, "clean-up", workflow.ExecuteActivity(withOptions(apart, o), "CleanUp"))
				}()
				err := noteResult[string](ctx, see, "call", workflow.ExecuteActivity(withOptions(ctx, o), "Act"))
				see.note("workflow context", ctx.Err())
				_ = noteResult[string](ctx, see, "connected clean-up", workflow.ExecuteActivity(withOptions(ctx, o), "CleanUp"))
				return err
			})
			p.start()
			p.receive("the handler", running)
			p.cancel()
		},
	},
	{
		name: "workflow canceled, not waiting for the call",
		play: func(p *play) {
			running := make(chan struct{})
			p.activity("Act", func(ctx context.Context) (string, error) {
				close(running)
				beatUntilDone(ctx)
				return "", ctx.Err()
			})
			p.workflow(func(ctx workflow.Context, see *notes) error {
				o := workflow.ActivityOptions{HeartbeatTimeout: 10 * time.Second}
				return noteResult[string](ctx, see, "call", workflow.ExecuteActivity(withOptions(ctx, o), "Act"))
			})
			p.start()
			p.receive("the handler", running)
			p.cancel()
		},
	},
	{
		name: "workflow completes with open calls",
		play: func(p *play) {
			running := make(chan struct{})
			p.activity("Act", func(ctx context.Context) (string, error) {
				close(running)
				beatUntilDone(ctx)
				p.seen.note("context", ctx.Err())
				return "", ctx.Err()
			})
			p.workflow(func(ctx workflow.Context, see *notes) error {
				call := workflow.ExecuteActivity(withOptions(ctx, workflow.ActivityOptions{HeartbeatTimeout: 10 * time.Second}), "Act")
				workflow.GetSignalChannel(ctx, "end").Receive(ctx, nil)
				see.note("ready", call.IsReady())
				return nil
			})
			p.start()
			p.receive("the handler", running)
			p.signal("end", nil)
		},
	},
	{
		name: "workflow terminated with open calls",
		play: func(p *play) {
			running, terminated := make(chan struct{}), make(chan struct{})
			p.activity("Act", func(ctx context.Context) (string, error) {
				close(running)
				<-terminated
				end := time.NewTimer(10 * time.Second)
				defer end.Stop()
				for {
					activity.RecordHeartbeat(ctx)
					select {
					case <-end.C:
					case <-ctx.Done():
					case <-time.After(100 * ms):
						continue
					}
					p.seen.note("handler heard of it within 10 s", ctx.Err() != nil)
					return "", ctx.Err()
				}
			})
			p.workflow(func(ctx workflow.Context, _ *notes) error {
				return workflow.ExecuteActivity(withOptions(ctx, workflow.ActivityOptions{HeartbeatTimeout: time.Minute}), "Act").Get(ctx, nil)
			})
			p.start()
			p.receive("the handler", running)
			p.awaitOpen()
			p.terminate()
			close(terminated)
		},
		differs: map[string]string{"handler heard of it within 10 s": "A handler of a run that was terminated or timed out goes on until it ends or fails: nobody tells it."},
	},
	{name: "parent ends: child terminated", play: parentEnds(enumspb.PARENT_CLOSE_POLICY_TERMINATE)},
	{name: "parent ends: child abandoned", play: parentEnds(enumspb.PARENT_CLOSE_POLICY_ABANDON)},
	{name: "parent ends: child canceled", play: parentEnds(enumspb.PARENT_CLOSE_POLICY_REQUEST_CANCEL)},
	{
		name: "child canceled by its parent",
		play: func(p *play) {
			running := make(chan struct{})
			p.activity("Act", func(ctx context.Context) (string, error) {
				close(running)
				beatUntilDone(ctx)
				p.seen.note("context", cause(ctx))
				return "", ctx.Err()
			})
			p.child("Child", func(ctx workflow.Context) error {
				o := workflow.ActivityOptions{HeartbeatTimeout: 10 * time.Second, WaitForCancellation: true}
				return workflow.ExecuteActivity(withOptions(ctx, o), "Act").Get(ctx, nil)
			})
			p.workflow(func(ctx workflow.Context, see *notes) error {
				childCtx, cancel := workflow.WithCancel(workflow.WithChildOptions(ctx, workflow.ChildWorkflowOptions{WaitForCancellation: true}))
				child := workflow.ExecuteChildWorkflow(childCtx, "Child")
				workflow.GetSignalChannel(ctx, "cancel").Receive(ctx, nil)
				cancel()
				see.note("child canceled", temporal.IsCanceledError(child.Get(ctx, nil)))
				return nil
			})
			p.start()
			p.receive("the handler", running)
			p.signal("cancel", nil)
		},
	},
}

// parentEnds plays a child with an open call whose parent ends.
func parentEnds(policy enumspb.ParentClosePolicy) func(p *play) {
	return func(p *play) {
		running, release := make(chan struct{}), make(chan struct{})
		p.activity("Act", func(ctx context.Context) (string, error) {
			close(running)
			beat := time.NewTicker(100 * ms)
			defer beat.Stop()
			for {
				select {
				case <-ctx.Done():
					if policy != enumspb.PARENT_CLOSE_POLICY_TERMINATE {
						p.seen.note("context", ctx.Err())
					}
					return "", ctx.Err()
				case <-release:
					return "done", nil
				case <-p.over:
					return "", nil
				case <-beat.C:
					activity.RecordHeartbeat(ctx)
				}
			}
		})
		p.child("Child", func(ctx workflow.Context) (string, error) {
			o := workflow.ActivityOptions{HeartbeatTimeout: 10 * time.Second, WaitForCancellation: true}
			var s string
			err := workflow.ExecuteActivity(withOptions(ctx, o), "Act").Get(ctx, &s)
			return s, err
		})
		p.workflow(func(ctx workflow.Context, see *notes) error {
			child := workflow.ExecuteChildWorkflow(workflow.WithChildOptions(ctx, workflow.ChildWorkflowOptions{
				WorkflowID: p.workflowID + "-child", ParentClosePolicy: policy,
			}), "Child")
			see.note("child starts", child.GetChildWorkflowExecution().Get(ctx, nil))
			workflow.GetSignalChannel(ctx, "end").Receive(ctx, nil)
			return nil
		})
		p.start()
		p.receive("the handler", running)
		p.awaitOpen()
		p.signal("end", nil)
		if policy == enumspb.PARENT_CLOSE_POLICY_ABANDON {
			close(release)
		}
		var result string
		err := p.c.GetWorkflow(p.ctx, p.workflowID+"-child", "").Get(p.ctx, &result)
		p.seen.note("child", fmt.Sprint(result, " ", show(err)))
	}
}
