package activity

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/slipstream-go/slipstream/batchqueue"
)

// A run that is not pinned moves on to the build that is current, but the tasks that it
// left in the pools of a former build stay there. Once that build's workers are gone,
// somebody else must run them (protocol D3). Temporal says who: it gives the workflow
// tasks of such runs to the current build only. So a worker that is given one, and finds
// or puts tasks of it into a pool for unpinned runs, says so in the queue: its build is
// the heir of the task queue's family of pools. The executors of that build read it, and
// serve what has not been attended for two leases.
//
// Without versioning it is the same with a pool that nobody serves any more: no mark names
// it, or no worker registers what is marked for it.

const (
	// inheritEvery is how often a worker repeats its word on a pool, at most. The word
	// holds for 15 minutes, and a run with open calls asks every five.
	inheritEvery = 10 * time.Second
	// heirFor is for how long a build remains an heir after another one spoke: while two
	// builds share the runs (a ramp), the last word changes all the time.
	heirFor = time.Minute
	// unhandledEvery is how often tasks that this build cannot run are mentioned.
	unhandledEvery = 10 * time.Minute
)

// words are when this worker last gave its word on a pool.
type words struct {
	mu    sync.Mutex
	given map[string]time.Time
}

// due tells whether to give it now, and notes that.
func (s *words) due(pool string, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for p, at := range s.given {
		if now.Sub(at) >= inheritEvery {
			delete(s.given, p)
		}
	}
	if _, given := s.given[pool]; given {
		return false
	}
	if s.given == nil {
		s.given = map[string]time.Time{}
	}
	s.given[pool] = now
	return true
}

func (s *words) takeBack(pool string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.given, pool)
}

// family names the pools of a task queue that inherit from each other.
func (w *Worker) family() string { return PoolName(w.taskQueue, "", "") }

// inherit gives this build's word on a pool where a run has tasks whose workflow task
// this worker was given. Who does not use versioning has nothing to say about the pools
// that it serves itself. Best effort: the run asks again.
func (w *Worker) inherit(ctx context.Context, pool string) {
	if !isUnpinned(pool, w.taskQueue) || (w.build == "" && w.serves(pool)) || !w.words.due(pool, time.Now()) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, redisTimeout)
	defer cancel()
	if err := w.rt.queue.Inherit(ctx, w.family(), w.build, pool); err != nil {
		w.words.takeBack(pool)
		w.logger.Debug("[Slipstream] could not say that this build serves unpinned runs", "Pool", pool, "Error", err)
	}
}

// serves tells whether the worker has an executor of the pool's own.
func (w *Worker) serves(pool string) bool {
	select {
	case <-w.announced: // executors are complete
		return w.executors[pool] != nil
	default:
		return false
	}
}

// heirs are the executors of a worker that serve pools of former builds. They belong to
// the keeper until it has ended, then to Stop.
type heirs struct {
	serving map[string]*batchqueue.Executor // by pool
	leaving []*batchqueue.Executor          // claim no more; their handlers may take long
	heirAt  time.Time                       // when this build was last seen to be the heir
	// absent is since when pools were seen without executors of their own, look by look.
	absent    map[string]time.Time
	mentioned map[string]time.Time // pools with tasks that this build cannot run
}

func newHeirs() *heirs {
	return &heirs{serving: map[string]*batchqueue.Executor{}, absent: map[string]time.Time{}, mentioned: map[string]time.Time{}}
}

// all returns the executors that are not stopped yet.
func (s *heirs) all() []*batchqueue.Executor {
	return slices.AppendSeq(slices.Clone(s.leaving), maps.Values(s.serving))
}

// keepHeirs looks once per lease what there is to serve, until ctx ends.
func (w *Worker) keepHeirs(ctx context.Context, h *host) {
	start := func(pool string) (*batchqueue.Executor, error) {
		return w.runExecutor(ctx, h, batchqueue.ExecutorOptions{Pool: pool, Heir: true})
	}
	for sleep(ctx, w.rt.queue.Lease()) {
		if err := w.serveOrphans(ctx, time.Now(), start); err != nil && ctx.Err() == nil {
			w.logger.Debug("[Slipstream] could not learn what former builds have left", "Error", err)
		}
	}
}

// serveOrphans makes one look. If Redis does not answer nothing is known: executors go
// on, and absences must be seen anew.
func (w *Worker) serveOrphans(ctx context.Context, now time.Time, start func(pool string) (*batchqueue.Executor, error)) error {
	s := w.heirs
	orphans, err := w.orphans(ctx, now)
	if err != nil {
		clear(s.absent)
		return err
	}
	for pool, e := range s.serving {
		if !slices.Contains(orphans, pool) {
			e.Leave(ctx)
			w.logger.Info("[Slipstream] this build no longer serves a former build's pool", "Pool", pool)
			delete(s.serving, pool)
			s.leaving = append(s.leaving, e)
		}
	}
	s.leaving = slices.DeleteFunc(s.leaving, func(e *batchqueue.Executor) bool {
		stats := e.Stats()
		over := stats.Running == 0 && stats.Held == 0 && e.Stop(ctx) == nil
		if over {
			w.reporting.remove(e)
		}
		return over
	})
	for _, pool := range orphans {
		if s.serving[pool] == nil {
			e, err := start(pool)
			if err != nil {
				return err
			}
			s.serving[pool] = e
			w.logger.Info("[Slipstream] this build serves a pool that a former build's workers have left", "Pool", pool)
		}
		w.mentionUnhandled(ctx, pool, now)
	}
	return nil
}

// orphans are the pools that this worker is to serve beside its own: this build is the
// heir, and for two leases they had no executors of their own.
func (w *Worker) orphans(ctx context.Context, now time.Time) ([]string, error) {
	inheritance, err := w.rt.queue.Inheritance(ctx, w.family())
	if err != nil {
		return nil, err
	}
	s := w.heirs
	if inheritance.Heir == w.build {
		s.heirAt = now
	}
	var orphans []string
	absent := map[string]time.Time{}
	if now.Sub(s.heirAt) < heirFor {
		own := w.pools()
		for _, pool := range inheritance.Pools {
			if slices.Contains(own, pool) {
				continue
			}
			attended, err := w.rt.queue.Attended(ctx, pool)
			if err != nil {
				return nil, err
			}
			if attended {
				continue
			}
			absent[pool] = now
			if since, seen := s.absent[pool]; seen {
				absent[pool] = since
			}
			if s.serving[pool] != nil || now.Sub(absent[pool]) >= 2*w.rt.queue.Lease() {
				orphans = append(orphans, pool)
			}
		}
	}
	s.absent = absent
	return orphans, nil
}

// mentionUnhandled names the activities that tasks of the pool wait for and this build
// does not register: they wait for a worker that does.
func (w *Worker) mentionUnhandled(ctx context.Context, pool string, now time.Time) {
	s := w.heirs
	for p, at := range s.mentioned {
		if now.Sub(at) >= unhandledEvery {
			delete(s.mentioned, p)
		}
	}
	if _, mentioned := s.mentioned[pool]; mentioned {
		return
	}
	stats, err := w.rt.queue.Stats(ctx, pool)
	if err != nil {
		return
	}
	var types []string
	for _, t := range stats.Types {
		if t.Waiting > 0 && w.registry.find(t.Type) == nil {
			types = append(types, t.Type)
		}
	}
	if len(types) > 0 {
		s.mentioned[pool] = now
		w.logger.Warn("[Slipstream] tasks that a former build's workers have left are of types that this build does not register; "+
			"they wait until a worker does", "Pool", pool, "ActivityTypes", types)
	}
}
