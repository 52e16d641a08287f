package activity

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"go.temporal.io/sdk/log"

	"github.com/slipstream-go/slipstream/batchqueue"
	"github.com/slipstream-go/slipstream/internal/outage"
)

const (
	// announceEvery renews announcements, which hold for a day.
	announceEvery = 8 * time.Hour
	// announcedEvery is how often a worker looks whether its announcements are still there.
	// If Redis has lost its data they are not, and calls would be plain until they are.
	announcedEvery = 10 * time.Second
	// While Redis is away or unsuitable, the keeper tries again at these intervals.
	keeperMinWait = time.Second
	keeperMaxWait = 30 * time.Second
)

// executors are a worker's, by pool: one for each that it serves. The keeper starts them;
// Stop waits for the keeper and stops them.
type executors map[string]*batchqueue.Executor

// pools are the pools that the worker serves. It claims every type it has a handler for
// in each of them, marked there or not: runs that were routed by an older release keep
// to the pools of that release's marks. Where versioning is on there are two of each: it
// may run no workflows itself, so it does not know which of them are pinned.
func (w *Worker) pools() []string {
	pools := []string{}
	add := func(pool string) {
		if !slices.Contains(pools, pool) {
			pools = append(pools, pool)
		}
	}
	names := []string{""}
	for name, pool := range w.rt.o.Marks {
		if w.registry.find(name) != nil {
			names = append(names, pool)
		}
	}
	for _, name := range names {
		add(PoolName(w.taskQueue, name, w.build))
		if w.deployed {
			add(UnpinnedPoolName(w.taskQueue, name, w.build))
		}
	}
	slices.Sort(pools)
	return pools
}

// keep announces the worker's types and starts its executors, as soon as Redis lets it,
// then renews the announcements until ctx ends. Redis being away is a warning: calls run
// as ordinary activities until it is there.
func (w *Worker) keep(ctx context.Context, h *host, ready chan<- struct{}) {
	wait := keeperMinWait
	var said string
	for {
		err := w.open(ctx, h)
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			return
		}
		if said != err.Error() {
			said = err.Error()
			if errors.Is(err, batchqueue.ErrServer) {
				w.logger.Error("[Slipstream] this Redis cannot carry the queue; marked calls run as ordinary activities until that is mended", "Error", err)
			} else {
				w.logger.Warn("[Slipstream] Redis is not reachable; marked calls run as ordinary activities until it is", "Error", err)
			}
		}
		if !sleep(ctx, wait) {
			return
		}
		wait = min(2*wait, keeperMaxWait)
	}
	if said != "" {
		w.logger.Info("[Slipstream] Redis is reachable; the executor runs")
	}
	w.warnOfMarks(ctx)
	close(w.announced)
	close(ready)
	w.keeper.Go(func() { w.keepHeirs(ctx, h) })
	w.renew(ctx, w.unannounced, w.announce)
}

// renew announces again until ctx ends: before the announcement does, and when Redis has
// lost it. Calls would run as ordinary activities without it.
func (w *Worker) renew(ctx context.Context, lost func(context.Context) bool, announce func(context.Context) error) {
	var row outage.Outage
	for said := time.Now(); sleep(ctx, announcedEvery); {
		if time.Since(said) < announceEvery && !lost(ctx) {
			continue
		}
		if err := announce(ctx); err != nil {
			if n, say := row.Failed(time.Now()); say && ctx.Err() == nil {
				w.logger.Warn("[Slipstream] could not renew the announcement of this worker's activities, will be tried again", "Failures", n, "Error", err)
			}
			continue
		}
		if n, lasted, say := row.Worked(time.Now()); say {
			w.logger.Info("[Slipstream] the announcement of this worker's activities is renewed", "Failures", n, "Lasted", lasted)
		}
		said = time.Now()
	}
}

func (w *Worker) open(ctx context.Context, h *host) error {
	report, err := w.rt.queue.Check(ctx)
	if err != nil {
		return err
	}
	for _, warning := range report.Warnings {
		w.logger.Warn("[Slipstream] " + warning)
	}
	// The executors first: what is announced is queued, and then somebody must be there.
	for _, pool := range w.pools() {
		if err := w.startExecutor(ctx, h, pool); err != nil {
			return err
		}
	}
	return w.announce(ctx)
}

