package fidelity

import (
	"context"
	"errors"

	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/workflow"
)

// tenant is a strict propagator: without its header everything is an error.
type tenant struct{}

type tenantKey struct{}

func (tenant) write(w workflow.HeaderWriter, v any) error {
	s, ok := v.(string)
	if !ok {
		return nil
	}
	p, err := converter.GetDefaultDataConverter().ToPayload(s)
	w.Set("tenant", p)
	return err
}

func (tenant) read(r workflow.HeaderReader) (string, error) {
	p, ok := r.Get("tenant")
	if !ok {
		return "", errors.New("no tenant in the header")
	}
	var s string
	err := converter.GetDefaultDataConverter().FromPayload(p, &s)
	return s, err
}

func (p tenant) Inject(ctx context.Context, w workflow.HeaderWriter) error {
	return p.write(w, ctx.Value(tenantKey{}))
}

func (p tenant) InjectFromWorkflow(ctx workflow.Context, w workflow.HeaderWriter) error {
	return p.write(w, ctx.Value(tenantKey{}))
}

func (p tenant) Extract(ctx context.Context, r workflow.HeaderReader) (context.Context, error) {
	s, err := p.read(r)
	return context.WithValue(ctx, tenantKey{}, s), err
}

func (p tenant) ExtractToWorkflow(ctx workflow.Context, r workflow.HeaderReader) (workflow.Context, error) {
	s, err := p.read(r)
	return workflow.WithValue(ctx, tenantKey{}, s), err
}
