package workflow

import (
	"fmt"
	"slices"
	"strings"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/temporal"
	sdkworkflow "go.temporal.io/sdk/workflow"
	"google.golang.org/protobuf/proto"

	"github.com/slipstream-go/slipstream/internal/wire"
)

const (
	// maxWave bounds the marker of one dispatch: an open call takes about twelve bytes.
	maxWave = 10_000
	// dispatchTimeout bounds one local activity. It is only there for a dispatch that
	// hangs; a dispatch without Redis answers much sooner.
	dispatchTimeout = time.Minute
	// dispatchTotal adds the time that a local activity may wait for a slot.
	dispatchTotal = 2 * time.Minute
)

// join adds a call to the wave that is forming. The first one starts the wave's end.
func (r *router) join(c *call) {
	r.buffer = append(r.buffer, c)
	if len(r.buffer) == 1 {
		r.atTail("slipstream wave", 0, func() uint64 { return r.last }, r.flush)
	}
}

// atTail runs f in a coroutine behind all others, once those before it have had their
// turn without progress. A coroutine started now runs after all that exist now; those may
// make progress and start others, so it starts again at the end. seen is the progress
// that f need not wait for: zero for "wait for one turn in any case", because whoever
// calls has more to do.
//
// Tempting, but tried and wrong: a coroutine that lives as long as the workflow runs
// before the younger ones and splits waves; Await on "nothing was added" never wakes.
func (r *router) atTail(name string, seen uint64, progress func() uint64, f func(sdkworkflow.Context)) {
	r.Next.Go(r.root, name, func(ctx sdkworkflow.Context) {
		if now := progress(); now != seen {
			r.atTail(name, now, progress, f)
			return
		}
		f(ctx)
	})
}

// flush ends the wave. Calls that were cancelled meanwhile leave it, and nothing of them
// is sent.
func (r *router) flush(ctx sdkworkflow.Context) {
	calls := r.buffer
	r.buffer = nil
	calls = slices.DeleteFunc(calls, func(c *call) bool {
		switch {
		case c.phase != buffered || c.ctx.Err() == nil:
		case c.waitForCancellation:
			r.cancelNeverStarted(ctx, c)
		default:
			r.settle(ctx, c, nil, sdkworkflow.ErrCanceled)
		}
		return c.phase != buffered
	})
	r.dispatch(ctx, calls)
}

// dispatch sends calls in waves of bounded size, side by side.
func (r *router) dispatch(ctx sdkworkflow.Context, calls []*call) {
	for chunk := range slices.Chunk(calls, maxWave) {
		for _, c := range chunk {
			c.again = c.phase != buffered
			if !c.again {
				c.phase = dispatching
			}
		}
		wave := r.wave(ctx, chunk)
		r.Next.Go(r.root, "slipstream dispatch", func(ctx sdkworkflow.Context) {
			r.carry(ctx, chunk, wave)
		})
	}
}

// carry takes one wave through its local activity, checks the marker, and does what
// follows for each call.
func (r *router) carry(ctx sdkworkflow.Context, calls []*call, wave *wire.Wave) {
	var encoded []byte
	lctx := localActivity(ctx, summary(wave))
	err := sdkworkflow.ExecuteLocalActivity(lctx, SlipstreamDispatch, r.config.dispatcher(), wave).Get(ctx, &encoded)
	r.fallback.reserved -= wave.Fallback
	r.burden.add(r.Next.GetInfo(ctx).GetCurrentHistoryLength(), len(encoded))
	for _, c := range calls {
		c.again = false
	}
	var marker *wire.Marker
	if err == nil {
		marker, err = wire.DecodeMarker(encoded)
	}
	if err != nil {
		r.loseWave(ctx, calls, wave, err)
		return
	}
	checkMarker(wave, marker)
	accepted := false
	for i, c := range calls {
		a := &marker.Answers[i]
		accepted = accepted || a.State == wire.StateQueued || a.State == wire.StateDone
		r.apply(ctx, c, marker, a)
	}
	for i := range marker.Taken {
		r.receive(ctx, &marker.Taken[i])
	}
	if accepted {
		// Redis takes calls again: whatever waited for a fallback goes now.
		r.dispatchWaiting(ctx, len(r.open))
	}
	r.armFor(ctx, calls)
}

