package workflow

import (
	"context"
	"errors"

	sdkactivity "go.temporal.io/sdk/activity"

	"github.com/slipstream-go/slipstream/internal/wire"
)

// errAbsent is what a worker answers that has no runtime.
var errAbsent = errors.New("slipstream: this worker has no live runtime (the plugin is disabled or saw no client)")

// absent is the dispatcher of a process without runtime. Runs that were recorded as
// routed come there too, after a roll-back for instance: their new calls go plain.
type absent struct{}

func (absent) Dispatch(ctx context.Context, wave *wire.Wave) ([]byte, error) {
	marker := &wire.Marker{
		RunID:   sdkactivity.GetInfo(ctx).WorkflowExecution.RunID,
		First:   wave.First,
		Answers: make([]wire.Answer, len(wave.Calls)),
		Summary: errAbsent.Error(),
	}
	left := wave.Fallback
	for i := range wave.Calls {
		c := &wave.Calls[i]
		state := wire.StateWaiting
		if left >= c.Weight() {
			state = wire.StatePlain
			left -= c.Weight()
		}
		marker.Answers[i] = wire.Answer{
			Number: c.Number, Type: c.Name(), State: state, Fingerprint: c.Fingerprint, Address: -1,
		}
	}
	return wire.EncodeMarker(marker), nil
}

func (absent) Reconcile(context.Context, *wire.Ask) ([]byte, error) { return nil, errAbsent }

func (absent) Cancel(context.Context, *wire.CancelRequest) error { return errAbsent }

func (absent) Progress(calls []wire.OpenCall) []Progress { return make([]Progress, len(calls)) }
