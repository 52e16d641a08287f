package activity

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/slipstream-go/slipstream/batchqueue"
	"github.com/slipstream-go/slipstream/internal/wire"
)

// metrics are the instruments of docs/telemetry.md, which a test compares with what is
// made here. Their attributes are names of pools and activity types, and words from short
// lists: never anything that grows with the number of tasks.
type metrics struct {
	// What workflow tasks do with calls.
	dispatched             metric.Int64Counter
	notHandled, drained    metric.Int64Counter
	windowHits, windowMiss metric.Int64Counter
	breakerOpened          metric.Int64Counter
	redisFull              metric.Int64Counter

	// What the queue does with tasks.
	enqueued                                metric.Int64Counter
	enqueueTime                             metric.Float64Histogram
	enqueueSize                             metric.Int64Histogram
	claimTime                               metric.Float64Histogram
	claimSize                               metric.Int64Histogram
	waited, ran                             metric.Float64Histogram
	settled, advanced, retried              metric.Int64Counter
	released, lost                          metric.Int64Counter
	reclaimed, dead, failures               metric.Int64Counter
	deliveryTime                            metric.Float64Histogram
	deliverySize                            metric.Int64Histogram
	signals, delivered                      metric.Int64Counter
	tasksDiverted, tasksAnswered, tasksGone metric.Int64Counter

	// What is there when somebody collects.
	depth, inFlight, delayed, outbox, outboxBytes metric.Int64ObservableUpDownCounter
	oldest                                        metric.Float64ObservableGauge
	running, permits                              metric.Int64ObservableUpDownCounter
	breakerOpen                                   metric.Int64ObservableGauge

	meter     metric.Meter
	namespace string   // of Temporal: pools are unique within it
	labels    sync.Map // labels -> metric.MeasurementOption
}

// Buckets in seconds: a claim takes a millisecond, a handler may take an hour.
var (
	shortTimes = metric.WithExplicitBucketBoundaries(.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10)
	longTimes  = metric.WithExplicitBucketBoundaries(.001, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600)
	sizes      = metric.WithExplicitBucketBoundaries(0, 1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2000, 5000, 10000)
)

func newMetrics(t Telemetry, namespace string) *metrics {
	m := &metrics{meter: t.MeterProvider.Meter(instrumentation), namespace: namespace}
	b := instruments{meter: m.meter}

	m.dispatched = b.counter("slipstream.calls.dispatched", "{call}", "Calls that a dispatch has answered")
	m.notHandled = b.counter("slipstream.calls.not_handled", "{call}", "Calls of types that no worker of the pool handles")
	m.drained = b.counter("slipstream.calls.drained", "{call}", "Calls that were left out of a pool because it is being drained")
	m.windowHits = b.counter("slipstream.window.hits", "{call}", "Awaited calls whose outcome came within the window")
	m.windowMiss = b.counter("slipstream.window.misses", "{call}", "Awaited calls whose outcome did not come within the window")
	m.breakerOpened = b.counter("slipstream.breaker.opened", "{event}", "How often Redis did not answer, and calls went past it from then on")
	m.redisFull = b.counter("slipstream.redis.full", "{task}", "Tasks that Redis refused because it is out of memory")

	m.enqueued = b.counter("slipstream.tasks.enqueued", "{task}", "Tasks that Redis has taken, by a wave, a batch or a diverted activity task")
	m.enqueueTime = b.times("slipstream.enqueue.duration", "How long Redis took for an enqueue", shortTimes)
	m.enqueueSize = b.sizes("slipstream.enqueue.size", "{task}", "Tasks of an enqueue")
	m.claimTime = b.times("slipstream.claim.duration", "How long Redis took for a claim", shortTimes)
	m.claimSize = b.sizes("slipstream.claim.size", "{task}", "Tasks that a claim brought; none is 0")
	m.waited = b.times("slipstream.task.wait", "Time from when an attempt was due to its start", longTimes)
	m.ran = b.times("slipstream.handler.duration", "How long handlers ran", longTimes)
	m.settled = b.counter("slipstream.tasks.settled", "{task}", "Tasks whose outcome was recorded")
	m.advanced = b.counter("slipstream.tasks.advanced", "{task}", "Steps of chains that completed and are followed by another")
	m.retried = b.counter("slipstream.tasks.retried", "{attempt}", "Attempts that ended and are followed by another")
	m.released = b.counter("slipstream.tasks.released", "{task}", "Tasks that a stopping worker gave back, or one that is too old for them")
	m.lost = b.counter("slipstream.tasks.lost", "{task}", "Attempts whose claim turned out to be another executor's; what they did is dropped")
	m.reclaimed = b.counter("slipstream.tasks.reclaimed", "{task}", "Tasks taken from executors that are gone")
	m.dead = b.counter("slipstream.tasks.dead", "{task}", "Tasks that became dead letters")
	m.failures = b.counter("slipstream.redis.failures", "{operation}", "Operations of executors on Redis that failed; they are tried again")
	m.deliveryTime = b.times("slipstream.delivery.duration", "How long Temporal took for a delivery", shortTimes)
	m.deliverySize = b.sizes("slipstream.delivery.size", "{outcome}", "Outcomes of a delivery")
	m.signals = b.counter("slipstream.signals", "{signal}", "Signals that Temporal has taken")
	m.delivered = b.counter("slipstream.outcomes.delivered", "{outcome}", "Outcomes that came to their run")
	m.tasksDiverted = b.counter("slipstream.activity_tasks.diverted", "{task}", "Ordinary activity tasks that went into the queue")
	m.tasksAnswered = b.counter("slipstream.activity_tasks.answered", "{task}", "Diverted activity tasks whose end Temporal has taken")
	m.tasksGone = b.counter("slipstream.activity_tasks.stale", "{task}", "Diverted activity tasks that Temporal had given up before they ended")

	m.depth = b.level("slipstream.pool.depth", "{task}", "Tasks that could be claimed now")
	m.inFlight = b.level("slipstream.pool.in_flight", "{task}", "Tasks that executors hold")
	m.delayed = b.level("slipstream.pool.delayed", "{task}", "Tasks that wait for their next attempt")
	m.outbox = b.level("slipstream.pool.outbox", "{outcome}", "Outcomes that are not delivered yet")
	m.outboxBytes = b.level("slipstream.pool.outbox_size", "By", "Size of the outcomes that are not delivered yet")
	m.oldest = observed(b.meter.Float64ObservableGauge("slipstream.pool.oldest_age", metric.WithUnit("s"),
		metric.WithDescription("How long the first task that could be claimed has waited")))
	m.running = b.level("slipstream.executor.running", "{handler}", "Handlers that run in this worker")
	m.permits = b.level("slipstream.executor.permits", "{handler}", "Handlers that this worker may run side by side")
	m.breakerOpen = observed(b.meter.Int64ObservableGauge("slipstream.breaker.open", metric.WithUnit("{breaker}"),
		metric.WithDescription("1 while calls go past a Redis that does not answer, else 0")))
	return m
}

