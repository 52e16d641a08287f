package workflow_test

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	sdkworkflow "go.temporal.io/sdk/workflow"

	"github.com/slipstream-go/slipstream/internal/wire"
	"github.com/slipstream-go/slipstream/workflow"
)

// twoCalls makes call 1 and, a minute later, call 2.
func twoCalls(ctx sdkworkflow.Context) (string, error) {
	ctx = options(ctx)
	first := sdkworkflow.ExecuteActivity(ctx, "Echo", "one")
	if err := sdkworkflow.Sleep(ctx, time.Minute); err != nil {
		return "", err
	}
	second := sdkworkflow.ExecuteActivity(ctx, "Echo", "two")
	var a, b string
	err := errors.Join(first.Get(ctx, &a), second.Get(ctx, &b))
	return a + "," + b, err
}

func TestCallsAreSettledOnce(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.after(time.Second, func() {
		b.signal(b.queue.done(1, "first"), b.queue.done(1, "again in one signal"))
		b.signal(b.queue.done(1, "again in another"))
	})
	b.after(2*time.Second, func() { b.signal(b.queue.done(1, "much later")) })
	b.after(61*time.Second, func() {
		// A repeated dispatch and the reconcile hand outcomes over too.
		b.signal(b.queue.done(1, "after all"), b.queue.done(2, "second"))
	})
	got, err := b.run(twoCalls)
	require.NoError(t, err)
	require.Equal(t, "first,second", got)
	require.Equal(t, map[string]int{"settled": 4}, b.raw.dropped)
}

func TestTakenOutcomesSettleLikeSignals(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.after(59*time.Second, func() {
		b.queue.mu.Lock()
		defer b.queue.mu.Unlock()
		b.queue.taken = []wire.Outcome{b.queue.doneLocked(1, "taken"), b.queue.doneLocked(1, "twice")}
		b.queue.answer = echo
	})
	got, err := b.run(twoCalls)
	require.NoError(t, err)
	require.Equal(t, "taken,two", got)
}

// A number is not an identity: outcomes of another attempt's call with the same number
// must not settle this one.
func TestForeignOutcomesAreDropped(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.after(time.Second, func() {
		foreign := b.queue.done(1, "another fingerprint")
		foreign.Fingerprint++
		otherRun := b.queue.done(1, "another run")
		otherRun.RunID = "elsewhere"
		zero := b.queue.done(1, "number zero")
		zero.Number = 0
		b.signal(foreign, otherRun, zero)
	})
	b.after(61*time.Second, func() { b.signal(b.queue.done(1, "right"), b.queue.done(2, "too")) })
	got, err := b.run(twoCalls)
	require.NoError(t, err)
	require.Equal(t, "right,too", got)
	require.Equal(t, map[string]int{"mismatch": 2, "settled": 1}, b.raw.dropped)
}

func TestJunkSignalsHurtNobody(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.after(time.Second, func() {
		b.SignalWorkflow(wire.SignalName, map[string]int{"not": 1})
		b.SignalWorkflow(wire.SignalName, nil)
		b.signalRaw(nil)
		b.signalRaw(&commonpb.Payloads{Payloads: []*commonpb.Payload{nil, {}}})
		torn := wire.EncodeSignal([]wire.Outcome{b.queue.done(1, "torn")})
		torn.Payloads[0].Data = torn.GetPayloads()[0].GetData()[:10]
		b.signalRaw(torn)
		short := wire.EncodeSignal([]wire.Outcome{b.queue.done(1, "short")})
		short.Payloads = short.GetPayloads()[:1]
		b.signalRaw(short)
		far := b.queue.done(1, "far")
		far.Number = math.MaxUint64
		b.signal(far)
	})
	b.after(61*time.Second, func() { b.signal(b.queue.done(1, "right"), b.queue.done(2, "too")) })
	got, err := b.run(twoCalls)
	require.NoError(t, err)
	require.Equal(t, "right,too", got)
	require.Equal(t, map[string]int{"junk": 6}, b.raw.dropped)
	require.Equal(t, 1, strings.Count(b.log.String(), "completion signal ignored"), "anybody may send them")
}

func TestOtherSignalsPass(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.after(time.Second, func() { b.SignalWorkflow("mine", "x") })
	got, err := b.run(func(ctx sdkworkflow.Context) (string, error) {
		var s string
		sdkworkflow.GetSignalChannel(ctx, "mine").Receive(ctx, &s)
		return s, nil
	})
	require.NoError(t, err)
	require.Equal(t, "x", got)
}

// An outcome can come before its call: dispatch put the task into the queue, its
// workflow task was lost, and the next attempt has not come that far yet.
func TestEarlyOutcomes(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	early := func(number uint64, text string) wire.Outcome {
		c := b.queue.waves[0].Calls[0] // like call 1, but with another argument
		c.Number = number
		input, err := encodeJSON(text)
		require.NoError(t, err)
		c.Input = input
		o := b.queue.done(1, "early")
		o.Identity = wire.Identity{RunID: o.RunID, Number: number, Fingerprint: wire.Fingerprint(o.RunID, withID(&c))}
		return o
	}
	b.after(time.Second, func() {
		wrong := early(2, "two")
		wrong.Fingerprint++
		b.signal(early(2, "two"), wrong, early(3, "never made"))
	})
	b.queue.decide = func(w *wire.Wave, c *wire.Call) wire.Answer {
		for _, id := range w.Early {
			if id.Number == c.Number && id.Fingerprint == wire.Fingerprint(b.queue.runID, c) {
				return wire.Answer{State: wire.StateEarly}
			}
		}
		return wire.Answer{State: wire.StateQueued}
	}
	b.after(90*time.Second, func() { b.signal(b.queue.done(1, "normal")) })
	got, err := b.run(twoCalls)
	require.NoError(t, err)
	require.Equal(t, "normal,early", got)
	require.Len(t, b.queue.waves[1].Early, 2, "dispatch hears of all outcomes with that number")
	require.Empty(t, b.queue.waves[0].Early)
	require.Equal(t, map[string]int{"settled": 1}, b.raw.dropped, "the stranger goes with the call")
}

