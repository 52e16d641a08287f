package activity

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	sdkactivity "go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/worker"
	sdkworkflow "go.temporal.io/sdk/workflow"

	"github.com/slipstream-go/slipstream/batchqueue"
)

const (
	// hostTimeout is how long a starting worker waits for its host context.
	hostTimeout = 5 * time.Second
	// minStopTimeout replaces a WorkerStopTimeout of 0, with which the SDK drops the
	// results of local activities at stop, and every open workflow waits for its task's
	// time-out.
	minStopTimeout = 5 * time.Second
	// startTimeout bounds the part of StartWorker that talks to Redis.
	startTimeout = 3 * time.Second
	// defaultConcurrency is the SDK's default for activity execution.
	defaultConcurrency = 1000
)

// Worker is one SDK worker of the runtime's client. Its executors live from Start to
// Stop.
type Worker struct {
	rt        *Runtime
	instance  string
	taskQueue string
	// options are the SDK's own copy: other plugins may change them after ours, so they
	// are read when the worker starts and not before.
	options    *worker.Options
	tunerGiven bool
	registry   *registry
	behaviors  *behaviors

	// Set by Start, before anything runs.
	logger       log.Logger
	identity     string
	build        string // where versioning is on
	deployed     bool   // the build is a deployment version: Temporal moves unpinned runs to the next
	interceptors []interceptor.WorkerInterceptor
	background   context.Context // ends when the user's BackgroundActivityContext does
	maxWindows   int32
	fleet        fleet
	need         need
	budget       *batchqueue.Budget // nil where the worker runs nothing that is marked

	addresses lastAddress
	windows   atomic.Int32  // dispatches that wait for results
	unclaimed unclaimed     // activity tasks that were diverted just now
	announced chan struct{} // closed once the types are announced
	stopping  chan struct{} // closed when Stop begins
	begun     atomic.Bool   // Start was called
	once      sync.Once     // guards stopping and what follows

	// Where there is a host context, from before announced is closed:
	host      *host
	vigils    *vigils
	cancel    context.CancelFunc // ends the keeper
	keeper    sync.WaitGroup
	executors executors
	heirs     *heirs
	reporting reporting
	slots     *slotGauges
	words     words
}

// workerKey finds the worker in the context of its local activities.
type workerKey struct{}

func workerFrom(ctx context.Context) *Worker {
	w, _ := ctx.Value(workerKey{}).(*Worker)
	return w
}

// Configure is called when a worker is made, before anything is registered with it.
// The registration callbacks are chained.
func (r *Runtime) Configure(o worker.PluginConfigureWorkerOptions) {
	w := &Worker{
		rt:         r,
		instance:   o.WorkerInstanceKey,
		taskQueue:  o.TaskQueue,
		options:    o.WorkerOptions,
		tunerGiven: o.WorkerOptions.Tuner != nil,
		registry:   newRegistry(),
		behaviors:  newBehaviors(),
		executors:  executors{},
		heirs:      newHeirs(),
		announced:  make(chan struct{}),
		stopping:   make(chan struct{}),
	}
	background := o.WorkerOptions.BackgroundActivityContext
	if background == nil {
		background = context.Background()
	}
	o.WorkerOptions.BackgroundActivityContext = context.WithValue(background, workerKey{}, w)
	if o.WorkerOptions.WorkerStopTimeout == 0 {
		o.WorkerOptions.WorkerStopTimeout = minStopTimeout
		r.log.Info("[Slipstream] worker.Options.WorkerStopTimeout is 0 and was raised: the results of local activities that run while the worker stops would be lost",
			"TaskQueue", o.TaskQueue, "WorkerStopTimeout", minStopTimeout)
	}
	callbacks := o.WorkerRegistryOptions
	nextActivity, nextDynamic := callbacks.OnRegisterActivity, callbacks.OnRegisterDynamicActivity
	callbacks.OnRegisterActivity = func(a any, o sdkactivity.RegisterOptions) {
		w.registry.add(a, o)
		if nextActivity != nil {
			nextActivity(a, o)
		}
	}
	callbacks.OnRegisterDynamicActivity = func(a any, o sdkactivity.DynamicRegisterOptions) {
		w.registry.addDynamic(a)
		if nextDynamic != nil {
			nextDynamic(a, o)
		}
	}
	nextWorkflow, nextDynamicWorkflow := callbacks.OnRegisterWorkflow, callbacks.OnRegisterDynamicWorkflow
	callbacks.OnRegisterWorkflow = func(f any, o sdkworkflow.RegisterOptions) {
		w.behaviors.add(f, o)
		if nextWorkflow != nil {
			nextWorkflow(f, o)
		}
	}
	callbacks.OnRegisterDynamicWorkflow = func(f any, o sdkworkflow.DynamicRegisterOptions) {
		w.behaviors.addDynamic(o)
		if nextDynamicWorkflow != nil {
			nextDynamicWorkflow(f, o)
		}
	}
	r.mu.Lock()
	r.workers[w.instance] = w
	r.mu.Unlock()
}

