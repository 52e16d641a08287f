package activity

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/converter"

	"github.com/slipstream-go/slipstream/batchqueue"
	"github.com/slipstream-go/slipstream/internal/wire"
)

// chainOf is a call of A with further steps.
func chainOf(number uint64, arg string, types ...string) wire.Call {
	c := callOf(number, "A", arg)
	for _, name := range types {
		c.Then = append(c.Then, wire.Step{Type: name, Options: wire.CallOptions{
			StartToClose: time.Minute, Heartbeat: time.Second, Retry: &commonpb.RetryPolicy{NonRetryableErrorTypes: []string{"of " + name}},
		}})
	}
	return c
}

func TestDispatchOfAChain(t *testing.T) {
	d := newDesk(t, RuntimeOptions{Window: 10 * time.Second})
	d.announce(t, testQueue, "A", "B", "C")
	d.executor(t, testQueue, []string{"A", "B", "C"}, func(del *batchqueue.Delivery) batchqueue.Result {
		if f := del.Fixed(); f != nil {
			fixed, err := decodeCall(f)
			if err != nil || fixed.NonRetryable[0] != "of "+del.Type || del.Options.Heartbeat != time.Second {
				return batchqueue.Result{Kind: batchqueue.KindFailed, NonRetryable: true}
			}
		}
		c, err := decodeCall(del.Payload)
		if err != nil {
			return batchqueue.Result{Kind: batchqueue.KindFailed, NonRetryable: true}
		}
		if del.Last() {
			return batchqueue.Result{Kind: batchqueue.KindCompleted, Payload: c.Input}
		}
		return batchqueue.Result{Kind: batchqueue.KindCompleted, Payload: encodeCall(&call{Input: c.Input})}
	})
	m := d.dispatch(t, waveOf(chainOf(1, "x", "B", "C"), callOf(2, "A", "y"), chainOf(3, "z", "C")))
	require.Equal(t, []wire.State{wire.StateDone, wire.StateDone, wire.StateDone}, states(m))
	require.Equal(t, "A > B > C", m.Answers[0].Type)
	for i, want := range []string{"x", "y", "z"} {
		var s string
		require.NoError(t, converter.GetDefaultDataConverter().FromPayload(m.Answers[i].Outcome.Payloads[0], &s))
		require.Equal(t, want, s)
	}
}

// A chain goes plain as a whole, and counts as its steps.
func TestChainsOfUnhandledTypesGoPlain(t *testing.T) {
	d := newDesk(t, RuntimeOptions{})
	d.announce(t, testQueue, "A", "B")
	wave := waveOf(chainOf(1, "x", "B"), chainOf(2, "x", "B", "nobody's"), chainOf(3, "x", "nobody's"), chainOf(4, "x", "nobody's"))
	wave.Fallback = 5
	require.Equal(t, []wire.State{wire.StateQueued, wire.StatePlain, wire.StatePlain, wire.StateWaiting}, states(d.dispatch(t, wave)))
}

// A chain that may start only once in any of its steps never goes plain on doubt.
func TestChainsThatMayStartOnceStayOpenOnDoubt(t *testing.T) {
	d := newDesk(t, RuntimeOptions{})
	d.announce(t, testQueue, "A", "B")
	require.Equal(t, []wire.State{wire.StateQueued}, states(d.dispatch(t, waveOf(callOf(1, "A")))))
	require.Equal(t, []wire.State{wire.StateQueued}, states(d.dispatch(t, waveOf(callOf(2, "B")))))
	d.redis.SetError("LOADING")
	once := chainOf(3, "x", "B")
	once.Then[0].Options.Retry.MaximumAttempts = 1
	wave := waveOf(once, chainOf(4, "x", "B"))
	wave.Fallback = 10
	require.Equal(t, []wire.State{wire.StateUnsure, wire.StatePlain}, states(d.dispatch(t, wave)))
}

func TestNoWindowForAChainWhoseStepsTakeTooLong(t *testing.T) {
	d := newDesk(t, RuntimeOptions{Window: time.Hour}) // would hang if it were waited for
	d.announce(t, testQueue, "A", "B")
	d.rt.latency.observe("A", 40*time.Minute)
	d.rt.latency.observe("B", 40*time.Minute)
	require.Equal(t, []wire.State{wire.StateQueued}, states(d.dispatch(t, waveOf(chainOf(1, "x", "B")))))
}

func shout(_ context.Context, s string) (string, error) { return strings.ToUpper(s), nil }

// What a step hands on is what the next decodes, and at the end all results are there.
func TestStepsHandOn(t *testing.T) {
	var b bench
	w, h := b.worker(t, shout)
	name := functionName(shout)
	d := b.delivery(t, name, "x")
	first, err := decodeCall(d.Payload)
	require.NoError(t, err)
	first.Gather, first.Header, first.ActivityID = true, nil, "chosen"
	d.Payload = encodeCall(first)
	d.Then = []batchqueue.Step{{Type: name, Payload: encodeCall(&call{NonRetryable: []string{"Fatal"}})}, {Type: name, Payload: encodeCall(&call{})}}
	for step := range 3 {
		d.Step = step
		result := w.handle(t.Context(), h, d)
		require.Equal(t, batchqueue.KindCompleted, result.Kind)
		if step == 2 {
			all, err := wire.DecodePayloads(result.Payload)
			require.NoError(t, err)
			require.Len(t, all.GetPayloads(), 3)
			for _, p := range all.GetPayloads() {
				var s string
				require.NoError(t, b.dc().FromPayload(p, &s))
				require.Equal(t, "X", s)
			}
			break
		}
		next, err := decodeCall(result.Payload)
		require.NoError(t, err)
		require.True(t, next.Gather)
		require.Empty(t, next.ActivityID, "a step has its own")
		d.Payload = result.Payload
	}
}

func nothing(context.Context, string) error { return nil }

func TestAStepWithoutResultHoldsItsPlace(t *testing.T) {
	require.Len(t, oneResult(nil).GetPayloads(), 1)
	var b bench
	w, h := b.worker(t, nothing)
	d := b.delivery(t, functionName(nothing), "x")
	c, err := decodeCall(d.Payload)
	require.NoError(t, err)
	c.Gather = true
	d.Payload = encodeCall(c)
	all, err := wire.DecodePayloads(w.handle(t.Context(), h, d).Payload)
	require.NoError(t, err)
	require.Len(t, all.GetPayloads(), 1)
}

// Results that are gathered must be within the limit together.
func TestGatheredResultsThatAreTooLarge(t *testing.T) {
	var b bench
	w, h := b.worker(t, large)
	name := functionName(large)
	d := b.delivery(t, name, 1<<15)
	c, err := decodeCall(d.Payload)
	require.NoError(t, err)
	c.Gather = true
	for range 4 {
		d.Then = append(d.Then, batchqueue.Step{Type: name, Payload: encodeCall(&call{})})
	}
	input := c.Input
	for step := range 5 {
		d.Step, c.Input = step, input
		d.Payload = encodeCall(c)
		result := w.handle(t.Context(), h, d)
		if result.Kind == batchqueue.KindFailed {
			require.Positive(t, step, "one is not too large")
			return
		}
		c, err = decodeCall(result.Payload)
		require.NoError(t, err, fmt.Sprint(step))
	}
	t.Fatal("results of any size were gathered")
}
