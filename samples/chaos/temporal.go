package main

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/slipstream-go/slipstream/internal/freeport"
	"github.com/slipstream-go/slipstream/samples/devstack"
)

// temporalServer is a Temporal server on a file, in a process that can be killed and started again. One goroutine at a
// time may use it.
type temporalServer struct {
	program *devstack.Program
	options devstack.Options
	stack   *devstack.Stack
}

func startTemporal(ctx context.Context, dir string) (_ *temporalServer, err error) {
	t := &temporalServer{options: devstack.Options{NoRedis: true, TemporalFile: filepath.Join(dir, "temporal.sqlite")}}
	if t.options.TemporalPort, err = freeport.Find(ctx); err != nil {
		return nil, err
	}
	if t.program, err = devstack.Build(ctx); err != nil {
		return nil, err
	}
	if err := t.start(ctx); err != nil {
		_ = t.program.Remove()
		return nil, err
	}
	return t, nil
}

func (t *temporalServer) address() string { return fmt.Sprintf("127.0.0.1:%d", t.options.TemporalPort) }

func (t *temporalServer) start(ctx context.Context) (err error) {
	t.stack, err = t.program.Start(ctx, t.options)
	return err
}

func (t *temporalServer) kill() error {
	if err := t.stack.KillTemporal(); err != nil {
		return err
	}
	return t.stack.Stop() // releases what belonged to the process
}

func (t *temporalServer) stop() error {
	err := t.stack.Stop()
	if removed := t.program.Remove(); err == nil {
		err = removed
	}
	return err
}
