package fidelity

import (
	"context"
	"errors"

	"go.temporal.io/sdk/workflow"

	"github.com/slipstream-go/slipstream/samples/e2e/tenant"
)

// who notes the tenant that a handler sees.
func (p *play) whoActivity(name string) {
	p.activity(name, func(ctx context.Context) (string, error) {
		s, _ := ctx.Value(tenant.Key{}).(string)
		return s, nil
	})
}

var contextScenarios = []scenario{
	{
		name: "a propagator that insists on its header",
		play: func(p *play) {
			p.pluginOptions.Window = -1 // outcomes come by signal, and signals need it too
			p.clientOptions.ContextPropagators = []workflow.ContextPropagator{tenant.Propagator{}}
			p.ctx = context.WithValue(p.ctx, tenant.Key{}, "acme")
			p.whoActivity("Who")
			p.child("Child", func(ctx workflow.Context) (string, error) {
				var who string
				err := workflow.ExecuteActivity(attempts(ctx, 1), "Who").Get(ctx, &who)
				return who, err
			})
			p.workflow(func(ctx workflow.Context, see *notes) error {
				ctx = attempts(ctx, 1)
				see.note("workflow of", ctx.Value(tenant.Key{}))
				_ = noteResult[string](ctx, see, "as the workflow", workflow.ExecuteActivity(ctx, "Who"))
				other := workflow.WithValue(ctx, tenant.Key{}, "other")
				one, two := workflow.ExecuteActivity(ctx, "Who"), workflow.ExecuteActivity(other, "Who")
				_ = noteResult[string](ctx, see, "side by side", one)
				_ = noteResult[string](ctx, see, "side by side", two)
				_ = noteResult[string](ctx, see, "in a child", workflow.ExecuteChildWorkflow(other, "Child"))
				return nil
			})
		},
	},
	{
		name: "a propagator that fails in the workflow",
		play: func(p *play) {
			p.clientOptions.ContextPropagators = []workflow.ContextPropagator{picky{}}
			p.whoActivity("Who")
			p.workflow(func(ctx workflow.Context, see *notes) error {
				ctx = attempts(ctx, 1)
				_ = noteResult[string](ctx, see, "good", workflow.ExecuteActivity(ctx, "Who"))
				_ = noteResult[string](ctx, see, "bad", workflow.ExecuteActivity(workflow.WithValue(ctx, tenant.Key{}, "bad"), "Who"))
				return nil
			})
		},
	},
}

// picky propagates no values but fails for one.
type picky struct{}

func (picky) Inject(context.Context, workflow.HeaderWriter) error { return nil }

func (picky) InjectFromWorkflow(ctx workflow.Context, _ workflow.HeaderWriter) error {
	if ctx.Value(tenant.Key{}) == "bad" {
		return errors.New("a bad tenant")
	}
	return nil
}

func (picky) Extract(ctx context.Context, _ workflow.HeaderReader) (context.Context, error) {
	return ctx, nil
}

func (picky) ExtractToWorkflow(ctx workflow.Context, _ workflow.HeaderReader) (workflow.Context, error) {
	return ctx, nil
}