// What was kept for a call goes with it, however it ends.
func TestEarlyOutcomeOfACallThatIsCancelled(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.after(time.Second, func() {
		o := b.queue.done(1, "early")
		o.Number = 2
		b.signal(o, o, b.queue.done(1, "normal"))
	})
	_, err := b.run(func(ctx sdkworkflow.Context) (string, error) {
		if _, err := echoOnce(ctx); err != nil {
			return "", err
		}
		cctx, cancel := cancellable(ctx, false)
		two := sdkworkflow.ExecuteActivity(cctx, "Echo", "two")
		cancel()
		return kind(ctx, two), nil
	})
	require.NoError(t, err)
	require.Equal(t, map[string]int{"early": 1, "settled": 1}, b.raw.dropped, "a copy, and what was kept")
}

// A run that is plain keeps nothing.
func TestOutcomesForAPlainRun(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(c *workflow.Config) { c.Enabled = nil })
	o := wire.Outcome{Identity: wire.Identity{RunID: "r", Number: 1, Fingerprint: 1}, Kind: wire.KindCompleted}
	b.after(time.Second, func() { b.signal(o) })
	_, err := b.run(func(ctx sdkworkflow.Context) (string, error) {
		if _, err := echoOnce(ctx); err != nil {
			return "", err
		}
		return "", sdkworkflow.Sleep(ctx, time.Minute)
	})
	require.NoError(t, err)
	require.Equal(t, map[string]int{"plain_run": 1}, b.raw.dropped)
}

// An outcome may also overtake the marker of its own dispatch.
func TestOutcomeThatOvertakesItsMarker(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	release := make(chan struct{})
	b.queue.decide = func(_ *wire.Wave, c *wire.Call) wire.Answer {
		<-release
		return wire.Answer{State: wire.StateQueued}
	}
	got, err := b.run(func(ctx sdkworkflow.Context) (string, error) {
		sdkworkflow.Go(ctx, func(sdkworkflow.Context) {
			go func() {
				id := b.queue.waitIdentity(1)
				o, err := encodeJSON("overtook")
				if err != nil {
					panic(err)
				}
				b.signal(wire.Outcome{Identity: id, Kind: wire.KindCompleted, Attempt: 1, Payloads: o.GetPayloads()})
				close(release)
			}()
		})
		var s string
		err := sdkworkflow.ExecuteActivity(options(ctx), "Echo", "one").Get(ctx, &s)
		return s, err
	})
	require.NoError(t, err)
	require.Equal(t, "overtook", got)
}

func TestEarlyOutcomesAreBounded(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		count, size int
	}{
		"by count": {count: 10_001, size: 1},
		"by bytes": {count: 5, size: 1<<20 - 100},
	} {
		b := newBench(t)
		b.queue.decide = func(_ *wire.Wave, c *wire.Call) wire.Answer {
			if c.Number == 3 {
				return echo(c)
			}
			return wire.Answer{State: wire.StateQueued}
		}
		b.after(time.Second, func() {
			data := strings.Repeat("x", tt.size)
			var flood []wire.Outcome
			for i := range tt.count {
				// 2 is the oldest and has to go.
				flood = append(flood, wire.Outcome{
					Identity: wire.Identity{RunID: "r", Number: uint64(i + 2), Fingerprint: 1}, Kind: wire.KindCompleted,
					Payloads: []*commonpb.Payload{{Data: []byte(data)}},
				})
			}
			b.signal(flood...)
		})
		b.after(90*time.Second, func() { b.signal(b.queue.done(1, "one"), b.queue.done(2, "two")) })
		_, err := b.run(func(ctx sdkworkflow.Context) (string, error) {
			s, err := twoCalls(ctx)
			if err != nil {
				return s, err
			}
			return s, sdkworkflow.ExecuteActivity(options(ctx), "Echo", "three").Get(ctx, nil)
		})
		require.NoError(t, err, name)
		require.Empty(t, b.queue.waves[1].Early, name)
		require.NotEmpty(t, b.queue.waves[2].Early, name)
	}
}

// "early" in a marker without an early outcome is no reason to fail or to hang.
func TestEarlyAnswerWithoutOutcome(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.queue.answer = func(*wire.Call) wire.Answer { return wire.Answer{State: wire.StateEarly} }
	b.after(time.Second, func() {
		b.queue.mu.Lock()
		defer b.queue.mu.Unlock()
		b.queue.taken = []wire.Outcome{b.queue.doneLocked(1, "by ask")}
	})
	got, err := b.run(echoOnce)
	require.NoError(t, err)
	require.Equal(t, "by ask", got)
}
