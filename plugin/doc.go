// Package plugin makes marked activities cheap: their calls no longer become Temporal
// activities, but tasks on a queue in Redis, and their results come back within the same
// workflow task or in batched signals. Workflow and activity code stays as it is.
//
//	p, err := plugin.New(plugin.Options{
//		RedisURL: "redis://localhost:6379",
//		Marks:    []plugin.Mark{{Activity: Translate}},
//	})
//	...
//	c, err := client.Dial(client.Options{Plugins: []client.Plugin{p}})
//	...
//	w := worker.New(c, "translations", worker.Options{})
//	w.RegisterWorkflow(Pipeline)
//	w.RegisterActivity(Translate)
//	err = w.Run(worker.InterruptCh())
//
// Plugin.Queue runs marked activities without a workflow.
//
// # Composing with other plugins and interceptors
//
// The plugin puts its interceptor before all others of the client. Interceptors see
// marked calls as they see plain ones, in workflows and around handlers. It overwrites no
// converter and no propagator; it uses those that the client ends up with. Clients with
// external payload storage are served, but their calls are not routed.
//
// A worker.Options.WorkerStopTimeout of 0 is raised to 5 s. A worker with a Tuner needs
// Options.Concurrency.
//
// # Limits of a worker
//
// Concurrency and WorkerActivitiesPerSecond are one budget of the worker for its marked
// activities: of all pools, and those that run as ordinary activities too (calls that the
// queue could not take, workflows that are not routed, sessions). The latter come before
// new tasks of the queue, up to half of the budget while both want it; their StartToClose
// time runs while they wait. Unmarked activities have the SDK's limits, for themselves.
// TaskQueueActivitiesPerSecond limits the starts of each pool over all workers, unless the
// pool's stored configuration has a rate; ordinary activities are limited to it by the
// server, as ever.
//
// # Replayers and tests
//
// A replayer that has the plugin replays histories with and without routed calls; it
// starts nothing and talks to nobody. Test environments have no client, so that all calls
// are plain there, and mocks work as ever.
package plugin
