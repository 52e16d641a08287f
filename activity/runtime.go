package activity

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"go.temporal.io/sdk/log"

	"github.com/slipstream-go/slipstream/batchqueue"
	"github.com/slipstream-go/slipstream/internal/outage"
	"github.com/slipstream-go/slipstream/workflow"
)

// RuntimeOptions configure a Runtime. They are checked by the plugin, which has the
// names that users know.
type RuntimeOptions struct {
	Queue *batchqueue.Queue
	// Marks maps the marked activity types to their pools (see Resolve).
	Marks map[string]string
	// Disabled: no run of this process is newly routed.
	Disabled bool
	// Concurrency is the number of marked activities that a worker runs side by side; 0
	// means its MaxConcurrentActivityExecutionSize.
	Concurrency int
	// Window is how long a dispatch waits for results; 0 means not at all.
	Window time.Duration
	// Windows are those of marked types; see Windows.
	Windows map[string]time.Duration
	// DrainTimeout is how long a stopping executor waits for its handlers.
	DrainTimeout time.Duration
	// Divert sends marked activities that arrive as ordinary activity tasks through the
	// queue.
	Divert bool
	// MaxPayloadBytes is the namespace's limit for a call's arguments and for its result.
	MaxPayloadBytes int
	Telemetry       Telemetry
}

// Runtime is the ordinary half of the plugin for one Temporal client: it dispatches for
// the client's workflows and runs executors for its workers. Safe for concurrent use.
type Runtime struct {
	o      RuntimeOptions
	client Client
	queue  *batchqueue.Queue
	log    log.Logger

	tracing   *tracing
	metrics   *metrics
	collector collector
	// What may fail again and again, and is said now and then:
	askOutage, disownOutage, closeOutage outage.Outage
	refusals, newer                      outage.Outage // of waves; of tasks
	uncarried, undiverted, unanswered    outage.Outage // of activity tasks
	announced                            *announcements
	latency                              *latencies
	breaker                              *breaker
	strays                               *strays
	residences                           *residences
	doubts                               *doubts
	progressRests                        atomic.Int64 // until then the queue is not asked for progress; Unix, ns

	mu      sync.Mutex
	workers map[string]*Worker // by instance key
	running int                // started workers
	// While running > 0:
	inbox      *batchqueue.Inbox // nil where windows are off
	background sync.WaitGroup
	end        context.CancelFunc // of background
}

var _ workflow.Dispatcher = (*Runtime)(nil)

// NewRuntime returns the runtime of a client. It does no I/O and owns no goroutine until
// a worker starts.
func NewRuntime(c Client, o RuntimeOptions) *Runtime {
	o.Telemetry = o.Telemetry.withDefaults()
	r := &Runtime{
		o:          o,
		client:     c,
		queue:      o.Queue,
		log:        c.Logger,
		tracing:    newTracing(o.Telemetry, c.Namespace),
		metrics:    newMetrics(o.Telemetry, c.Namespace),
		announced:  newAnnouncements(o.Queue),
		latency:    newLatencies(),
		strays:     &strays{},
		residences: newResidences(),
		doubts:     newDoubts(),
		workers:    map[string]*Worker{},
	}
	r.breaker = &breaker{onChange: r.breakerChanged}
	return r
}

func (r *Runtime) breakerChanged(open bool) {
	if open {
		add(r.metrics.breakerOpened, 1, r.metrics.with(labels{}))
		r.log.Warn("[Slipstream] Redis does not answer: marked calls run as ordinary activities until it does")
		return
	}
	r.log.Info("[Slipstream] Redis answers again: marked calls go through the queue")
}

// workerStarted starts, with the first worker, what all workers share.
func (r *Runtime) workerStarted(ctx context.Context) {
	r.collector.begin(r.observeLevels)
	r.metrics.begin()
	inbox := r.begin(ctx)
	if inbox == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := inbox.Start(ctx); err != nil {
		// It goes on trying by itself; until then a dispatch that waits does so in vain.
		r.log.Debug("[Slipstream] cannot listen for results yet", "Error", err)
	}
}

// begin counts a worker, and returns the inbox that the first one has to start.
func (r *Runtime) begin(ctx context.Context) *batchqueue.Inbox {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.running++
	if r.running > 1 {
		return nil
	}
	background, end := context.WithCancel(context.WithoutCancel(ctx))
	r.end = end
	r.background.Go(func() { r.forgetClosed(background) })
	r.background.Go(func() { r.resolveDoubts(background) })
	runtimes.set(r, true)
	if r.waits() {
		r.inbox = r.queue.NewInbox()
	}
	return r.inbox
}

// waits tells whether any dispatch may wait for results.
func (r *Runtime) waits() bool {
	longest := r.o.Window
	for _, length := range r.o.Windows {
		longest = max(longest, length)
	}
	return longest > 0
}

// forget removes a worker that never started.
func (r *Runtime) forget(w *Worker) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.workers, w.instance)
}

// workerStopped ends it with the last one.
func (r *Runtime) workerStopped(w *Worker) {
	defer r.collector.end() // not under mu, which a collection takes
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.workers, w.instance)
	r.running--
	if r.running > 0 {
		return
	}
	runtimes.set(r, false)
	r.end()
	r.background.Wait()
	if r.inbox == nil {
		return
	}
	if err := r.inbox.Stop(); err != nil {
		r.log.Debug("[Slipstream] the subscription for results did not end cleanly", "Error", err)
	}
	r.inbox = nil
}

func (r *Runtime) currentInbox() *batchqueue.Inbox {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.inbox
}

// registered tells whether a worker of this process has a handler for the type.
func (r *Runtime) registered(activityType string) bool {
	r.mu.Lock()
	workers := make([]*Worker, 0, len(r.workers))
	for _, w := range r.workers {
		workers = append(workers, w)
	}
	r.mu.Unlock()
	for _, w := range workers {
		if w.registry.find(activityType) != nil {
			return true
		}
	}
	return false
}
