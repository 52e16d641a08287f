package activity

import (
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
)

// Dashboards and autoscalers add this series to the SDK's: it has the SDK's names and tags, and says what is so when
// nothing happens any more.
func TestSlotsOfExecutorsAreInTheSDKsGauges(t *testing.T) {
	h := &gaugeRecorder{values: map[string]float64{}, tags: map[string]string{}}
	g := newSlotGauges(&Client{Namespace: "ns", Metrics: h}, "queue", 10)
	require.Equal(t, map[string]float64{"temporal_worker_task_slots_used": 0, "temporal_worker_task_slots_available": 10}, h.values)
	require.Equal(t, "SlipstreamWorker", h.tags["worker_type"])
	require.Equal(t, "queue", h.tags["task_queue"])
	require.Equal(t, "ns", h.tags["namespace"])

	g.add(3)
	require.Equal(t, map[string]float64{"temporal_worker_task_slots_used": 3, "temporal_worker_task_slots_available": 7}, h.values)
	var handlers sync.WaitGroup
	for range 200 {
		handlers.Go(func() {
			g.add(1)
			g.add(-1)
		})
	}
	handlers.Wait()
	g.add(20) // a pool's configuration may allow more than the worker's limit
	require.Equal(t, map[string]float64{"temporal_worker_task_slots_used": 23, "temporal_worker_task_slots_available": 0}, h.values)
	g.add(-23)
	require.Equal(t, map[string]float64{"temporal_worker_task_slots_used": 0, "temporal_worker_task_slots_available": 10}, h.values)
}

// gaugeRecorder keeps the last value of each gauge.
type gaugeRecorder struct {
	mu     sync.Mutex
	values map[string]float64 // protected by mu
	tags   map[string]string
}

func (h *gaugeRecorder) WithTags(tags map[string]string) client.MetricsHandler {
	maps.Copy(h.tags, tags)
	return h
}

func (h *gaugeRecorder) Counter(string) client.MetricsCounter { return nopMetric{} }

func (h *gaugeRecorder) Timer(string) client.MetricsTimer { return nopMetric{} }

func (h *gaugeRecorder) Gauge(name string) client.MetricsGauge {
	return gaugeFunc(func(v float64) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.values[name] = v
	})
}

type gaugeFunc func(float64)

func (f gaugeFunc) Update(v float64) { f(v) }

type nopMetric struct{}

func (nopMetric) Inc(int64)            {}
func (nopMetric) Record(time.Duration) {}