func (w *Worker) startExecutor(ctx context.Context, h *host, pool string) error {
	if w.executors[pool] != nil {
		return nil
	}
	e, err := w.runExecutor(ctx, h, batchqueue.ExecutorOptions{Pool: pool, ID: w.instance})
	if err != nil {
		return err
	}
	w.executors[pool] = e
	return nil
}

// runExecutor starts an executor with what all of the worker's have in common. A dynamic activity
// handles every type that was announced in the pool, by whatever release.
func (w *Worker) runExecutor(ctx context.Context, h *host, o batchqueue.ExecutorOptions) (*batchqueue.Executor, error) {
	announced, err := w.rt.queue.Announced(ctx, o.Pool)
	if err != nil {
		return nil, err
	}
	o.Worker = w.identity
	o.Types = w.registry.types(maps.Keys(w.rt.o.Marks), maps.Keys(announced))
	o.Budget = w.budget
	o.PoolRatePerSecond = limitOf(w.options.TaskQueueActivitiesPerSecond)
	o.DrainTimeout = w.rt.o.DrainTimeout
	o.Handler = func(ctx context.Context, d *batchqueue.Delivery) batchqueue.Result { return w.handle(ctx, h, d) }
	o.Cause = cancelCause
	o.TimeoutFailure = w.timeoutFailure
	o.Deliver = func(ctx context.Context, b *batchqueue.Batch) error { return w.deliver(ctx, h, b) }
	o.Observer = w.observer(o.Pool)
	w.rt.metrics.beginPool(o.Pool, o.Types)
	e, err := w.rt.queue.NewExecutor(o)
	if err != nil {
		return nil, err
	}
	if err := e.Start(ctx); err != nil {
		return nil, err
	}
	w.reporting.add(e, o.Pool)
	return e, nil
}

// announce says what the worker handles if some of it is marked. Who serves runs of former
// releases only leaves their announcements to end: then it is not needed any more.
func (w *Worker) announce(ctx context.Context) error {
	if w.need != needMarked {
		return nil
	}
	types := w.registry.types(maps.Keys(w.rt.o.Marks))
	for _, pool := range w.pools() {
		if err := w.rt.queue.Announce(ctx, pool, types); err != nil {
			return err
		}
	}
	return nil
}

// unannounced tells whether Redis answers and misses what the worker has announced.
func (w *Worker) unannounced(ctx context.Context) bool {
	if w.need != needMarked {
		return false
	}
	types := w.registry.types(maps.Keys(w.rt.o.Marks))
	for _, pool := range w.pools() {
		known, err := w.rt.queue.Announced(ctx, pool)
		if err == nil && slices.ContainsFunc(types, func(name string) bool { return !known[name] }) {
			return true
		}
	}
	return false
}

// warnOfMarks names the marks that no worker of the task queue handles, neither here nor
// elsewhere: calls of those types would run as ordinary activities, and nobody would
// know why.
func (w *Worker) warnOfMarks(ctx context.Context) {
	for name, pool := range w.rt.o.Marks {
		if w.rt.registered(name) {
			continue
		}
		known, err := w.rt.queue.Announced(ctx, PoolName(w.taskQueue, pool, w.build))
		if err != nil || known[name] {
			continue
		}
		if alias := w.registry.alias(name); alias != "" {
			w.logger.Warn("[Slipstream] a marked activity is registered under another name; mark it by that name", "Mark", name, "RegisteredAs", alias)
			continue
		}
		w.logger.Warn("[Slipstream] no worker of this task queue registers a marked activity: calls of it on this task queue run as ordinary activities. "+
			"If they should not, check the spelling of the mark, or register the activity", "Mark", name)
	}
}

// lastReturn is how long handlers may take to return once their drain time is over and
// their contexts have ended; those that ignore it are left behind.
const lastReturn = 3 * time.Second

// stopAll stops executors side by side, each within the drain time and a little more.
func stopAll(ctx context.Context, all []*batchqueue.Executor, drain time.Duration, logger log.Logger) {
	ctx, cancel := context.WithTimeout(ctx, drain+lastReturn)
	defer cancel()
	var wait sync.WaitGroup
	for _, e := range all {
		wait.Go(func() {
			if err := e.Stop(ctx); err != nil {
				logger.Warn("[Slipstream] the executor did not stop cleanly; its tasks are taken over by others", "Error", err)
			}
		})
	}
	wait.Wait()
}

// sleep reports false when ctx ends first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