// wave describes the calls to dispatch. Nothing in it is shared with workflow code.
func (r *router) wave(ctx sdkworkflow.Context, calls []*call) *wire.Wave {
	length := r.Next.GetInfo(ctx).GetCurrentHistoryLength()
	wave := &wire.Wave{
		First:     calls[0].Number,
		Calls:     make([]wire.Call, len(calls)),
		Headers:   make([]*commonpb.Header, len(calls)),
		HeldBelow: r.held.below(r.open, r.last, length),
		Again:     calls[0].again,
		Fallback:  min(weightOf(calls), r.fallback.budget(length)),
		NoWindow:  !sdkworkflow.AllHandlersFinished(ctx) || r.burden.at(length) > maxBurden,

		TaskTimeout: r.Next.GetInfo(ctx).WorkflowTaskTimeout,
	}
	r.fallback.reserved += wave.Fallback
	now := r.Next.Now(ctx)
	for i, c := range calls {
		wave.Calls[i] = c.Call
		if remaining, less := c.remaining(now); c.again && less {
			o := &wave.Calls[i].Options
			o.ScheduleToClose = min(o.ScheduleToClose, remaining)
			o.ScheduleToStart = min(o.ScheduleToStart, remaining)
			o.StartToClose = min(o.StartToClose, remaining)
		}
		wave.Headers[i] = c.header
		if i > 0 && c.header != nil && proto.Equal(wave.Headers[i-1], c.header) {
			wave.Headers[i] = wave.Headers[i-1]
		}
		wave.Early = append(wave.Early, r.early.identities(c.Number)...)
	}
	return wave
}

// weightOf is how many plain activities the calls become.
func weightOf(calls []*call) (weight int) {
	for _, c := range calls {
		weight += c.Weight()
	}
	return weight
}

// maxBurden is how many bytes of markers one workflow task may gather before its waves
// stop waiting for results. All markers of a workflow task travel in one request, which
// the server's 4 MiB limit for requests would refuse again with each retry.
const maxBurden = 1 << 20

// burden counts the bytes of the markers of the current workflow task. It decides what a
// dispatch is asked to do, never a command.
type burden struct {
	length int // of the history, which grows between workflow tasks
	bytes  int
}

func (b *burden) add(length, bytes int) {
	b.bytes = b.at(length) + bytes
	b.length = length
}

func (b *burden) at(length int) int {
	if b.length != length {
		return 0
	}
	return b.bytes
}

// checkMarker compares a marker with the wave that workflow code made. In replay this
// is the check that plain activities get from the SDK, command by command; without it a
// changed workflow would read answers that belong to other calls (protocol I3). A panic
// is how workflow code fails a workflow task.
func checkMarker(wave *wire.Wave, marker *wire.Marker) {
	same := marker.First == wave.First && len(marker.Answers) == len(wave.Calls)
	for i := 0; same && i < len(wave.Calls); i++ {
		same = marker.Answers[i].Number == wave.Calls[i].Number && marker.Answers[i].Type == wave.Calls[i].Name()
	}
	if !same {
		theirs := make([]string, len(marker.Answers))
		for i := range marker.Answers {
			theirs[i] = marker.Answers[i].Type
		}
		ours := make([]string, len(wave.Calls))
		for i := range wave.Calls {
			ours[i] = wave.Calls[i].Name()
		}
		//nolint:forbidigo // this is how workflow code fails a workflow task
		panic(fmt.Sprintf("[Slipstream] non-determinism: history holds the answers to %s, but workflow code now makes %s; "+
			"workflow code must make the same activity calls in replay, change it behind workflow.GetVersion",
			describe(marker.First, theirs), describe(wave.First, ours)))
	}
}

func describe(first uint64, types []string) string {
	return fmt.Sprintf("%d calls from number %d on (%s)", len(types), first, countTypes(types))
}

// countTypes lists types in the order of their first call, with counts.
func countTypes(types []string) string {
	counts := map[string]int{}
	var order []string
	for _, t := range types {
		if counts[t] == 0 {
			order = append(order, t)
		}
		counts[t]++
	}
	parts := make([]string, len(order))
	for i, t := range order {
		parts[i] = fmt.Sprintf("%d x %s", counts[t], t)
	}
	return strings.Join(parts, ", ")
}

func summary(wave *wire.Wave) string {
	types := make([]string, len(wave.Calls))
	for i := range wave.Calls {
		types[i] = wave.Calls[i].Name()
	}
	return clip(countTypes(types))
}

// localActivity returns the context for the router's local activities. One attempt: a
// retry of the SDK would hide a lost answer, and what follows a lost answer is the
// router's business.
func localActivity(ctx sdkworkflow.Context, summary string) sdkworkflow.Context {
	return sdkworkflow.WithLocalActivityOptions(ctx, sdkworkflow.LocalActivityOptions{
		StartToCloseTimeout:    dispatchTimeout,
		ScheduleToCloseTimeout: dispatchTotal,
		RetryPolicy:            &temporal.RetryPolicy{MaximumAttempts: 1},
		Summary:                summary,
	})
}
