package activity

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	sdkactivity "go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"

	"github.com/slipstream-go/slipstream/batchqueue"
	"github.com/slipstream-go/slipstream/internal/wire"
)

// The pools of the former build in these tests.
var (
	leftUnpinned = UnpinnedPoolName("queue", "", "shop.old")
	leftPinned   = PoolName("queue", "", "shop.old")
)

// build starts a worker of a build on the site's task queue, which handles noContext.
func (s *site) build(t *testing.T, id string) worker.Worker {
	t.Helper()
	w := worker.New(s.client, "queue", worker.Options{DeploymentOptions: worker.DeploymentOptions{
		UseVersioning: true, Version: worker.WorkerDeploymentVersion{DeploymentName: "shop", BuildID: id},
	}})
	w.RegisterActivityWithOptions(func() (string, error) { return id, nil }, sdkactivity.RegisterOptions{Name: "noContext"})
	require.NoError(t, w.Start())
	return w
}

// put enqueues a task of a run of its own.
func (s *site) put(t *testing.T, pool, run, activityType string) {
	t.Helper()
	common, err := encodeAddress(&address{Namespace: "namespace", WorkflowID: run, RunID: run})
	require.NoError(t, err)
	_, err = s.queue.Enqueue(context.Background(), pool, &batchqueue.Wave{
		Run: run, ID: 1, Common: common, Slot: unknownSlot,
		Tasks: []batchqueue.Task{{Number: 1, Fingerprint: 9, Type: activityType, Payload: encodeCall(&call{}), Options: batchqueue.TaskOptions{StartToClose: time.Minute}}},
	})
	require.NoError(t, err)
}

// result waits for the run's outcome.
func (s *site) result(t *testing.T, run string) string {
	t.Helper()
	signal := s.frontend.signal(t)
	require.Equal(t, run, signal.GetWorkflowExecution().GetRunId())
	outcomes, err := wire.DecodeSignal(signal.GetInput())
	require.NoError(t, err)
	require.Len(t, outcomes, 1)
	return text(t, outcomes[0])
}

func (s *site) inherit(t *testing.T, party string) {
	t.Helper()
	require.NoError(t, s.queue.Inherit(context.Background(), "queue", party, leftUnpinned))
}

// What a former build has left for runs that are not pinned, the build that spoke last
// runs; what is pinned waits for the former build.
func TestTheHeirServesWhatAFormerBuildHasLeft(t *testing.T) {
	s := newSite(t, client.Options{})
	s.plugin.rt.o.Marks = map[string]string{"noContext": ""}
	s.build(t, "old").Stop()
	s.put(t, leftUnpinned, "unpinned", "noContext")
	s.put(t, leftUnpinned, "unheardof", "unheardof")
	s.put(t, leftPinned, "pinned", "noContext")
	s.inherit(t, "shop.new")
	bystander := s.build(t, "between")
	defer bystander.Stop()
	heir := s.build(t, "new")
	defer heir.Stop()
	require.Equal(t, "new", s.result(t, "unpinned"))
	require.Eventually(t, func() bool { return len(s.log.own("warn")) > 0 }, 5*time.Second, 10*time.Millisecond)
	warning := s.log.own("warn")[0]
	require.Contains(t, warning.message, "of types that this build does not register")
	require.Contains(t, fmt.Sprint(warning.keyvals), "ActivityTypes [unheardof]")
	for _, pool := range []string{leftUnpinned, leftPinned} {
		stats, err := s.queue.Stats(context.Background(), pool)
		require.NoError(t, err)
		require.EqualValues(t, 1, stats.Depth())
	}

	// The former build is back: its pools are its own again.
	old := s.build(t, "old")
	defer old.Stop()
	require.Equal(t, "old", s.result(t, "pinned"))
	require.Eventually(t, func() bool {
		return slices.ContainsFunc(s.log.at("info"), func(e logEntry) bool { return strings.Contains(e.message, "no longer serves") })
	}, 10*time.Second, 10*time.Millisecond)
	s.put(t, leftUnpinned, "again", "noContext")
	require.Equal(t, "old", s.result(t, "again"))
	require.Len(t, s.log.own("warn"), 1, "rate-limited")
}

// looker takes the looks of a keeper one by one, by a clock of its own.
type looker struct {
	*desk
	t     *testing.T
	now   time.Time
	lease time.Duration
	hold  chan struct{} // what handlers wait for
	fails error         // what starting an executor answers
}

func newLooker(t *testing.T) *looker {
	t.Helper()
	l := &looker{desk: newDesk(t, RuntimeOptions{Marks: map[string]string{"A": ""}}), t: t, now: time.Now(), hold: make(chan struct{})}
	l.w.registry.add(noContext, sdkactivity.RegisterOptions{Name: "A"})
	l.versioned("new")
	l.lease = l.queue.Lease()
	t.Cleanup(func() { stopAll(context.Background(), l.w.heirs.all(), time.Second, testLogger) })
	return l
}

// look lets time pass, looks, and returns how many executors serve and leave.
func (l *looker) look(after time.Duration) (serving, leaving int) {
	l.t.Helper()
	l.now = l.now.Add(after)
	require.NoError(l.t, l.try())
	return len(l.w.heirs.serving), len(l.w.heirs.leaving)
}

