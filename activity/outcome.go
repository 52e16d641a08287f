package activity

import (
	commonpb "go.temporal.io/api/common/v1"

	"github.com/slipstream-go/slipstream/batchqueue"
	"github.com/slipstream-go/slipstream/internal/wire"
)

// wireOutcome translates the queue's outcome of a run's task into the router's.
func wireOutcome(run string, o *batchqueue.Outcome) wire.Outcome {
	w := wire.Outcome{
		Identity: wire.Identity{RunID: run, Number: o.Number, Fingerprint: o.Fingerprint},
		Kind:     wireKind(o.Kind),
		Step:     int32(o.Step),
		Attempt:  int32(o.Attempt),
		Retry:    wire.RetryState(o.Retry),
		Worker:   o.Executor,
		Payloads: decodedPayloads(o.Payload),
		Details:  decodedPayloads(o.Details),
	}
	switch w.Kind {
	case wire.KindCanceled:
		// The queue's own word, not a handler's; unless the step was not enqueued at all.
		if o.Attempt == 0 && (o.Step == 0 || o.Retry == batchqueue.RetryCancelRequested) {
			w.Payloads = wire.NotStarted()
		}
	case wire.KindScheduleToStart, wire.KindScheduleToClose, wire.KindStartToClose, wire.KindHeartbeat, wire.KindPoison:
		w.Payloads = decodedPayloads(o.LastFailure)
	case wire.KindUnknown, wire.KindCompleted, wire.KindFailed:
	}
	return w
}

// decodedPayloads is lenient: bytes that are no payloads, which only a damaged Redis
// could hold, must not keep a call open for ever.
func decodedPayloads(b []byte) []*commonpb.Payload {
	p, err := wire.DecodePayloads(b)
	if err != nil {
		return nil
	}
	return p.GetPayloads()
}

func wireKind(k batchqueue.Kind) wire.Kind {
	switch k {
	case batchqueue.KindCompleted:
		return wire.KindCompleted
	case batchqueue.KindFailed:
		return wire.KindFailed
	case batchqueue.KindCanceled:
		return wire.KindCanceled
	case batchqueue.KindScheduleToStart:
		return wire.KindScheduleToStart
	case batchqueue.KindScheduleToClose:
		return wire.KindScheduleToClose
	case batchqueue.KindStartToClose:
		return wire.KindStartToClose
	case batchqueue.KindHeartbeat:
		return wire.KindHeartbeat
	case batchqueue.KindPoison:
		return wire.KindPoison
	}
	return wire.KindUnknown
}
