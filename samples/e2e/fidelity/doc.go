// Package fidelity tests one promise: a routed step cannot be told from a plain activity.
//
// Every scenario is played twice on one server, without the plugin and with it, and what could be observed is
// compared line by line: what the workflow saw (values, errors with their whole chain), what the handlers saw, and
// how the run ended. `go test -v` prints both. The routed play must have scheduled no activity, the plain one must
// have scheduled some, so that no scenario compares a thing with itself.
//
// TestFidelity plays all scenarios. TestFidelityWithoutStickyCache plays some with a replay in every workflow task,
// TestFidelityWithoutRedis some with the plugin but without a Redis, where calls end up as plain activities after all.
//
// Nothing is skipped: every scenario is in a group, is played by TestFidelity, and is listed with both outcomes.
//
// # Adding a scenario
//
// A scenario is a name and a function that plays it. The function is called once per mode, so that its variables
// belong to one play:
//
//	{
//		name: "application error with details",
//		play: func(p *play) {
//			p.activity("Act", func(context.Context) (string, error) {
//				return "", temporal.NewApplicationError("no such word", "NoSuchWord", "palabra")
//			})
//			p.workflow(func(ctx workflow.Context, see *notes) error {
//				noteResult[string](ctx, see, "call", workflow.ExecuteActivity(attempts(ctx, 2), "Act"))
//				return nil
//			})
//		},
//	},
//
// Every activity that p.activity registers is marked. p.client, p.worker and p.plugin take options. p.start starts
// worker and workflow, for scenarios that go on from outside (p.signal, p.cancel, p.await and so on); without it both
// start when the function returns. How the run ended is noted by p.finish, at the latest by the harness.
//
// Workflow code notes into the notes that it is given: a replay begins them anew. Handlers and drivers note into
// p.seen, under keys of their own: notes of one key are compared in order, so concurrent handlers need a key each.
// What differs from run to run (run IDs, task queues, identities, event IDs, numbered activity IDs) is replaced in
// every note.
//
// # Differences
//
// Where a routed step may differ, the scenario says so in differs: the key of the note and the reason. The test fails
// when other notes differ, and also when a declared difference is gone. The README of the repository lists the
// reasons. A scenario whose calls stay plain by rule has staysPlain, or partlyRouted if some do, and the test holds it to
// that.
//
// A server under load makes plain activities do more than one thing: an attempt is lost, a heartbeat is not answered in
// time. So a difference counts only if it holds against several plain plays; the routed play has one.
package fidelity