func (l *looker) try() error {
	return l.w.serveOrphans(context.Background(), l.now, func(pool string) (*batchqueue.Executor, error) {
		if l.fails != nil {
			return nil, l.fails
		}
		e, err := l.queue.NewExecutor(batchqueue.ExecutorOptions{
			Pool: pool, Types: []string{"A"}, Heir: true, DrainTimeout: time.Second,
			Handler: func(_ context.Context, d *batchqueue.Delivery) batchqueue.Result {
				<-l.hold
				return completing(d)
			},
			Deliver: func(context.Context, *batchqueue.Batch) error { return batchqueue.ErrRunDeaf },
		})
		require.NoError(l.t, err)
		return e, e.Start(context.Background())
	})
}

func (l *looker) says(party string) {
	l.t.Helper()
	require.NoError(l.t, l.queue.Inherit(context.Background(), testQueue, party, l.left()))
}

func (l *looker) left() string { return UnpinnedPoolName(testQueue, "", "shop.old") }

func (l *looker) requireLook(serving, leaving int, after time.Duration, why string) {
	l.t.Helper()
	s, v := l.look(after)
	require.Equal(l.t, [2]int{serving, leaving}, [2]int{s, v}, why)
}

func TestAnHeirWaitsForTwoLeasesOfAbsence(t *testing.T) {
	l := newLooker(t)
	defer close(l.hold)
	l.requireLook(0, 0, 0, "nobody said anything")
	l.says("shop.between")
	l.requireLook(0, 0, l.lease, "another build is the heir")
	l.requireLook(0, 0, 2*l.lease, "another build is the heir")
	l.says("shop.new")
	l.requireLook(0, 0, l.lease, "seen absent for the first time")
	l.redis.SetError("LOADING")
	l.now = l.now.Add(l.lease)
	require.Error(t, l.try())
	l.redis.SetError("")
	l.requireLook(0, 0, l.lease, "nobody could say that they are there: seen absent for the first time")
	l.requireLook(0, 0, l.lease, "not for long enough")
	l.fails = errors.New("cannot start")
	l.now = l.now.Add(l.lease)
	require.ErrorIs(t, l.try(), l.fails)
	l.fails = nil
	l.requireLook(1, 0, 0, "absent for two leases")
	l.redis.SetError("LOADING")
	l.now = l.now.Add(l.lease)
	require.Error(t, l.try())
	l.redis.SetError("")
	l.requireLook(1, 0, l.lease, "who serves goes on")
}

func TestAnHeirLeavesAndFinishesWhatItHas(t *testing.T) {
	l := newLooker(t)
	l.says("shop.new")
	l.look(0)
	l.requireLook(1, 0, 2*l.lease, "absent for two leases")
	_, err := l.queue.Enqueue(context.Background(), l.left(), &batchqueue.Wave{
		Run: "run", ID: 1, Slot: unknownSlot, Tasks: []batchqueue.Task{{Number: 1, Fingerprint: 9, Type: "A", Payload: encodeCall(&call{})}},
	})
	require.NoError(t, err)
	require.Eventually(t, func() bool { return l.w.heirs.serving[l.left()].Stats().Running == 1 }, 5*time.Second, time.Millisecond)

	l.says("shop.newer")
	l.requireLook(1, 0, l.lease, "a ramp makes the last word change all the time")
	l.says("shop.new")
	l.requireLook(1, 0, heirFor, "it spoke again")
	l.says("shop.newer")
	l.requireLook(0, 1, heirFor, "its handler runs on")
	l.requireLook(0, 1, time.Hour, "however long it takes")
	close(l.hold)
	require.Eventually(t, func() bool { return l.w.heirs.leaving[0].Stats().Held == 0 }, 5*time.Second, time.Millisecond)
	require.Eventually(t, func() bool {
		_, leaving := l.look(0)
		return leaving == 0
	}, 5*time.Second, time.Millisecond)
}

func TestAnHeirLeavesWhenThePoolIsAttended(t *testing.T) {
	l := newLooker(t)
	defer close(l.hold)
	l.says("shop.new")
	l.look(0)
	l.requireLook(1, 0, 2*l.lease, "absent for two leases")
	own, err := l.queue.NewExecutor(batchqueue.ExecutorOptions{
		Pool: l.left(), Types: []string{"A"},
		Handler: func(_ context.Context, d *batchqueue.Delivery) batchqueue.Result { return completing(d) },
		Deliver: func(context.Context, *batchqueue.Batch) error { return nil },
	})
	require.NoError(t, err)
	require.NoError(t, own.Start(context.Background()))
	require.Eventually(t, func() bool {
		attended, err := l.queue.Attended(context.Background(), l.left())
		return err == nil && attended
	}, 5*time.Second, time.Millisecond)
	l.requireLook(0, 0, l.lease, "the build is back")
	require.NoError(t, own.Stop(context.Background()))
	l.requireLook(0, 0, l.lease, "and gone again, not for long")
	l.requireLook(1, 0, 2*l.lease, "gone for two leases")
}

func TestAnHeirLeavesWhenNobodySpeaksAnyMore(t *testing.T) {
	l := newLooker(t)
	defer close(l.hold)
	l.says("shop.new")
	l.look(0)
	l.requireLook(1, 0, 2*l.lease, "absent for two leases")
	l.redis.FastForward(16 * time.Minute)
	l.requireLook(0, 0, l.lease, "no run asks about the pool")
}

func TestNobodyInheritsItsOwnPools(t *testing.T) {
	l := newLooker(t)
	defer close(l.hold)
	for _, pool := range l.w.pools() {
		require.NoError(t, l.queue.Inherit(context.Background(), testQueue, "shop.new", pool))
	}
	l.look(0)
	l.requireLook(0, 0, 2*l.lease, "their executors are another matter")
}
