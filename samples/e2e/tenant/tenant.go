// Package tenant is a context propagator for end-to-end tests, as strict as one may be.
package tenant

import (
	"context"
	"errors"

	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/workflow"
)

// Propagator is strict: without its header everything is an error.
type Propagator struct{}

// Key is under what a context holds its tenant, a string.
type Key struct{}

func (Propagator) write(w workflow.HeaderWriter, v any) error {
	s, ok := v.(string)
	if !ok {
		return nil
	}
	p, err := converter.GetDefaultDataConverter().ToPayload(s)
	w.Set("tenant", p)
	return err
}

func (Propagator) read(r workflow.HeaderReader) (string, error) {
	p, ok := r.Get("tenant")
	if !ok {
		return "", errors.New("no tenant in the header")
	}
	var s string
	err := converter.GetDefaultDataConverter().FromPayload(p, &s)
	return s, err
}

// Inject implements workflow.ContextPropagator.
func (p Propagator) Inject(ctx context.Context, w workflow.HeaderWriter) error {
	return p.write(w, ctx.Value(Key{}))
}

// InjectFromWorkflow implements workflow.ContextPropagator.
func (p Propagator) InjectFromWorkflow(ctx workflow.Context, w workflow.HeaderWriter) error {
	return p.write(w, ctx.Value(Key{}))
}

// Extract implements workflow.ContextPropagator.
func (p Propagator) Extract(ctx context.Context, r workflow.HeaderReader) (context.Context, error) {
	s, err := p.read(r)
	return context.WithValue(ctx, Key{}, s), err
}

// ExtractToWorkflow implements workflow.ContextPropagator.
func (p Propagator) ExtractToWorkflow(ctx workflow.Context, r workflow.HeaderReader) (workflow.Context, error) {
	s, err := p.read(r)
	return workflow.WithValue(ctx, Key{}, s), err
}

// WhichTenant is an activity that tells the tenant.
func WhichTenant(ctx context.Context) (string, error) {
	name, _ := ctx.Value(Key{}).(string)
	return name, nil
}
