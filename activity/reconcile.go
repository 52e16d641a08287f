package activity

import (
	"context"
	"errors"
	"fmt"
	"time"

	sdkactivity "go.temporal.io/sdk/activity"

	"github.com/slipstream-go/slipstream/batchqueue"
	"github.com/slipstream-go/slipstream/internal/wire"
)

// place is where open calls of one run live: a run that was reset has calls that its
// former run dispatched.
type place struct {
	run string
	wire.Address
}

// reconcile is one ask of a run (protocol C).
type reconcile struct {
	r     *Runtime
	w     *Worker // the worker whose workflow task this is; nil in an unknown worker
	info  sdkactivity.Info
	pools runPools
	reply *wire.AskReply
	room  int
}

// Reconcile asks the queue about open calls, pulls finished outcomes and takes orphans
// out. Calls for which Redis does not answer are unsure; an error means that the local
// activity itself ended.
func (r *Runtime) Reconcile(ctx context.Context, ask *wire.Ask) ([]byte, error) {
	info := sdkactivity.GetInfo(ctx)
	w := workerFrom(ctx)
	c := &reconcile{r: r, w: w, info: info, pools: poolsOf(w, info), room: markerBytes, reply: &wire.AskReply{RunID: info.WorkflowExecution.RunID}}
	places, open := c.byPlace(ctx, ask.Open)
	for _, p := range places {
		c.ask(ctx, p, open[p])
	}
	places, orphans := c.byPlace(ctx, ask.Orphans)
	for _, p := range places {
		c.disown(ctx, p, orphans[p])
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return wire.EncodeAskReply(c.reply), nil
}

// byPlace sorts calls by where they are. Those for which Redis does not say it are unsure.
func (c *reconcile) byPlace(ctx context.Context, calls []wire.OpenCall) (places []place, at map[place][]*wire.OpenCall) {
	at = map[place][]*wire.OpenCall{}
	for i := range calls {
		o := &calls[i]
		p := place{o.RunID, o.Address}
		if o.Call != nil {
			// The dispatch of this call ended without a word. Where it would have put the
			// call is known, because dispatch decides by what stands in the call alone.
			var err error
			if p, err = c.locate(ctx, o); err != nil {
				c.found(o, wire.StateUnsure, -1)
				continue
			}
		}
		if at[p] == nil {
			places = append(places, p)
		}
		at[p] = append(at[p], o)
	}
	return places, at
}

// locate completes a call whose dispatch was lost: its identity and its address.
func (c *reconcile) locate(ctx context.Context, o *wire.OpenCall) (place, error) {
	o.RunID, o.Number = c.info.WorkflowExecution.RunID, o.Call.Number
	o.Fingerprint = o.Call.Fingerprint
	if o.Fingerprint == 0 {
		o.Fingerprint = wire.Fingerprint(o.RunID, o.Call)
	}
	o.Pool = c.pools.name(o.Call)
	slot, err := c.r.slotOf(ctx, o.Pool, o.RunID)
	if err != nil {
		return place{}, err
	}
	o.Slot = slot
	return place{o.RunID, o.Address}, nil
}

// slotOf finds the slot of a run: a wave without tasks goes nowhere else.
func (r *Runtime) slotOf(ctx context.Context, pool, run string) (int, error) {
	e, err := r.queue.Enqueue(ctx, pool, &batchqueue.Wave{Run: run, Slot: unknownSlot})
	if err == nil && e.Slot < 0 {
		err = batchqueue.ErrUnavailable
	}
	if err != nil {
		return 0, fmt.Errorf("find the slot of run %q in pool %q: %w", run, pool, err)
	}
	return e.Slot, nil
}

func (c *reconcile) ask(ctx context.Context, p place, calls []*wire.OpenCall) {
	request := batchqueue.AskRequest{Run: p.run, Room: batchqueue.Room{Bytes: c.room, OneLarger: c.room == markerBytes}}
	for _, o := range calls {
		request.Open = append(request.Open, batchqueue.Identity{Number: o.Number, Fingerprint: o.Fingerprint})
	}
	var err error
	if p.run != c.info.WorkflowExecution.RunID {
		// The asking run was reset from the one that dispatched: it gets the outcomes.
		request.Redirect, err = encodeAddress(&address{
			Namespace:    c.info.Namespace,
			WorkflowID:   c.info.WorkflowExecution.ID,
			RunID:        c.info.WorkflowExecution.RunID,
			WorkflowType: c.info.WorkflowType.Name,
		})
	}
	var reply batchqueue.AskReply
	began := time.Now()
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, redisTimeout)
		defer cancel()
		reply, err = c.r.queue.Ask(ctx, p.Pool, p.Slot, request)
	}
	if err != nil {
		if n, say := c.r.askOutage.Failed(time.Now()); say {
			c.r.log.Warn("[Slipstream] open calls could not be asked for", "Pool", p.Pool, "Calls", len(calls), "Failures", n, "Error", err)
		}
		for _, o := range calls {
			c.found(o, wire.StateUnsure, c.addressOf(o))
		}
		return
	}
	if n, lasted, say := c.r.askOutage.Worked(time.Now()); say {
		c.r.log.Info("[Slipstream] open calls can be asked for again", "Pool", p.Pool, "Failures", n, "Lasted", lasted)
	}
	if c.w != nil {
		c.w.inherit(ctx, p.Pool)
	}
	c.r.metrics.fetched(p.Pool, wayAsk, len(reply.Taken))
	c.r.tracing.handedOver(began, p.Pool, p.Slot, wayAsk, nil, reply.Taken, p.run, c.info.WorkflowExecution.ID)
	pulled := map[batchqueue.Identity]bool{}
	for i := range reply.Taken {
		o := &reply.Taken[i]
		c.take(p.run, o)
		pulled[batchqueue.Identity{Number: o.Number, Fingerprint: o.Fingerprint}] = true
	}
	for i, o := range calls {
		switch a := &reply.Answers[i]; a.State {
		case batchqueue.AnswerDone: // taken now, or before by a dispatch whose workflow task was lost
			if !pulled[request.Open[i]] {
				c.take(p.run, a.Outcome)
			}
			if o.Call != nil {
				c.found(o, wire.StateQueued, c.addressOf(o)) // with its identity, which the outcome needs
			}
		case batchqueue.AnswerNotHere:
			c.found(o, wire.StateNotHere, c.addressOf(o))
		default:
			if o.Call != nil {
				c.found(o, wire.StateQueued, c.addressOf(o))
			}
		}
	}
}

