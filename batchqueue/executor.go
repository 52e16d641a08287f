package batchqueue

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/slipstream-go/slipstream/internal/outage"
)

// ExecutorOptions configure an Executor. Pool, Types, Handler and Deliver are required.
type ExecutorOptions struct {
	// Pool is the pool to take tasks from.
	Pool string
	// ID names the executor in Redis. Default: random. It must never be used twice, not
	// by a restarted process either: what the former one held would look like ours.
	ID string
	// Worker is the identity of the worker, for outcomes and operators. Default: ID.
	Worker string
	// Types are the types the Handler takes; others are left in the queue.
	Types []string
	// Budget is shared with other executors and with what else counts against the same
	// limits. Default: a budget of the executor's own.
	Budget *Budget
	// Concurrency is how many handlers run at a time. Default: all permits of Budget,
	// 1,000 without one. A concurrency in the pool's configuration wins; neither can
	// exceed Budget.
	Concurrency int
	// Handler runs the tasks.
	Handler Handler
	// Cause gives the cause with which a handler's context ends, for ErrCanceled,
	// ErrLeaseLost and ErrStopping. Default: these.
	Cause func(why error) error
	// TimeoutFailure says what the next attempt, and a later outcome, know of an attempt
	// that ended in KindStartToClose or KindHeartbeat: a LastFailure in the form that
	// Handler gives failures. It is called from several goroutines. Default: they know the
	// failure before it.
	TimeoutFailure func(d *Delivery, kind Kind) []byte
	// Deliver sends outcomes, for the slots that this executor leads.
	Deliver DeliverFunc
	// DrainTimeout is how long Stop lets handlers run on. Default 10 s.
	DrainTimeout time.Duration
	// ClaimBytes bounds the payload bytes that one claim brings; a larger task comes
	// alone. Default 8 MiB. Where memory runs low, claims bring less: see
	// Options.PauseAboveMemory.
	ClaimBytes int
	// RatePerSecond limits the starts of this executor. 0 means no limit. With a Budget,
	// give the rate to it instead.
	RatePerSecond float64
	// PoolRatePerSecond limits the starts of the whole pool, by a count in Redis, as long
	// as the pool's configuration has no rate. Executors of a pool should agree on it:
	// each one asks with its own. 0 means no limit.
	PoolRatePerSecond float64
	// Heir is true for an executor that serves the pool for others (see Inheritance): it
	// does not make the pool an attended one.
	Heir bool
	// Observer is told what happens.
	Observer Observer
}

const (
	defaultConcurrency  = 1000
	defaultDrainTimeout = 10 * time.Second
	defaultClaimBytes   = 8 << 20
)

func (o ExecutorOptions) withDefaults() ExecutorOptions {
	if o.ID == "" {
		o.ID = rand.Text()
	}
	if o.Worker == "" {
		o.Worker = o.ID
	}
	if o.Concurrency == 0 {
		o.Concurrency = defaultConcurrency
		if o.Budget != nil {
			o.Concurrency = o.Budget.limit
		}
	}
	if o.DrainTimeout == 0 {
		o.DrainTimeout = defaultDrainTimeout
	}
	if o.ClaimBytes == 0 {
		o.ClaimBytes = defaultClaimBytes
	}
	if o.Cause == nil {
		o.Cause = func(why error) error { return why }
	}
	if o.TimeoutFailure == nil {
		o.TimeoutFailure = func(d *Delivery, _ Kind) []byte { return d.LastFailure }
	}
	o.Types = slices.Compact(slices.Sorted(slices.Values(o.Types)))
	o.Observer = o.Observer.withDefaults()
	return o
}