// instruments makes them. An error of the provider is the provider's to report; the
// instrument that comes with it does nothing.
type instruments struct{ meter metric.Meter }

func observed[I any](i I, err error) I {
	if err != nil {
		otel.Handle(err)
	}
	return i
}

func (b instruments) counter(name, unit, description string) metric.Int64Counter {
	return observed(b.meter.Int64Counter(name, metric.WithUnit(unit), metric.WithDescription(description)))
}

func (b instruments) times(name, description string, buckets metric.HistogramOption) metric.Float64Histogram {
	return observed(b.meter.Float64Histogram(name, metric.WithUnit("s"), metric.WithDescription(description), buckets))
}

func (b instruments) sizes(name, unit, description string) metric.Int64Histogram {
	return observed(b.meter.Int64Histogram(name, metric.WithUnit(unit), metric.WithDescription(description), sizes))
}

// level is a number of things that are there: those of several processes add up.
func (b instruments) level(name, unit, description string) metric.Int64ObservableUpDownCounter {
	return observed(b.meter.Int64ObservableUpDownCounter(name, metric.WithUnit(unit), metric.WithDescription(description)))
}

// labels are the attributes of one measurement beside the namespace; empty ones are left out.
type labels struct{ pool, activityType, outcome, way, result, answer string }

const (
	labelPool   = attribute.Key("slipstream.pool")
	labelResult = attribute.Key("slipstream.delivery.result")
	labelAnswer = attribute.Key("slipstream.answer")
)

// with returns the option for attributes. They are few, and made once.
func (m *metrics) with(l labels) metric.MeasurementOption {
	if known, ok := m.labels.Load(l); ok {
		return known.(metric.MeasurementOption) //nolint:forcetypeassert // nothing else is stored
	}
	all := []attribute.KeyValue{keyNamespace.String(m.namespace)}
	for _, a := range []attribute.KeyValue{
		labelPool.String(l.pool), keyActivityType.String(l.activityType), keyOutcome.String(l.outcome), keyWay.String(l.way),
		labelResult.String(l.result), labelAnswer.String(l.answer),
	} {
		if a.Value.AsString() != "" {
			all = append(all, a)
		}
	}
	option := metric.WithAttributeSet(attribute.NewSet(all...))
	m.labels.Store(l, option)
	return option
}

func add(counter metric.Int64Counter, n int, of metric.AddOption) {
	if n > 0 {
		counter.Add(context.Background(), int64(n), of)
	}
}

// begin makes the series of what a runtime counts, see zero.
func (m *metrics) begin() {
	for _, counter := range []metric.Int64Counter{m.breakerOpened, m.windowHits, m.windowMiss} {
		zero(counter, m.with(labels{}))
	}
	for _, answer := range answerNames {
		zero(m.dispatched, m.with(labels{answer: answer}))
	}
}

// beginPool makes the series of a pool's rare events, see zero: those that say how many
// calls or tasks something went wrong with. types are those that the executor handles.
func (m *metrics) beginPool(pool string, types []string) {
	here := m.with(labels{pool: pool})
	for _, counter := range []metric.Int64Counter{m.notHandled, m.drained, m.redisFull, m.failures, m.signals} {
		zero(counter, here)
	}
	for _, t := range types {
		of := m.with(labels{pool: pool, activityType: t})
		zero(m.dead, of)
		zero(m.reclaimed, of)
		zero(m.retried, m.with(labels{pool: pool, activityType: t, outcome: batchqueue.KindFailed.String()}))
	}
}

