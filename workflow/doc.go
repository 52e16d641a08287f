// Package workflow is the replay-safe half of Slipstream: an interceptor that sends the
// marked activity calls of a workflow to the queue instead of to Temporal, and settles
// their futures when the outcomes come back. Workflow code does not change.
//
// Most users never import it: the plugin package puts it together with the rest. What a
// workflow author may want from here are [Chain], [OnComplete], [WithOptions], [Completion]
// and the error types ([ErrorTypePoison] and its neighbours).
//
// # The way of a call
//
//	ExecuteActivity ─ routed? ── no ──> the SDK
//	      │ yes: encode, number, future
//	      v
//	   buffered ── cancelled ──> closed
//	      │ the wave's tail: nobody adds calls any more
//	      v
//	  dispatching ── the answer is lost ──> lost
//	      │ marker                           │ an ask
//	      ├── done, refused, early ──> closed│
//	      ├── plain ──> the SDK              │
//	      ├── waiting (no Redis, no fallback left) ──> dispatched again
//	      v                                  v
//	    placed <─────────────────────────────┘
//	      │ signal, marker or ask brings the outcome ──> closed
//	      │ two asks do not find it ──> dispatched again
//	      v
//	    closed
//
// The calls that a workflow makes in one go form a wave; a coroutine at the tail of the
// SDK's dispatcher notices that no more are coming and hands the wave to one local
// activity, [SlipstreamDispatch]. What that did stands in history as the local activity's
// marker, and nowhere else: replay reads the marker and does no I/O.
//
// A chain is one call, too: it is the queue that goes from step to step. Where it cannot be
// one, its steps are calls of their own, made one after the other.
//
// # What replay sees
//
// A routed run has these events of ours, all of them written by ordinary commands:
//
//   - the route record, a marker of the mutable side effect "slipstream", at the first
//     activity call of any type;
//   - one local activity marker per wave, per ask and per batch of cancel requests;
//   - a timer while calls are open, and the signals that carry outcomes.
//
// Marks are read once, for the record. Afterwards the record and the call's own options
// decide, so marks may change between releases and the plugin may be disabled while runs
// are open. The rules by which waves end and timers start are part of the protocol
// version in the record: they decide which events a run writes.
//
// # What may fail a workflow task
//
// A marker that answers other calls than workflow code makes now: that is the
// non-determinism check of plain activities. And a route record that cannot be read, for
// instance because the codec's key is missing. Nothing else does, least of all a signal:
// junk, duplicates and strangers are counted (slipstream_outcomes_dropped) and dropped.
//
// # Who settles what
//
// A call is settled once, by the outcome with its full identity: the run that dispatched
// it, its number in that run, and the fingerprint of what was asked. The number alone is
// no identity, because dispatch runs before its workflow task commits; if that task is
// lost, the next attempt may make another call with the same number.
//
// # What is deliberately not done
//
// No clock, no lock, no goroutine, no network, but for a query, which is not part of the
// workflow and asks the ordinary half how far calls are: the SDK's dispatcher runs one coroutine at
// a time, and everything here is rebuilt by replay. No timer is ever cancelled and no
// call is polled for while its outcome may come by itself: both would cost events.
package workflow
