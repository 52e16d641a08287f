package fidelity

import (
	"context"
	"errors"
	"strings"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"
)

// outcomes are the ways in which an activity can end, as far as its worker's logs and metrics tell them apart.
var outcomes = []struct {
	name    string
	handler func(ctx context.Context) (string, error)
	options workflow.ActivityOptions
	cancel  bool // once it runs
	differs map[string]string
}{
	{name: "success", handler: func(context.Context) (string, error) { return "done", nil }},
	{
		name:    "errors, then success",
		options: workflow.ActivityOptions{RetryPolicy: quickly(5)},
		handler: func(ctx context.Context) (string, error) {
			if activity.GetInfo(ctx).Attempt < 3 {
				return "", errors.New("not yet")
			}
			return "done", nil
		},
	},
	{
		name:    "benign error",
		options: workflow.ActivityOptions{RetryPolicy: quickly(2)},
		handler: func(context.Context) (string, error) {
			return "", temporal.NewApplicationErrorWithOptions("as expected", "Benign",
				temporal.ApplicationErrorOptions{Category: temporal.ApplicationErrorCategoryBenign})
		},
	},
	{
		name:    "panic",
		options: workflow.ActivityOptions{RetryPolicy: quickly(1)},
		handler: func(context.Context) (string, error) { panic("handler panics") },
	},
	{
		name:    "time-out",
		options: workflow.ActivityOptions{StartToCloseTimeout: time.Second, RetryPolicy: quickly(1)},
		handler: func(ctx context.Context) (string, error) {
			<-ctx.Done()
			return "too late", nil
		},
	},
	{
		name:    "cancelled",
		cancel:  true,
		options: workflow.ActivityOptions{HeartbeatTimeout: patience, WaitForCancellation: true, RetryPolicy: quickly(1)},
		handler: func(ctx context.Context) (string, error) {
			for ctx.Err() == nil {
				activity.RecordHeartbeat(ctx)
				select {
				case <-ctx.Done():
				case <-time.After(100 * time.Millisecond):
				}
			}
			return "", ctx.Err()
		},
	},
	{
		name:    "result too large",
		options: workflow.ActivityOptions{RetryPolicy: quickly(1)},
		handler: func(context.Context) (string, error) { return strings.Repeat("x", 3<<20), nil },
		differs: map[string]string{"log": resultLimit},
	},
}

// resultLimit is why a result that just fits as a plain one does not as a routed one.
const resultLimit = "A result may be 16 KiB smaller than the limit of the namespace: it shares a marker or a signal with its identity."

// ofHandler accepts what the worker logs about an activity that runs. Debug lines of the workflow are about commands,
// and there are none; and plain activities hear of a cancel by the error of a heartbeat, routed ones at once.
func ofHandler(l logLine) bool {
	return l.tag("ActivityType") == "Act" && l.message != "ExecuteActivity" && l.message != "RecordActivityHeartbeat with error"
}

// telemetryScenarios play each outcome and note what worker and handler reported.
var telemetryScenarios = func() []scenario {
	var all []scenario
	for _, o := range outcomes {
		all = append(all, scenario{
			name:    "metrics and logs of " + o.name,
			differs: o.differs,
			play: func(p *play) {
				logs, metrics := p.captureLogs(), p.captureMetrics()
				p.workerOptions.DisableEagerActivities = true // they come without a poll, and so without its metric
				running := make(chan struct{}, 10)
				p.activity("Act", func(ctx context.Context) (string, error) {
					running <- struct{}{}
					return o.handler(ctx)
				})
				p.workflow(func(ctx workflow.Context, _ *notes) error {
					_ = workflow.ExecuteActivity(withOptions(ctx, o.options), "Act").Get(ctx, nil)
					return nil
				})
				p.start()
				p.receive("the handler's start", running)
				if o.cancel {
					p.cancel()
				}
				p.finish()
				p.stopWorker() // what is reported last is there then
				p.seen.note("metrics", metrics.matching("temporal_activity_", "temporal_unregistered_activity"))
				p.seen.note("log", logs.matching(ofHandler))
			},
		})
	}
	return append(all, telemetryOfHandlers...)
}()

var telemetryOfHandlers = []scenario{
	{
		name: "logger of the handler",
		play: func(p *play) {
			logs := p.captureLogs()
			p.activity("Act", func(ctx context.Context) error {
				logger := activity.GetLogger(ctx)
				logger.Debug("said", "key", "value")
				log.With(logger, "with", 1).Warn("said with", "key", "value")
				return nil
			})
			p.workflow(func(ctx workflow.Context, see *notes) error {
				return noteResult[any](ctx, see, "call", workflow.ExecuteActivity(attempts(ctx, 1), "Act"))
			})
			p.start()
			p.finish()
			p.seen.note("said", logs.matching(func(l logLine) bool { return strings.HasPrefix(l.message, "said") }))
		},
	},
	{
		name: "logger of the handler on a worker with a name and a build",
		play: func(p *play) {
			logs := p.captureLogs()
			p.workerOptions.Identity = p.identity + "-worker"
			p.workerOptions.BuildID = "build-1" //nolint:staticcheck // deprecated, but workers use it
			p.activity("Act", func(ctx context.Context) error {
				activity.GetLogger(ctx).Info("said")
				return errors.New("no luck")
			})
			p.workflow(func(ctx workflow.Context, see *notes) error {
				return noteResult[any](ctx, see, "call", workflow.ExecuteActivity(attempts(ctx, 1), "Act"))
			})
			p.start()
			p.finish()
			p.seen.note("said", logs.matching(func(l logLine) bool { return l.message == "said" }))
		},
	},
	{
		name: "metrics handler of the handler",
		play: func(p *play) {
			metrics := p.captureMetrics()
			p.activity("Act", func(ctx context.Context) error {
				handler := activity.GetMetricsHandler(ctx)
				handler.Counter("mine_counted").Inc(3)
				handler.Gauge("mine_gauged").Update(1)
				handler.WithTags(map[string]string{"own": "tag"}).Timer("mine_timed").Record(time.Second)
				return nil
			})
			p.workflow(func(ctx workflow.Context, see *notes) error {
				return noteResult[any](ctx, see, "call", workflow.ExecuteActivity(attempts(ctx, 1), "Act"))
			})
			p.start()
			p.finish()
			p.seen.note("mine", metrics.matching("mine_"))
		},
	},
	{
		name: "the host activity in the SDK's metrics",
		play: func(p *play) {
			metrics := p.captureMetrics()
			p.activity("Act", func(context.Context) error { return nil })
			p.workflow(func(ctx workflow.Context, see *notes) error {
				return noteResult[any](ctx, see, "call", workflow.ExecuteActivity(attempts(ctx, 1), "Act"))
			})
			p.start()
			p.finish()
			p.stopWorker()
			metrics.mu.Lock()
			defer metrics.mu.Unlock()
			seen := false
			for name := range metrics.counts {
				seen = seen || strings.Contains(name, "activity_type="+hostActivity)
			}
			p.seen.note("host activity", seen)
		},
		differs: map[string]string{"host activity": hostReason},
	},
}