// zero makes a series before its first event. Without it Prometheus sees a series that
// begins with 1, which is no increase: an alert on the first dead letter would not fire.
func zero(counter metric.Int64Counter, of metric.AddOption) {
	counter.Add(context.Background(), 0, of)
}

// observer counts what an executor does.
func (m *metrics) observer(pool string) batchqueue.Observer {
	ctx := context.Background()
	here := m.with(labels{pool: pool})
	of := func(d *batchqueue.Delivery) metric.MeasurementOption {
		return m.with(labels{pool: pool, activityType: d.Type})
	}
	ended := func(d *batchqueue.Delivery, k batchqueue.Kind) metric.MeasurementOption {
		return m.with(labels{pool: pool, activityType: d.Type, outcome: k.String()})
	}
	return batchqueue.Observer{
		Claimed: func(_, n int, took time.Duration) {
			m.claimTime.Record(ctx, took.Seconds(), here)
			m.claimSize.Record(ctx, int64(n), here)
		},
		Started: func(d *batchqueue.Delivery) {
			m.waited.Record(ctx, max(0, time.Since(d.AttemptScheduledAt)).Seconds(), of(d))
		},
		Returned: func(d *batchqueue.Delivery, r batchqueue.Result, ran time.Duration) {
			m.ran.Record(ctx, ran.Seconds(), ended(d, r.Kind))
		},
		Settled: func(d *batchqueue.Delivery, o batchqueue.Outcome) { add(m.settled, 1, ended(d, o.Kind)) },
		Dead: func(d *batchqueue.Delivery, o batchqueue.Outcome) {
			add(m.settled, 1, ended(d, o.Kind))
			add(m.dead, 1, of(d))
		},
		Retried: func(d *batchqueue.Delivery, o batchqueue.Outcome, _ time.Duration) {
			add(m.retried, 1, ended(d, o.Kind))
		},
		Advanced:  func(d *batchqueue.Delivery) { add(m.advanced, 1, of(d)) },
		Released:  func(d *batchqueue.Delivery) { add(m.released, 1, of(d)) },
		Lost:      func(d *batchqueue.Delivery) { add(m.lost, 1, of(d)) },
		Reclaimed: func(d *batchqueue.Delivery, _ string) { add(m.reclaimed, 1, of(d)) },
		Delivered: func(b *batchqueue.Batch, took time.Duration, err error) {
			o := m.with(labels{pool: pool, result: deliveryResult(err)})
			m.deliveryTime.Record(ctx, took.Seconds(), o)
			m.deliverySize.Record(ctx, int64(len(b.Outcomes)), o)
		},
		Error: func(error) { add(m.failures, 1, here) },
	}
}

func deliveryResult(err error) string {
	switch {
	case err == nil:
		return "taken"
	case errors.Is(err, batchqueue.ErrRunGone):
		return "run_gone"
	case errors.Is(err, batchqueue.ErrRunDeaf):
		return "run_deaf"
	}
	return "failed"
}

// put enqueues a wave, and measures it.
func (r *Runtime) put(ctx context.Context, pool string, wave *batchqueue.Wave) (batchqueue.Enqueued, error) {
	began := time.Now()
	enqueued, err := r.queue.Enqueue(ctx, pool, wave)
	m := r.metrics
	here := m.with(labels{pool: pool})
	m.enqueueTime.Record(ctx, time.Since(began).Seconds(), here)
	m.enqueueSize.Record(ctx, int64(len(wave.Tasks)), here)
	queued := 0
	for i := range enqueued.Answers {
		switch a := &enqueued.Answers[i]; {
		case a.State == batchqueue.AnswerQueued:
			queued++
		case errors.Is(a.Err, batchqueue.ErrFull):
			add(m.redisFull, 1, here)
		}
	}
	add(m.enqueued, queued, here)
	return enqueued, err
}

// answered counts the answers of a dispatch.
func (m *metrics) answered(counts map[wire.State]int) {
	for state, n := range counts {
		add(m.dispatched, n, m.with(labels{answer: answerNames[state]}))
	}
}

// signalled counts a signal that Temporal has taken.
func (m *metrics) signalled(b *batchqueue.Batch) {
	add(m.signals, 1, m.with(labels{pool: b.Pool}))
	add(m.delivered, len(b.Outcomes), m.with(labels{pool: b.Pool, way: waySignal}))
}

// fetched counts outcomes that a run took itself.
func (m *metrics) fetched(pool, way string, outcomes int) {
	add(m.delivered, outcomes, m.with(labels{pool: pool, way: way}))
}

var answerNames = map[wire.State]string{
	wire.StateQueued: "queued", wire.StateDone: "done", wire.StateEarly: "early", wire.StateRefused: "refused",
	wire.StatePlain: "plain", wire.StateUnsure: "unsure", wire.StateWaiting: "waiting",
}
