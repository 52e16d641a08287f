package activity

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	deploymentpb "go.temporal.io/api/deployment/v1"
	enumspb "go.temporal.io/api/enums/v1"
	taskqueuepb "go.temporal.io/api/taskqueue/v1"
	"go.temporal.io/api/workflowservice/v1"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/slipstream-go/slipstream/batchqueue"
)

// poller is an entry of the server's list.
func poller(identity string, last time.Time) *taskqueuepb.PollerInfo {
	return &taskqueuepb.PollerInfo{Identity: identity, LastAccessTime: timestamppb.New(last)}
}

// see has the worker look around among these pollers and tells whether it holds.
func (d *desk) see(pollers ...*taskqueuepb.PollerInfo) bool {
	d.w.fleet.next = time.Time{}
	d.w.fleet.look(context.Background(), func(context.Context) (*workflowservice.DescribeTaskQueueResponse, error) {
		return &workflowservice.DescribeTaskQueueResponse{Pollers: pollers}, nil
	})
	return d.rt.Holds(testQueue)
}

func TestNoNewRunsAreRoutedBesideWorkersWithoutThePlugin(t *testing.T) {
	d := newDesk(t, RuntimeOptions{})
	now := time.Now()
	require.False(t, d.see(poller(d.w.identity, now)), "alone")
	require.False(t, d.see(poller(d.w.identity, now), poller("gone", now.Add(-2*pollLasts))))

	require.True(t, d.see(poller("stranger", now)), "it may have stopped, or not")
	require.Empty(t, d.w.fleet.reported)
	require.True(t, d.see(poller("stranger", now.Add(time.Second))))
	require.Equal(t, []string{"stranger"}, d.w.fleet.reported, "it polls")
	require.True(t, d.see(poller("stranger", now.Add(time.Second))), "and is in a long poll now")
	require.Equal(t, []string{"stranger"}, d.w.fleet.reported)
	require.False(t, d.rt.Holds("another task queue"))

	require.NoError(t, d.queue.Enlist(context.Background(), PoolName(testQueue, "", ""), "stranger", time.Minute))
	require.False(t, d.see(poller("stranger", now.Add(2*time.Second))), "it has the plugin by now")
}

// Redis loses with its data who has the plugin, also who had it and has stopped: they are in
// the server's list for as long as a poll lasts.
func TestALossOfRedisMakesNobodyAStranger(t *testing.T) {
	d := newDesk(t, RuntimeOptions{})
	now := time.Now()
	pool := PoolName(testQueue, "", "")
	require.NoError(t, d.queue.Enlist(context.Background(), pool, "known", enlistedFor))
	require.False(t, d.see(poller("known", now)))
	d.redis.FlushAll()
	require.False(t, d.see(poller("known", now.Add(time.Second))))
	require.True(t, d.see(poller("known", now), poller("stranger", now)))

	d.w.fleet.enlisted["known"] = now.Add(-rememberedFor - time.Second)
	require.True(t, d.see(poller("known", now)), "for so long somebody else may have the name")
}

// Nor does it so for a worker that starts after the loss: whose executors are present has
// the plugin, whether Redis was told again or not.
func TestWhoseExecutorsArePresentIsNoStranger(t *testing.T) {
	d := newDesk(t, RuntimeOptions{})
	e, err := d.queue.NewExecutor(batchqueue.ExecutorOptions{
		Pool: PoolName(testQueue, "", ""), Worker: "known", Types: []string{"A"},
		Handler: func(_ context.Context, d *batchqueue.Delivery) batchqueue.Result { return completing(d) },
		Deliver: func(context.Context, *batchqueue.Batch) error { return nil },
	})
	require.NoError(t, err)
	require.NoError(t, e.Start(context.Background()))
	defer func() { require.NoError(t, e.Stop(context.Background())) }()
	require.Eventually(t, func() bool { return !d.see(poller("known", time.Now())) }, 5*time.Second, 10*time.Millisecond)
	require.True(t, d.see(poller("known", time.Now()), poller("stranger", time.Now())))
}

func TestPollersOfOtherBuildsDoNotMatter(t *testing.T) {
	d := newDesk(t, RuntimeOptions{})
	other := poller("other build", time.Now())
	other.DeploymentOptions = &deploymentpb.WorkerDeploymentOptions{
		DeploymentName: "d", BuildId: "b", WorkerVersioningMode: enumspb.WORKER_VERSIONING_MODE_VERSIONED,
	}
	require.False(t, d.see(other))
	d.w.build = "d.b"
	require.True(t, d.see(other))
}

func TestADisabledPluginLooksAtNobody(t *testing.T) {
	d := newDesk(t, RuntimeOptions{Disabled: true})
	require.False(t, d.see(poller("stranger", time.Now())))
	enlisted, err := d.queue.Enlisted(context.Background(), PoolName(testQueue, "", ""))
	require.NoError(t, err)
	require.Contains(t, enlisted, d.w.identity, "but it says that it is there")
}

func TestWhatCannotBeFoundOutChangesNothing(t *testing.T) {
	d := newDesk(t, RuntimeOptions{})
	require.True(t, d.see(poller("stranger", time.Now())))
	d.w.fleet.next = time.Time{}
	d.w.fleet.look(context.Background(), func(context.Context) (*workflowservice.DescribeTaskQueueResponse, error) {
		return nil, errors.New("permission denied")
	})
	require.True(t, d.rt.Holds(testQueue))
	d.redis.Close()
	require.True(t, d.see(poller(d.w.identity, time.Now())))
	require.NoError(t, d.redis.Restart())
	require.False(t, d.see(poller(d.w.identity, time.Now())))
}

func TestWorkersLookAroundNowAndThen(t *testing.T) {
	d := newDesk(t, RuntimeOptions{})
	looks := 0
	for range 3 {
		d.w.fleet.look(context.Background(), func(context.Context) (*workflowservice.DescribeTaskQueueResponse, error) {
			looks++
			return &workflowservice.DescribeTaskQueueResponse{}, nil
		})
	}
	require.Equal(t, 1, looks)
}

// Redis loses who has the plugin, and is away when a worker comes to say it again: others
// that start must not take it for a stranger for long.
func TestWhoCouldNotEnlistTriesAgainSoon(t *testing.T) {
	d := newDesk(t, RuntimeOptions{})
	f := &d.w.fleet
	look := func() time.Duration {
		f.next = time.Time{}
		began := time.Now()
		f.look(context.Background(), func(context.Context) (*workflowservice.DescribeTaskQueueResponse, error) {
			return nil, errors.New("permission denied")
		})
		return f.next.Sub(began)
	}
	f.began = time.Now().Add(-lookOftenFor)
	require.InDelta(t, lookSeldom, look(), float64(time.Second), "what the server does not tell it will not tell soon")
	d.redis.Close()
	require.InDelta(t, lookOften, look(), float64(time.Second))
	require.NoError(t, d.redis.Restart())
	require.InDelta(t, lookSeldom, look(), float64(time.Second))
}