func (o ExecutorOptions) validate() error {
	switch {
	case o.Pool == "":
		return fmt.Errorf("ExecutorOptions.Pool is empty: name the pool to take tasks from: %w", ErrInvalid)
	case o.ID != escapePart(o.ID):
		return fmt.Errorf("ExecutorOptions.ID is %q: it stands in keys, leave out braces, slashes, colons, percent signs and spaces: %w", o.ID, ErrInvalid)
	case len(o.Types) == 0:
		return fmt.Errorf("ExecutorOptions.Types is empty: name the types that Handler takes: %w", ErrInvalid)
	case slices.Contains(o.Types, ""):
		return fmt.Errorf("ExecutorOptions.Types has an empty name: leave it out: %w", ErrInvalid)
	case o.Concurrency < 0:
		return fmt.Errorf("ExecutorOptions.Concurrency is %d: give 1 or more, or 0 for %d: %w", o.Concurrency, defaultConcurrency, ErrInvalid)
	case o.Handler == nil:
		return fmt.Errorf("ExecutorOptions.Handler is nil: give the function that runs tasks: %w", ErrInvalid)
	case o.Deliver == nil:
		return fmt.Errorf("ExecutorOptions.Deliver is nil: give the function that sends outcomes: %w", ErrInvalid)
	case o.DrainTimeout < 0:
		return fmt.Errorf("ExecutorOptions.DrainTimeout is %v: give a positive duration, or 0 for %v: %w", o.DrainTimeout, defaultDrainTimeout, ErrInvalid)
	case o.ClaimBytes < 0:
		return fmt.Errorf("ExecutorOptions.ClaimBytes is %d: give a positive number of bytes, or 0 for %d: %w", o.ClaimBytes, defaultClaimBytes, ErrInvalid)
	case !(o.RatePerSecond >= 0):
		return fmt.Errorf("ExecutorOptions.RatePerSecond is %v: give a positive rate, or 0 for no limit: %w", o.RatePerSecond, ErrInvalid)
	case o.RatePerSecond > 0 && o.Budget != nil:
		return fmt.Errorf("ExecutorOptions.RatePerSecond is %v beside a Budget: give BudgetOptions.RatePerSecond instead: %w", o.RatePerSecond, ErrInvalid)
	case !(o.PoolRatePerSecond >= 0):
		return fmt.Errorf("ExecutorOptions.PoolRatePerSecond is %v: give a positive rate, or 0 for no limit: %w", o.PoolRatePerSecond, ErrInvalid)
	}
	return nil
}

// backend is what an executor uses of its Queue.
type backend struct {
	store  slotStore
	keys   keys
	log    Logger
	lease  time.Duration
	config func(ctx context.Context, pool string, fresh bool) (PoolConfig, error)
	listen func(hearing) listener
	ring   func(ctx context.Context, channel, payload string) error
	memory *memoryGuard // nil: memory is never short
}

func (q *Queue) backend() backend {
	return backend{
		store: q, keys: q.keys, log: q.log, lease: q.opts.Lease, memory: q.memory,
		config: func(ctx context.Context, pool string, fresh bool) (PoolConfig, error) {
			if fresh {
				q.configs.forget(pool)
			}
			return q.config(ctx, pool)
		},
		listen: q.newListener,
		ring:   q.ringBell,
	}
}

// Executor takes tasks of one pool, from all of its slots, and runs many handlers side
// by side. Some executors lead slots: they deliver outcomes, move what is due and
// reclaim what others lost.
//
// Its parts, each with its own file: the claimer goes round the slots; the table knows
// what is held; alarms watch time limits; the settler reports to Redis; the lease timer
// keeps claims; audits compare table and Redis; the house keeps homes, bells and terms.
type Executor struct {
	backend
	opts  ExecutorOptions
	pool  string
	id    string
	obs   Observer
	stats counters

	table   *table
	alarms  *alarms
	claimer *claimer
	settler *settler
	pace    *pace
	bells   *bells
	audits  audits
	house   house

	claimOutage outage.Outage
	losses      outage.Outage // claims that were somebody else's; no end of that is told

	conf    atomic.Pointer[PoolConfig] // nil until it was read once
	clockBy atomic.Int64               // Redis's clock minus ours, ns
	seen    atomic.Pointer[[]presence] // who was there at the last word on the own presence; nil if that failed

	// ctx lives from Start until Stop has settled everything: for claims, the lease and
	// the alarms. base is what handlers' contexts derive from; it never ends.
	ctx    context.Context
	cancel context.CancelFunc
	base   context.Context
	wg     sync.WaitGroup // goroutines that live as long as ctx
	crew   *crew

	mu      sync.Mutex
	started bool          // protected by mu
	left    sync.Once     // Leave was called
	stopped chan struct{} // protected by mu; nil until Stop, closed when it is done
}

// NewExecutor returns an Executor that does nothing before Start. Errors match
// ErrInvalid and name the option.
func (q *Queue) NewExecutor(o ExecutorOptions) (*Executor, error) {
	return newExecutor(q.backend(), o)
}

func newExecutor(b backend, o ExecutorOptions) (*Executor, error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, fmt.Errorf("batchqueue: %w", err)
	}
	if o.Budget == nil {
		o.Budget = newBudget(math.MaxInt, o.RatePerSecond) // the pool's configuration may raise Concurrency
	}
	e := &Executor{backend: b, opts: o, pool: o.Pool, id: o.ID, obs: o.Observer, table: newTable(o.Cause(ErrCanceled))}
	e.alarms = newAlarms(e.timeOut)
	e.crew = newCrew(e.handle)
	e.claimer = newClaimer(o.Budget, e.claimFrom, e.overflow)
	e.settler = newSettler(e.pool, e.store, e.log)
	e.settler.settled, e.settler.failed = e.settled, e.fail
	e.pace = &pace{bucket: o.Budget.bucket, reserve: func(ctx context.Context, perSecond float64, n int) (int, time.Duration, error) {
		return e.store.reserveRate(ctx, e.pool, perSecond, n)
	}}
	e.bells = &bells{open: e.listen}
	e.audits = newAudits()
	e.house = newHouse()
	return e, nil
}

