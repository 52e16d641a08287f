package workflow

import (
	"fmt"
	"maps"
	"slices"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	sdkworkflow "go.temporal.io/sdk/workflow"

	"github.com/slipstream-go/slipstream/internal/wire"
)

// The alarm's times. They decide which timers a run starts: see protocolVersion.
const (
	firstAsk = 15 * time.Second
	lastAsk  = 5 * time.Minute // the longest interval; it doubles up to here
	// soon is the time to the ask that has to find something out, and between the two
	// asks that must miss a call before it is added again.
	soon = 2 * time.Second
	// deadlineGrace is how long after its deadline a call is given up by the run itself.
	// The queue ends it before, if there is a queue.
	deadlineGrace = time.Second
)

// alarm is the run's reconcile timer. Only one counts, the one that rings first; timers
// are never cancelled, because that would cost a command, so one that was overtaken
// rings for nothing.
type alarm struct {
	armed    bool
	at       time.Time
	number   int           // of the timer that counts
	interval time.Duration // of the regular asks; zero: start from the beginning
	asking   bool
	round    int
}

// armSoon has the run ask soon, and then at regular times from the beginning.
func (r *router) armSoon(ctx sdkworkflow.Context) {
	r.alarm.interval = 0
	r.arm(ctx, r.Next.Now(ctx).Add(soon))
}

// armFor has the run ask at the next regular time, or when the first deadline of these
// calls has passed: the ask sees to it that deadlines hold where no executor is alive.
// Calls that are closed count for nothing, nor do calls whose dispatch is under way: its
// end arms for them.
func (r *router) armFor(ctx sdkworkflow.Context, calls []*call) {
	var at time.Time
	now := r.Next.Now(ctx)
	for _, c := range calls {
		if !c.resting() {
			continue
		}
		if at.IsZero() {
			at = now.Add(max(r.alarm.interval, firstAsk))
		}
		if start, ok := c.startBy(); ok && start.After(now) && start.Add(deadlineGrace).Before(at) {
			at = start.Add(deadlineGrace)
		}
		if deadline, ok := c.deadline(); ok && deadline.Add(deadlineGrace).Before(at) {
			at = deadline.Add(deadlineGrace)
		}
	}
	if !at.IsZero() && r.arm(ctx, at) {
		r.alarm.interval = max(r.alarm.interval, firstAsk)
	}
}

// arm starts a timer unless one rings first anyway; it reports whether it did.
func (r *router) arm(ctx sdkworkflow.Context, at time.Time) bool {
	if r.alarm.armed && !at.Before(r.alarm.at) {
		return false
	}
	now := r.Next.Now(ctx)
	wait := max(at.Sub(now), time.Second)
	r.alarm.armed, r.alarm.at = true, now.Add(wait)
	r.alarm.number++
	number := r.alarm.number
	r.Next.Go(r.root, "slipstream alarm", func(ctx sdkworkflow.Context) {
		timer := r.Next.NewTimerWithOptions(ctx, wait, sdkworkflow.TimerOptions{Summary: "Slipstream asks for open calls"})
		if err := timer.Get(ctx, nil); err != nil || number != r.alarm.number {
			return
		}
		r.alarm.armed = false
		r.ask(ctx)
	})
	return true
}

// openCalls returns the open calls that match, by number.
func (r *router) openCalls(match func(*call) bool) []*call {
	var calls []*call
	for _, number := range slices.Sorted(maps.Keys(r.open)) {
		if c := r.open[number]; match(c) {
			calls = append(calls, c)
		}
	}
	return calls
}

// ask asks the queue about the open calls, pulls finished outcomes, adds again what two
// asks did not find, and has orphans taken out.
func (r *router) ask(ctx sdkworkflow.Context) {
	if len(r.open) == 0 && len(r.orphans.calls) == 0 {
		r.alarm.interval = 0
		return
	}
	if r.alarm.asking {
		r.armSoon(ctx)
		return
	}
	calls := r.openCalls(func(c *call) bool { return c.resting() && c.phase != waiting })
	if len(calls) > 0 || len(r.orphans.calls) > 0 {
		r.askAbout(ctx, calls)
	}
	r.expire(ctx)
	r.dispatchWaiting(ctx, fallbackBatch)
	r.alarm.interval = min(2*r.alarm.interval, lastAsk)
	r.armFor(ctx, r.openCalls((*call).resting))
}

