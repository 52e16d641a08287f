package fidelity

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/workflow"
)

// progress is what a handler may leave for the attempt after it.
type progress struct {
	Done int
	Word string
}

// noteDetails notes what the attempt before has left.
func noteDetails(ctx context.Context, p *play, n int32) {
	var details progress
	err := activity.GetHeartbeatDetails(ctx, &details)
	p.seen.note("attempt", fmt.Sprintf("%d: has details %v, %+v, error %s", n, activity.HasHeartbeatDetails(ctx), details, show(err)))
}

// leaving records heartbeats in every attempt and then fails; the last attempt succeeds.
func leaving(last int32, record func(ctx context.Context, n int32)) func(ctx context.Context, p *play, n int32) (string, error) {
	return func(ctx context.Context, p *play, n int32) (string, error) {
		noteDetails(ctx, p, n)
		if n == last {
			return "done", nil
		}
		record(ctx, n)
		return "", errors.New("no luck")
	}
}

var heartbeatScenarios = []scenario{
	{
		name: "details of a failed attempt reach the next",
		play: retried(workflow.ActivityOptions{HeartbeatTimeout: time.Minute, RetryPolicy: quickly(3)},
			leaving(3, func(ctx context.Context, n int32) { activity.RecordHeartbeat(ctx, progress{int(n), "palabra"}) })),
	},
	{
		name: "details without a heartbeat time-out",
		play: retried(workflow.ActivityOptions{RetryPolicy: quickly(2)},
			leaving(2, func(ctx context.Context, n int32) { activity.RecordHeartbeat(ctx, progress{int(n), "palabra"}) })),
	},
	{
		name: "the last of many details counts",
		play: retried(workflow.ActivityOptions{HeartbeatTimeout: time.Minute, RetryPolicy: quickly(2)},
			leaving(2, func(ctx context.Context, _ int32) {
				for i := range 100 {
					activity.RecordHeartbeat(ctx, progress{i, "palabra"})
				}
			})),
	},
	{
		name: "an attempt without heartbeats keeps the details before it",
		play: retried(workflow.ActivityOptions{HeartbeatTimeout: time.Minute, RetryPolicy: quickly(3)},
			leaving(3, func(ctx context.Context, n int32) {
				if n == 1 {
					activity.RecordHeartbeat(ctx, progress{1, "palabra"})
				}
			})),
	},
	{
		name: "heartbeats without details",
		play: retried(workflow.ActivityOptions{HeartbeatTimeout: time.Minute, RetryPolicy: quickly(2)},
			leaving(2, func(ctx context.Context, _ int32) { activity.RecordHeartbeat(ctx) })),
	},
	{
		name: "heartbeat with nil",
		play: retried(workflow.ActivityOptions{HeartbeatTimeout: time.Minute, RetryPolicy: quickly(2)},
			leaving(2, func(ctx context.Context, _ int32) { activity.RecordHeartbeat(ctx, nil) })),
	},
	{
		name: "heartbeat without details after one with some",
		play: retried(workflow.ActivityOptions{HeartbeatTimeout: time.Minute, RetryPolicy: quickly(3)},
			leaving(3, func(ctx context.Context, n int32) {
				if n == 1 {
					activity.RecordHeartbeat(ctx, progress{1, "palabra"})
				} else {
					activity.RecordHeartbeat(ctx)
				}
			})),
	},
	{
		name: "several details",
		play: retried(workflow.ActivityOptions{HeartbeatTimeout: time.Minute, RetryPolicy: quickly(2)},
			func(ctx context.Context, p *play, n int32) (string, error) {
				if n == 1 {
					activity.RecordHeartbeat(ctx, 7, "palabra", progress{1, "x"})
					return "", errors.New("no luck")
				}
				var count int
				var word string
				var rest progress
				p.seen.note("error", activity.GetHeartbeatDetails(ctx, &count, &word, &rest))
				p.seen.note("details", fmt.Sprint(count, word, rest))
				p.seen.note("too many", activity.GetHeartbeatDetails(ctx, &count, &word, &rest, &count))
				p.seen.note("wrong type", activity.GetHeartbeatDetails(ctx, &word))
				return "done", nil
			}),
	},
	{
		name: "details that cannot be encoded",
		play: retried(workflow.ActivityOptions{HeartbeatTimeout: time.Minute, RetryPolicy: quickly(2)},
			func(ctx context.Context, p *play, n int32) (string, error) {
				p.seen.note("attempt", n)
				activity.RecordHeartbeat(ctx, func() {})
				return "done", nil
			}),
	},
	{
		name: "details behind a codec",
		play: func(p *play) {
			p.clientOptions.DataConverter = converter.NewCodecDataConverter(converter.GetDefaultDataConverter(), rot13{})
			retried(workflow.ActivityOptions{HeartbeatTimeout: time.Minute, RetryPolicy: quickly(2)},
				leaving(2, func(ctx context.Context, n int32) { activity.RecordHeartbeat(ctx, progress{int(n), "palabra"}) }))(p)
		},
	},
	{
		name: "time-out carries the last details",
		play: func(p *play) {
			retried(workflow.ActivityOptions{HeartbeatTimeout: 3 * time.Second, RetryPolicy: quickly(1)},
				func(ctx context.Context, p *play, n int32) (string, error) {
					activity.RecordHeartbeat(ctx, progress{1, "palabra"})
					return deaf(ctx, p, n)
				})(p)
		},
	},
	{
		name: "time-out without heartbeats carries no details",
		play: retried(workflow.ActivityOptions{HeartbeatTimeout: 200 * ms, RetryPolicy: quickly(1)}, deaf),
	},
	{
		name: "details of an attempt that timed out reach the next",
		play: retried(workflow.ActivityOptions{HeartbeatTimeout: 3 * time.Second, RetryPolicy: quickly(2)},
			func(ctx context.Context, p *play, n int32) (string, error) {
				noteDetails(ctx, p, n)
				if n == 2 {
					return "done", nil
				}
				activity.RecordHeartbeat(ctx, progress{int(n), "palabra"})
				return deaf(ctx, p, n)
			}),
	},
	{
		name: "StartToClose time-out carries the details of the attempt before",
		play: retried(workflow.ActivityOptions{StartToCloseTimeout: 3 * time.Second, HeartbeatTimeout: time.Minute, RetryPolicy: quickly(2)},
			func(ctx context.Context, p *play, n int32) (string, error) {
				if n == 1 {
					activity.RecordHeartbeat(ctx, progress{int(n), "palabra"})
					return "", errors.New("no luck")
				}
				return deaf(ctx, p, n)
			}),
	},
	{
		name: "heartbeats keep a handler alive",
		play: func(p *play) {
			p.workerOptions.MaxHeartbeatThrottleInterval = 500 * ms
			retried(workflow.ActivityOptions{HeartbeatTimeout: 6 * time.Second, RetryPolicy: quickly(1)},
				func(ctx context.Context, _ *play, _ int32) (string, error) {
					beat := time.NewTicker(100 * ms)
					defer beat.Stop()
					for end := time.After(8 * time.Second); ; {
						select {
						case <-end:
							return "alive", nil
						case <-beat.C:
							activity.RecordHeartbeat(ctx)
						case <-ctx.Done():
							return "", context.Cause(ctx)
						}
					}
				})(p)
		},
	},
	{
		name: "heartbeat time-out longer than StartToClose",
		play: retried(workflow.ActivityOptions{StartToCloseTimeout: 200 * ms, HeartbeatTimeout: time.Hour, RetryPolicy: quickly(1)},
			func(ctx context.Context, p *play, n int32) (string, error) {
				p.seen.note("heartbeat time-out", activity.GetInfo(ctx).HeartbeatTimeout)
				return hang(ctx, p, n)
			}),
	},
	{
		name: "heartbeats by task token through the client",
		play: func(p *play) {
			p.activity("Act", func(ctx context.Context) (string, error) {
				err := activity.GetClient(ctx).RecordActivityHeartbeat(ctx, activity.GetInfo(ctx).TaskToken, progress{1, "palabra"})
				p.seen.note("accepted", err == nil)
				return "done", nil
			})
			p.workflow(func(ctx workflow.Context, see *notes) error {
				return noteResult[string](ctx, see, "call", workflow.ExecuteActivity(attempts(ctx, 1), "Act"))
			})
		},
		differs: map[string]string{"accepted": "The TaskToken of GetInfo means nothing to Temporal: it completes and heartbeats nothing through a client."},
	},
}

