package fidelity

import (
	"context"
	"errors"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"
)

// Signals, updates and queries, beside calls and around them.
var messageScenarios = []scenario{
	{
		name: "queries while calls are open",
		play: func(p *play) {
			release := p.held()
			p.workflow(func(ctx workflow.Context, see *notes) error {
				state := "asked"
				_ = workflow.SetQueryHandler(ctx, "state", func() (string, error) { return state, nil })
				_ = noteResult[string](ctx, see, "call", workflow.ExecuteActivity(attempts(ctx, 1), "Held", "a"))
				state = "answered"
				return nil
			})
			p.start()
			p.query("state")
			p.awaitOpen()
			p.query("state")
			release("a")
			p.finish()
			p.query("state")
		},
	},
	{
		name: "signals while calls are open",
		play: func(p *play) {
			release := p.held()
			p.workflow(func(ctx workflow.Context, see *notes) error {
				call := workflow.ExecuteActivity(attempts(ctx, 1), "Held", "a")
				for range 3 {
					var s string
					workflow.GetSignalChannel(ctx, "word").Receive(ctx, &s)
					see.note("signal", s)
				}
				see.note("ready", call.IsReady())
				workflow.GetSignalChannel(ctx, "go on").Receive(ctx, nil)
				return noteResult[string](ctx, see, "call", call)
			})
			p.start()
			for _, s := range []string{"one", "two", "three"} {
				p.signal("word", s)
			}
			p.await("the signals", func() bool { return p.noted("ready") })
			release("a")
			p.signal("go on", nil)
		},
	},
	{
		name: "a call for each signal",
		play: func(p *play) {
			p.echo()
			p.workflow(func(ctx workflow.Context, see *notes) error {
				ctx = attempts(ctx, 1)
				for range 4 {
					var s string
					workflow.GetSignalChannel(ctx, "word").Receive(ctx, &s)
					if err := noteResult[string](ctx, see, "call", workflow.ExecuteActivity(ctx, "Echo", s)); err != nil {
						return err
					}
				}
				return nil
			})
			p.start()
			for _, s := range []string{"one", "two", "three", "four"} {
				p.signal("word", s)
			}
		},
	},
	{
		name: "calls in update handlers",
		play: func(p *play) {
			p.echo()
			release := p.held()
			p.workflow(func(ctx workflow.Context, see *notes) error {
				ctx = attempts(ctx, 1)
				updates := 0
				err := workflow.SetUpdateHandlerWithOptions(ctx, "translate", func(ctx workflow.Context, s string) (string, error) {
					updates++
					var out string
					err := workflow.ExecuteActivity(attempts(ctx, 1), "Echo", s).Get(ctx, &out)
					return out, err
				}, workflow.UpdateHandlerOptions{Validator: func(_ workflow.Context, s string) error {
					if s == "" {
						return errors.New("no word")
					}
					return nil
				}})
				if err != nil {
					return err
				}
				_ = noteResult[string](ctx, see, "call", workflow.ExecuteActivity(ctx, "Held", "a"))
				err = workflow.Await(ctx, func() bool { return updates == 3 && workflow.AllHandlersFinished(ctx) })
				see.note("updates", updates)
				return err
			})
			p.start()
			p.update("translate", "one")
			p.update("translate", "")
			p.awaitOpen()
			p.update("translate", "two")
			release("a")
			p.await("the call", func() bool { return p.noted("call") })
			p.update("translate", "three")
		},
	},
	{
		name: "first call in an update handler",
		play: func(p *play) {
			p.echo()
			p.workflow(func(ctx workflow.Context, see *notes) error {
				done := false
				_ = workflow.SetUpdateHandler(ctx, "translate", func(ctx workflow.Context, s string) (string, error) {
					defer func() { done = true }()
					var out string
					err := workflow.ExecuteActivity(attempts(ctx, 1), "Echo", s).Get(ctx, &out)
					return out, err
				})
				_ = workflow.Await(ctx, func() bool { return done })
				see.note("done", done)
				return nil
			})
			p.start()
			p.update("translate", "one")
		},
	},
	{
		name: "update handler whose call fails",
		play: func(p *play) {
			p.activity("Act", func(context.Context) error { return temporal.NewApplicationError("no luck", "Luck", "detail") })
			p.workflow(func(ctx workflow.Context, _ *notes) error {
				done := false
				_ = workflow.SetUpdateHandler(ctx, "translate", func(ctx workflow.Context, _ string) (string, error) {
					defer func() { done = true }()
					return "", workflow.ExecuteActivity(attempts(ctx, 2), "Act").Get(ctx, nil)
				})
				return workflow.Await(ctx, func() bool { return done })
			})
			p.start()
			p.update("translate", "one")
		},
	},
}