// Worker returns the worker that was configured under this key, nil if none was.
func (r *Runtime) Worker(instance string) *Worker {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.workers[instance]
}

// settle reads the final options.
func (w *Worker) settle() {
	o := w.options
	w.identity = w.rt.client.Identity
	if o.Identity != "" {
		w.identity = o.Identity
	}
	build := o.BuildID //nolint:staticcheck // deprecated, but workers use it
	if v := o.DeploymentOptions.Version; v.BuildID != "" {
		build = v.BuildID
	}
	w.logger = log.With(w.rt.log, "Namespace", w.rt.client.Namespace, "TaskQueue", w.taskQueue, "WorkerID", w.identity)
	if build != "" {
		w.logger = log.With(w.logger, "BuildID", build)
	}
	switch {
	case o.DeploymentOptions.UseVersioning:
		// Build IDs are unique within their deployment only.
		w.build, w.deployed = o.DeploymentOptions.Version.DeploymentName+"."+build, true
	case o.UseBuildIDForVersioning: //nolint:staticcheck // deprecated, but workers use it
		w.build = build
	}
	w.background = o.BackgroundActivityContext
	w.interceptors = append(append([]interceptor.WorkerInterceptor{}, w.rt.client.Interceptors...), o.Interceptors...)
	w.maxWindows = windowsOf(o)
	w.fleet.w = w
}

// windowsOf is the number of dispatches that may wait at a time: half of the slots that
// each of them occupies.
func windowsOf(o *worker.Options) int32 {
	slots := defaultConcurrency
	for _, n := range []int{o.MaxConcurrentLocalActivityExecutionSize, o.MaxConcurrentWorkflowTaskExecutionSize} {
		if n > 0 {
			slots = min(slots, n)
		}
	}
	return int32(max(1, slots/2))
}

func (w *Worker) enterWindow() bool {
	select {
	case <-w.stopping:
		return false
	default:
	}
	if w.windows.Add(1) > w.maxWindows {
		w.windows.Add(-1)
		return false
	}
	return true
}

func (w *Worker) leaveWindow() { w.windows.Add(-1) }

// need is why a worker has an executor.
type need int

const (
	needNone need = iota
	// needFormer: what it registers was announced by a former release, or that cannot be
	// told: runs that were routed then go on, whatever is marked now.
	needFormer
	needMarked // it registers what is marked
)

func (w *Worker) needsExecutor(ctx context.Context) need {
	if w.options.LocalActivityWorkerOnly {
		return needNone
	}
	for name := range w.rt.o.Marks {
		if w.registry.find(name) != nil {
			return needMarked
		}
	}
	if w.registry.empty() {
		return needNone
	}
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	former, err := w.rt.queue.Announced(ctx, PoolName(w.taskQueue, "", w.build))
	if err != nil {
		w.logger.Debug("[Slipstream] cannot tell which activities former releases of this worker announced", "Error", err)
		return needFormer
	}
	for name := range former {
		if w.registry.find(name) != nil {
			return needFormer
		}
	}
	return needNone
}

// concurrency is the number of marked activities that the worker runs at a time.
func (w *Worker) concurrency() (int, error) {
	switch {
	case w.rt.o.Concurrency > 0:
		return w.rt.o.Concurrency, nil
	case w.tunerGiven:
		return 0, errors.New("slipstream: worker.Options.Tuner limits plain activities, but not those of the executor; " +
			"set plugin.Options.Concurrency to the number of marked activities that may run at a time in this worker, for example Concurrency: 1000")
	case w.options.MaxConcurrentActivityExecutionSize > 0:
		return w.options.MaxConcurrentActivityExecutionSize, nil
	}
	return defaultConcurrency, nil
}