// disown takes tasks out of the queue that nobody waits for.
func (c *reconcile) disown(ctx context.Context, p place, calls []*wire.OpenCall) {
	identities := make([]batchqueue.Identity, len(calls))
	for i, o := range calls {
		identities[i] = batchqueue.Identity{Number: o.Number, Fingerprint: o.Fingerprint}
	}
	ctx, cancel := context.WithTimeout(ctx, redisTimeout)
	defer cancel()
	if err := c.r.queue.Discard(ctx, p.Pool, p.Slot, p.run, identities); err != nil {
		if n, say := c.r.disownOutage.Failed(time.Now()); say {
			c.r.log.Warn("[Slipstream] cancelled calls may run in the queue", "Pool", p.Pool, "Calls", len(calls), "Failures", n, "Error", err)
		}
		for _, o := range calls {
			c.found(o, wire.StateUnsure, -1)
		}
		return
	}
	if n, lasted, say := c.r.disownOutage.Worked(time.Now()); say {
		c.r.log.Info("[Slipstream] cancelled calls are taken out of the queue again", "Pool", p.Pool, "Failures", n, "Lasted", lasted)
	}
}

func (c *reconcile) take(run string, o *batchqueue.Outcome) {
	c.reply.Taken = append(c.reply.Taken, wireOutcome(run, o))
	c.room -= len(o.Payload)
}

func (c *reconcile) found(o *wire.OpenCall, state wire.State, address int) {
	number := o.Number
	if o.Call != nil {
		number = o.Call.Number
	}
	c.reply.Found = append(c.reply.Found, wire.Answer{
		Number: number, Type: o.Type, State: state, Fingerprint: o.Fingerprint, Address: address,
	})
}

func (c *reconcile) addressOf(o *wire.OpenCall) int {
	for i, a := range c.reply.Addresses {
		if a == o.Address {
			return i
		}
	}
	c.reply.Addresses = append(c.reply.Addresses, o.Address)
	return len(c.reply.Addresses) - 1
}

// Cancel asks the queue to cancel calls. An error means that some of them may not have
// been asked for.
func (r *Runtime) Cancel(ctx context.Context, request *wire.CancelRequest) error {
	calls := map[place][]batchqueue.Identity{}
	for i := range request.Calls {
		c := &request.Calls[i]
		p := place{c.RunID, c.Address}
		calls[p] = append(calls[p], batchqueue.Identity{Number: c.Number, Fingerprint: c.Fingerprint})
	}
	var errs []error
	for p, identities := range calls {
		if err := r.queue.Cancel(ctx, p.Pool, p.Slot, p.run, identities); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
