package activity

import (
	"slices"

	commonpb "go.temporal.io/api/common/v1"

	"github.com/slipstream-go/slipstream/batchqueue"
	"github.com/slipstream-go/slipstream/internal/wire"
)

// A chain is one task with steps. What its handlers return passes from step to step as it
// was encoded: results and arguments are both encoded for the workflow, so nobody has to
// decode what the next handler decodes.

// queueSteps are the steps of a chain as the queue takes them.
func queueSteps(steps []wire.Step) []batchqueue.Step {
	out := make([]batchqueue.Step, len(steps))
	for i := range steps {
		s := &steps[i]
		fixed := call{ActivityID: s.ActivityID, NonRetryable: s.Options.Retry.GetNonRetryableErrorTypes()}
		out[i] = batchqueue.Step{Type: s.Type, Payload: encodeCall(&fixed), Options: queueOptions(&s.Options)}
	}
	return out
}

// step is the result of a step of a chain that completed: what the next one starts with,
// or after the last all that was gathered. input is output, encoded.
func (v *invocation) step(output *commonpb.Payloads, input []byte) batchqueue.Result {
	earlier := v.call.Earlier
	if v.call.Gather {
		result, err := wire.EncodePayloads(oneResult(output))
		if err != nil {
			return v.failed(err)
		}
		// Encoded messages that follow each other are one, with the lists of all.
		earlier = append(slices.Clip(earlier), result...)
		if len(earlier) > v.payloadLimit() {
			return v.tooLarge(len(earlier))
		}
	}
	if v.d.Last() {
		return batchqueue.Result{Kind: batchqueue.KindCompleted, Payload: earlier}
	}
	next := call{Input: input, Header: v.call.Header, Gather: v.call.Gather, Earlier: earlier, Trace: v.traceForNext()}
	return batchqueue.Result{Kind: batchqueue.KindCompleted, Payload: encodeCall(&next)}
}

// oneResult makes exactly one payload of a result, which is what a future decodes of it.
// An empty payload stands for none.
func oneResult(p *commonpb.Payloads) *commonpb.Payloads {
	all := p.GetPayloads()
	if len(all) == 0 {
		all = []*commonpb.Payload{{}}
	}
	return &commonpb.Payloads{Payloads: all[:1]}
}

// sameSteps tells whether two calls share their steps: the router gives equal chains of a
// run one slice.
func sameSteps(a, b []wire.Step) bool { return len(a) > 0 && len(a) == len(b) && &a[0] == &b[0] }