// A flood of heartbeats costs no Redis call: details travel with the lease.
func TestHeartbeatsCostNoRedisCalls(t *testing.T) {
	const beats = 10_000
	calls := redisCalls(t)
	var before, after int
	p := newPlay(t, routed)
	p.activity("Act", func(ctx context.Context) (int, error) {
		before = calls()
		for i := range beats {
			activity.RecordHeartbeat(ctx, progress{i, "palabra"})
		}
		after = calls()
		return beats, nil
	})
	p.workflow(func(ctx workflow.Context, see *notes) error {
		ctx = withOptions(ctx, workflow.ActivityOptions{HeartbeatTimeout: time.Minute})
		return noteResult[int](ctx, see, "call", workflow.ExecuteActivity(ctx, "Act"))
	})
	p.start()
	p.finish()
	require.Equal(t, "10000", p.outcome().text("call"))
	t.Logf("%d Redis commands beside %d heartbeats", after-before, beats)
	require.Less(t, after-before, beats/10, "the executor's own housekeeping, and no more")
}

// redisCalls returns a function that counts the commands that Redis has run so far, whoever sent them.
func redisCalls(t *testing.T) func() int {
	t.Helper()
	o, err := redis.ParseURL(stack.RedisURL())
	require.NoError(t, err)
	rdb := redis.NewClient(o)
	t.Cleanup(func() { require.NoError(t, rdb.Close()) })
	return func() (n int) {
		info, err := rdb.InfoMap(t.Context(), "commandstats").Result()
		if !assert.NoError(t, err) {
			return 0
		}
		for _, stats := range info["Commandstats"] {
			var calls int
			_, err := fmt.Sscanf(stats, "calls=%d", &calls)
			assert.NoError(t, err)
			n += calls
		}
		return n
	}
}
