package activity

import (
	"sync"
	"time"

	"go.temporal.io/sdk/client"

	"github.com/slipstream-go/slipstream/batchqueue"
)

// slotGauges are the SDK's own gauges of a worker's slots, for the handlers of its
// executors. The SDK has them for its activity worker, whose slots routed activities do not
// take; a series of their own, told by the worker type, is what dashboards and autoscalers
// can add to it.
type slotGauges struct {
	limit           int64
	used, available client.MetricsGauge

	mu      sync.Mutex // held for the updates too: the last one must be of the last change
	running int64      // protected by mu
}

// executorWorkerType is the value of the tag worker_type. The SDK's own end in Worker too.
const executorWorkerType = "SlipstreamWorker"

func newSlotGauges(c *Client, taskQueue string, limit int) *slotGauges {
	metrics := c.Metrics
	if metrics == nil {
		metrics = client.MetricsNopHandler
	}
	metrics = metrics.WithTags(map[string]string{ // as the SDK tags its own
		"namespace": c.Namespace, "client_name": "temporal_go", "worker_type": executorWorkerType, "task_queue": taskQueue,
		"workflow_type": "none", "activity_type": "none",
	})
	g := &slotGauges{
		limit: int64(limit),
		used:  metrics.Gauge("temporal_worker_task_slots_used"), available: metrics.Gauge("temporal_worker_task_slots_available"),
	}
	g.add(0)
	return g
}

func (g *slotGauges) add(n int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.running += n
	g.used.Update(float64(g.running))
	g.available.Update(float64(max(0, g.limit-g.running)))
}

// observer is what all executors of the worker report to.
func (w *Worker) observer(pool string) batchqueue.Observer {
	o := w.rt.metrics.observer(pool)
	started, returned := o.Started, o.Returned
	o.Started = func(d *batchqueue.Delivery) {
		w.slots.add(1)
		started(d)
	}
	o.Returned = func(d *batchqueue.Delivery, r batchqueue.Result, ran time.Duration) {
		w.slots.add(-1)
		returned(d, r, ran)
	}
	return o
}
