// Package activity is the ordinary half of Slipstream: it runs where clocks, networks and
// goroutines are allowed. Most programs import it for its options only; package plugin
// wires it up.
//
// # What it does
//
// A Runtime serves one Temporal client. As the workflow.Dispatcher of that client's
// workflows it runs inside their local activities:
//
//   - Dispatch puts a wave of marked calls into the queue, waits a short window for their
//     results, and decides for each call that cannot be queued what becomes of it;
//   - Reconcile asks the queue about calls whose outcome has not come, and pulls it;
//   - Cancel asks the queue to cancel calls.
//
// For each worker of the client it has a Worker. One that polls for activities and
// registers a marked type (or one that a release before announced within a day) takes the
// tasks of its pools (one batchqueue.Executor per pool), runs their handlers as the SDK
// runs activities, and signals outcomes back. Others dispatch only.
//
// Marked activities that arrive as ordinary activity tasks are diverted into the queue
// where a worker has room for them, and answered by their tokens; see divert.go.
//
// A Queue runs marked activities without a workflow, and tells a workflow of their
// outcomes if it is asked to. It is what users may want from here; plugin.Plugin.Queue
// returns it.
//
// # How a handler runs
//
// The SDK makes activity contexts for tasks that it polled, and for nothing else. So a
// gRPC interceptor answers one poll of each worker that has executors with a synthetic
// task; its context, the host context, becomes the parent of all handlers' contexts. Around each handler
// stand the user's activity interceptors, made anew for each call, and beneath them an
// outbound interceptor of ours that answers activity.GetInfo and its siblings. See
// host.go and invoke.go.
//
// A task of a Queue is encoded by a client of the SDK that is connected to nothing: what
// it would have sent is what the queue carries. See draft.go.
//
// # When Redis or Temporal is away
//
// Dispatch answers per call: plain (an ordinary activity) as long as the run may send
// more of them, waiting beyond that, unsure where a task with MaximumAttempts 1 may have
// been added. A breaker keeps further waves from waiting for the same Redis. Workers
// start without Redis and try again. Outcomes wait in the queue until Temporal takes
// them; a run that takes no signals any more pulls them by asking.
package activity