func (r *router) askAbout(ctx sdkworkflow.Context, calls []*call) {
	r.alarm.asking = true
	r.alarm.round++
	question := &wire.Ask{Round: r.alarm.round, Open: make([]wire.OpenCall, len(calls))}
	for i, c := range calls {
		question.Open[i] = c.openCall()
	}
	summary := fmt.Sprintf("%d open calls", len(calls))
	orphans := r.orphans.take()
	if len(orphans) > 0 {
		question.Orphans = slices.Clone(orphans)
		summary += fmt.Sprintf(", %d to cancel", len(orphans))
	}
	var encoded []byte
	lctx := localActivity(ctx, summary)
	err := sdkworkflow.ExecuteLocalActivity(lctx, SlipstreamReconcile, r.config.dispatcher(), question).Get(ctx, &encoded)
	r.alarm.asking = false
	var reply *wire.AskReply
	if err == nil {
		reply, err = wire.DecodeAskReply(encoded)
	}
	if err != nil {
		r.Next.GetLogger(ctx).Warn("[Slipstream] open calls could not be asked for", "Calls", len(calls), "Error", err)
		reply = nil
	} else {
		r.heed(ctx, calls, reply)
	}
	// Orphans that the queue was not told of go with the next ask, whatever it is for.
	for _, o := range orphans {
		if reply == nil || slices.ContainsFunc(reply.Found, func(a wire.Answer) bool { return a.Number == o.Number }) {
			r.orphans.add(o)
		}
	}
}

// heed does what a reply says.
func (r *router) heed(ctx sdkworkflow.Context, calls []*call, reply *wire.AskReply) {
	for i := range reply.Taken {
		r.receive(ctx, &reply.Taken[i])
	}
	found := map[uint64]*wire.Answer{}
	for i := range reply.Found {
		found[reply.Found[i].Number] = &reply.Found[i]
	}
	var gone []*call
	for _, c := range calls {
		if c.phase == closed {
			continue
		}
		a := found[c.Number]
		if c.phase == lost {
			if a == nil {
				continue // not what the contract says; the next ask will tell
			}
			if a.Fingerprint != 0 && a.Address >= 0 {
				identity := wire.Identity{RunID: reply.RunID, Number: c.Number, Fingerprint: a.Fingerprint}
				r.place(ctx, c, identity, reply.Addresses[a.Address])
			}
		}
		switch {
		case c.phase == closed:
		case a == nil, a.State == wire.StateQueued && c.phase == placed:
			r.placeQueued(ctx, c, c.identity, c.address)
		case a.State == wire.StateNotHere:
			if r.missed(ctx, c) {
				gone = append(gone, c)
			}
		}
	}
	r.replace(ctx, gone)
}

// missed notes that an ask did not find a call. It reports true when another one, in an
// earlier workflow task and long enough ago, did not find it either: the run's history
// then certainly lacks an outcome that Temporal has taken, because whatever was taken
// before the first ask stands in history before the second (protocol C2).
func (r *router) missed(ctx sdkworkflow.Context, c *call) bool {
	now := miss{length: r.Next.GetInfo(ctx).GetCurrentHistoryLength(), at: r.Next.Now(ctx)}
	if c.missed == nil {
		c.missed = &now
	}
	if c.missed.length != now.length && now.at.Sub(c.missed.at) >= soon {
		return true
	}
	r.armSoon(ctx)
	return false
}

// replace deals with calls that are gone from the queue for certain.
func (r *router) replace(ctx sdkworkflow.Context, gone []*call) {
	var again []*call
	for _, c := range gone {
		c.missed = nil
		switch {
		case c.cancelWanted:
			r.cancelNeverStarted(ctx, c)
		case c.Once():
			// It may have run: never again. Plain Temporal reports a lost worker so. How far a
			// chain has come nobody knows.
			step, _ := c.OnceStep()
			kind := wire.KindStartToClose
			if c.optionsIn(step).Heartbeat > 0 {
				kind = wire.KindHeartbeat
			}
			r.finish(ctx, c, &wire.Outcome{
				Kind:  kind,
				Step:  int32(step),
				Retry: wire.RetryState(enumspb.RETRY_STATE_MAXIMUM_ATTEMPTS_REACHED),
			})
		default:
			again = append(again, c)
		}
	}
	r.dispatch(ctx, again)
}

// expire ends calls whose deadline has passed although no outcome has come: there may be
// nobody left who could report one.
func (r *router) expire(ctx sdkworkflow.Context) {
	now := r.Next.Now(ctx)
	for _, c := range r.openCalls(func(c *call) bool { return c.resting() && c.overdue(now) }) {
		if c.phase == placed {
			r.requestCancel(c)
		}
		r.finish(ctx, c, &wire.Outcome{
			Kind:  wire.KindScheduleToClose,
			Step:  int32(len(c.Then)),
			Retry: wire.RetryState(enumspb.RETRY_STATE_TIMEOUT),
		})
	}
}
