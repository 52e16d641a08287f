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