// Start surrounds the start of the SDK's worker. register adds to the worker's registry.
// An error of ours says what to write; Redis being away is none, see keep.
func (w *Worker) Start(ctx context.Context, register func(any, sdkactivity.RegisterOptions), next func(context.Context) error) error {
	w.settle()
	w.begun.Store(true)
	w.rt.workerStarted(ctx)
	w.enlist(ctx)
	w.need = w.needsExecutor(ctx)
	if w.need == needNone {
		close(w.announced)
		return w.undoOn(next(ctx))
	}
	concurrency, err := w.concurrency()
	if err == nil {
		w.budget, err = w.newBudget(concurrency)
	}
	switch {
	case err != nil && w.need == needFormer:
		w.logger.Warn("[Slipstream] no executor in this worker: nothing that it registers is marked now, and what runs of former releases "+
			"have in the queue is left to other workers", "Error", err)
		close(w.announced)
		return w.undoOn(next(ctx))
	case err != nil:
		return w.undoOn(err)
	}
	w.slots = newSlotGauges(&w.rt.client, w.taskQueue, concurrency)
	register(runHost, sdkactivity.RegisterOptions{Name: hostActivity})
	request := requestHost(w.instance, w.taskQueue)
	defer request.withdraw()
	if err := next(ctx); err != nil {
		return w.undoOn(err)
	}
	h := w.awaitHost(ctx, request)
	if h == nil {
		close(w.announced)
		return nil
	}
	background, cancel := context.WithCancel(context.WithoutCancel(ctx))
	w.cancel = cancel
	w.host, w.vigils = h, newVigils(w)
	ready := make(chan struct{})
	w.keeper.Go(func() { w.keep(background, h, ready) })
	select {
	case <-ready:
	case <-time.After(startTimeout):
	case <-ctx.Done():
	}
	return nil
}

// enlist says that this worker has the plugin, before it polls; Redis being away is no
// error, the polls try again.
func (w *Worker) enlist(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	if err := w.fleet.enlist(ctx); err != nil {
		w.logger.Debug("[Slipstream] cannot enlist this worker yet", "Error", err)
	}
}

// undoOn gives up what Start took, if the worker does not start.
func (w *Worker) undoOn(err error) error {
	if err != nil {
		w.once.Do(func() {
			close(w.stopping)
			w.rt.workerStopped(w)
		})
	}
	return err
}

// awaitHost returns the host context, nil when the worker has to go on without executor.
func (w *Worker) awaitHost(ctx context.Context, request *hostRequest) *host {
	timeout := time.NewTimer(hostTimeout)
	defer timeout.Stop()
	cause := "no activity poll of the worker passed Slipstream's gRPC interceptor; give the plugin to client.Options.Plugins where the connection is made, " +
		"also for a client from which others are made"
	if headerKey == nil || outboundKey == nil {
		cause = "this version of the Temporal SDK keeps activities in their context in an unknown way; update Slipstream"
	} else {
		select {
		case h := <-request.answered:
			return h
		case <-timeout.C:
		case <-ctx.Done():
		}
		if request.polled.Load() {
			cause = "the worker took the synthetic task but did not run it; are all its activity slots taken?"
		}
	}
	w.logger.Error("[Slipstream] no executor in this worker: it could not obtain an activity context. Marked calls run elsewhere, or as ordinary activities",
		"Cause", cause)
	return nil
}

// Stop surrounds the stop of the SDK's worker. Windows close, claiming ends, handlers get
// DrainTimeout; the rest is released, and others take it at once.
func (w *Worker) Stop(ctx context.Context, next func(context.Context)) {
	w.once.Do(func() {
		if !w.begun.Load() {
			w.rt.forget(w) // the SDK stops workers that never started, too
			return
		}
		close(w.stopping)
		if w.cancel != nil {
			w.cancel()
			w.keeper.Wait()
			stopAll(ctx, append(slices.Collect(maps.Values(w.executors)), w.heirs.all()...), w.rt.o.DrainTimeout, w.logger)
			w.vigils.stop()
		}
		defer w.rt.workerStopped(w)
	})
	next(ctx)
}
