package activity

import (
	"context"
	"time"

	"github.com/slipstream-go/slipstream/batchqueue"
	"github.com/slipstream-go/slipstream/internal/wire"
	"github.com/slipstream-go/slipstream/workflow"
)

const (
	// progressTimeout is how long a query may take for what the queue knows: the worker's
	// thread that answers it does nothing else meanwhile. A client of the user's that does
	// not heed contexts (redis.Options.ContextTimeoutEnabled) may take its ReadTimeout.
	progressTimeout = 500 * time.Millisecond
	// progressRest is how long queries are answered without the queue after it did not
	// answer one: a workflow task may carry many, one after the other.
	progressRest = 5 * time.Second
)

// Progress tells where calls stand in the queue. Best effort: what a Redis that does not
// answer, or not in time, would have told is left zero.
func (r *Runtime) Progress(calls []wire.OpenCall) []workflow.Progress {
	out := make([]workflow.Progress, len(calls))
	if time.Now().UnixNano() < r.progressRests.Load() {
		return out
	}
	ctx, cancel := context.WithTimeout(context.Background(), progressTimeout)
	defer cancel()
	at := map[place][]int{}
	for i := range calls {
		p := place{calls[i].RunID, calls[i].Address}
		at[p] = append(at[p], i)
	}
	for p, indices := range at {
		numbers := make([]uint64, len(indices))
		for i, index := range indices {
			numbers[i] = calls[index].Number
		}
		found, err := r.queue.Progress(ctx, p.Pool, p.Slot, p.run, numbers...)
		if err != nil {
			r.progressRests.Store(time.Now().Add(progressRest).UnixNano())
			r.log.Debug("[Slipstream] a query of open calls is answered without what the queue knows", "Pool", p.Pool, "Error", err)
			return out
		}
		byIdentity := make(map[batchqueue.Identity]batchqueue.Progress, len(found))
		for _, f := range found {
			byIdentity[f.Identity] = f
		}
		for _, index := range indices {
			f := byIdentity[batchqueue.Identity{Number: calls[index].Number, Fingerprint: calls[index].Fingerprint}]
			out[index] = workflow.Progress{Task: string(f.State), Attempt: f.Attempt}
		}
	}
	return out
}