// ID is the executor's name in Redis.
func (e *Executor) ID() string { return e.id }

// Start begins to claim in the background and returns at once. It needs no Redis: until
// there is one, it is tried again with back-off, and logged. Handlers get ctx's values;
// its end means nothing to them. It is an error to start twice, or after Stop.
func (e *Executor) Start(ctx context.Context) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.started || e.stopped != nil {
		return fmt.Errorf("batchqueue: executor %s of pool %q was started or stopped before: make a new one", e.id, e.pool)
	}
	e.started = true
	e.base = context.WithoutCancel(ctx)
	e.ctx, e.cancel = context.WithCancel(e.base)
	e.house.ctx, e.house.leave = context.WithCancel(e.base)
	e.wg.Go(func() { e.alarms.run(e.ctx) })
	e.wg.Go(e.keepLease)
	e.house.wg.Go(e.keepHouse)
	e.house.wg.Go(e.keepAudits)
	e.claimer.start()
	return nil
}

// fail reports an operation that failed and will be tried again.
func (e *Executor) fail(err error) {
	if errors.Is(err, context.Canceled) {
		return
	}
	e.stats.errors.Add(1)
	e.obs.Error(err)
}

// redisNow is the time by Redis's clock, as of the last extension of the lease.
func (e *Executor) redisNow() time.Time { return time.Now().Add(time.Duration(e.clockBy.Load())) }

// age is the time since the task was enqueued.
func (e *Executor) age(d *Delivery) time.Duration { return max(0, e.redisNow().Sub(d.ScheduledAt)) }

// ExecutorStats are what an executor holds now and has done since Start.
type ExecutorStats struct {
	// Permits there are, handlers that run, claims that are not settled yet, and
	// settlements that were not sent yet.
	Permits, Running, Held, Unsettled int
	// Homes and Leads are the slots it is home of and leads.
	Homes, Leads []int
	// MemoryShort: nothing is claimed, see Options.PauseAboveMemory.
	MemoryShort bool
	// Since Start: tasks claimed; adopted after a lost reply; ended with an outcome;
	// gone on to their next step; retried; released; found to be somebody else's; out of the queue when settled;
	// reclaimed from others; outcomes and batches delivered; batches whose delivery
	// failed; failed operations on Redis; claims that were not made for want of memory.
	Claimed, Adopted, Settled, Advanced, Retried, Released, Lost, Dropped uint64
	Reclaimed, Outcomes, Batches, Undelivered, Errors, Withheld           uint64
}

// counters count since Start.
type counters struct {
	claimed, adopted, settled, advanced, retried, released, lost, dropped atomic.Uint64
	reclaimed, outcomes, batches, undelivered, errors, withheld           atomic.Uint64
	running                                                               atomic.Int64
}

// Free is how many more tasks of a type the executor could start at once: permits that
// neither handlers nor guests of its budget have. It is 0 for types that it does not
// take, while tasks wait that it or another executor of the budget has seen and not
// claimed, while its pool drains, and while it claims nothing: paused, stopping, out of
// reach of Redis, short of memory, held back by a rate or by a full outbox. What it says
// is a moment's view, and others claim too.
func (e *Executor) Free(taskType string) int {
	if _, takes := slices.BinarySearch(e.opts.Types, taskType); !takes || e.memory.isShort() {
		return 0
	}
	if conf := e.conf.Load(); conf != nil && conf.Draining {
		return 0
	}
	return e.claimer.idle(int(e.stats.running.Load()))
}

// Stats may be called at any time.
func (e *Executor) Stats() ExecutorStats {
	homes, leads := e.house.slots()
	c := &e.stats
	return ExecutorStats{
		Permits: e.claimer.permits(), Running: int(c.running.Load()), Held: e.table.size(), Unsettled: e.settler.waiting(),
		Homes: homes, Leads: leads, MemoryShort: e.memory.isShort(),
		Claimed: c.claimed.Load(), Adopted: c.adopted.Load(), Settled: c.settled.Load(), Advanced: c.advanced.Load(), Retried: c.retried.Load(),
		Released: c.released.Load(), Lost: c.lost.Load(), Dropped: c.dropped.Load(), Reclaimed: c.reclaimed.Load(),
		Outcomes: c.outcomes.Load(), Batches: c.batches.Load(), Undelivered: c.undelivered.Load(), Errors: c.errors.Load(),
		Withheld: c.withheld.Load(),
	}
}
