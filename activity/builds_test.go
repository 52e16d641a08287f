package activity

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/worker"
	sdkworkflow "go.temporal.io/sdk/workflow"

	"github.com/slipstream-go/slipstream/batchqueue"
	"github.com/slipstream-go/slipstream/internal/wire"
)

// versioned makes the desk's worker one of a deployment.
func (d *desk) versioned(build string) {
	d.w.options.DeploymentOptions = worker.DeploymentOptions{
		UseVersioning: true, Version: worker.WorkerDeploymentVersion{DeploymentName: "shop", BuildID: build},
	}
	d.w.settle()
}

// as sets the behavior of the test environment's workflow.
func (d *desk) as(behavior sdkworkflow.VersioningBehavior) {
	d.w.options.DeploymentOptions.DefaultVersioningBehavior = behavior
}

func (d *desk) heir(t *testing.T) batchqueue.Inheritance {
	t.Helper()
	i, err := d.queue.Inheritance(context.Background(), testQueue)
	require.NoError(t, err)
	return i
}

func TestUnpinnedPoolsHaveNamesOfTheirOwn(t *testing.T) {
	parts := []string{"", "q", "a/b", "a@b", "a%2fb", "unpinned", "@unpinned", "a@unpinned"}
	seen := map[string]bool{}
	for _, queue := range parts[1:] {
		for _, pool := range parts {
			for _, build := range parts {
				names := []string{PoolName(queue, pool, build)}
				require.Equal(t, build == "", isUnpinned(names[0], queue), names[0])
				if build != "" {
					names = append(names, UnpinnedPoolName(queue, pool, build))
					require.True(t, isUnpinned(names[1], queue), names[1])
				}
				for _, name := range names {
					require.False(t, seen[name], name)
					seen[name] = true
					require.False(t, isUnpinned(name, queue+"2"), name)
					require.False(t, isUnpinned(name, queue[:len(queue)-1]), name)
				}
			}
		}
	}
	require.Equal(t, "q/p@shop.v1", PoolName("q", "p", "shop.v1"))
	require.Equal(t, "q/p@shop.v1@unpinned", UnpinnedPoolName("q", "p", "shop.v1"))
}

func flow(sdkworkflow.Context) error { return nil }

func TestBehaviorsFollowTheRegistrations(t *testing.T) {
	const (
		pinned = sdkworkflow.VersioningBehaviorPinned
		auto   = sdkworkflow.VersioningBehaviorAutoUpgrade
	)
	b := newBehaviors()
	b.add(flow, sdkworkflow.RegisterOptions{VersioningBehavior: pinned})
	b.add(flow, sdkworkflow.RegisterOptions{Name: "named", VersioningBehavior: auto})
	b.add(flow, sdkworkflow.RegisterOptions{Name: "default"})
	b.add(&struct{}{}, sdkworkflow.RegisterOptions{Name: "factory", VersioningBehavior: auto}) // a definition's factory
	of := func(name string, aliasing bool) any {
		behavior, ok := b.of(name, aliasing)
		if !ok {
			return "default"
		}
		return behavior
	}
	require.Equal(t, pinned, of("flow", false))
	require.Equal(t, auto, of("named", true))
	require.Equal(t, auto, of("factory", true))
	require.Equal(t, "default", of("default", true))
	require.Equal(t, "default", of("flow", true), "the function's name means the last name it was registered under")
	require.Equal(t, "default", of("unheardof", true))
	b.addDynamic(sdkworkflow.DynamicRegisterOptions{LoadDynamicRuntimeOptions: func(d sdkworkflow.LoadDynamicRuntimeOptionsDetails) (o sdkworkflow.DynamicRuntimeOptions, err error) {
		if d.WorkflowType.Name != "dynamic" {
			err = errors.New("unknown")
		}
		o.VersioningBehavior = auto
		return o, err
	}})
	require.Equal(t, auto, of("dynamic", true))
	require.Equal(t, "default", of("unheardof", true))
	require.Equal(t, "default", of("default", true))
}

func TestDispatchKeepsUnpinnedRunsApart(t *testing.T) {
	d := newDesk(t, RuntimeOptions{})
	d.versioned("b1")
	pools := map[sdkworkflow.VersioningBehavior]string{
		sdkworkflow.VersioningBehaviorPinned:      PoolName(testQueue, "", "shop.b1"),
		sdkworkflow.VersioningBehaviorAutoUpgrade: UnpinnedPoolName(testQueue, "", "shop.b1"),
	}
	number := uint64(0)
	for _, behavior := range []sdkworkflow.VersioningBehavior{sdkworkflow.VersioningBehaviorPinned, sdkworkflow.VersioningBehaviorAutoUpgrade} {
		require.Empty(t, d.heir(t))
		d.as(behavior)
		d.announce(t, pools[behavior], "A")
		number++
		m := d.dispatch(t, waveOf(callOf(number, "A")))
		require.Equal(t, []wire.State{wire.StateQueued}, states(m))
		require.Equal(t, pools[behavior], m.Addresses[0].Pool)
	}
	require.Equal(t, batchqueue.Inheritance{Heir: "shop.b1", Pools: []string{UnpinnedPoolName(testQueue, "", "shop.b1")}}, d.heir(t))
}

func TestWorkersWithoutVersioningSayNothingOfTheirOwnPools(t *testing.T) {
	d := newDesk(t, RuntimeOptions{})
	d.serve(testQueue)
	d.announce(t, testQueue, "A")
	m := d.dispatch(t, waveOf(callOf(1, "A")))
	d.reconcile(t, &wire.Ask{Open: []wire.OpenCall{{
		Identity: wire.Identity{RunID: m.RunID, Number: 1, Fingerprint: m.Answers[0].Fingerprint}, Address: m.Addresses[0], Type: "A",
	}}})
	require.Empty(t, d.heir(t))
}

// serve makes the worker one that has executors of the pools.
func (d *desk) serve(pools ...string) {
	d.w.executors = executors{}
	for _, pool := range pools {
		d.w.executors[pool] = &batchqueue.Executor{}
	}
}

// A run keeps to the pools that its record names. Where no mark names one any more, or nobody registers what is marked for
// it, this worker is asked for tasks there.
func TestAPoolThatTheWorkerDoesNotServeIsInherited(t *testing.T) {
	marks := map[string]string{"A": "fast", "unregistered": "marked"}
	d := newDesk(t, RuntimeOptions{Marks: marks})
	d.serve(PoolName(testQueue, "", ""), PoolName(testQueue, "fast", ""))
	for _, pool := range []string{"", "fast", "slow", "marked"} {
		d.w.inherit(context.Background(), PoolName(testQueue, pool, ""))
	}
	inheritance := d.heir(t)
	require.Empty(t, inheritance.Heir)
	require.ElementsMatch(t, []string{PoolName(testQueue, "slow", ""), PoolName(testQueue, "marked", "")}, inheritance.Pools)
}

// A legacy build ID says nothing about moving: its runs are taken for pinned.
func TestLegacyBuildsArePinned(t *testing.T) {
	d := newDesk(t, RuntimeOptions{})
	d.w.options.BuildID, d.w.options.UseBuildIDForVersioning = "b1", true //nolint:staticcheck // deprecated, but workers use it
	d.as(sdkworkflow.VersioningBehaviorAutoUpgrade)
	d.w.settle()
	d.announce(t, PoolName(testQueue, "", "b1"), "A")
	m := d.dispatch(t, waveOf(callOf(1, "A")))
	require.Equal(t, testQueue+"@b1", m.Addresses[0].Pool)
	require.Empty(t, d.heir(t))
	require.Equal(t, []string{testQueue + "@b1"}, d.w.pools())
}

// A run that asks was given to the worker that it asks: where its calls live in a pool
// for unpinned runs, the worker's build may run them, whatever the type is now.
func TestAsksMakeAnHeir(t *testing.T) {
	d := newDesk(t, RuntimeOptions{})
	d.versioned("b2")
	d.as(sdkworkflow.VersioningBehaviorPinned)
	ask := func(pool string) batchqueue.Inheritance {
		d.redis.FlushAll()
		d.w.words = words{}
		d.reconcile(t, &wire.Ask{Open: []wire.OpenCall{{Identity: wire.Identity{RunID: testRun, Number: 1, Fingerprint: 1}, Address: wire.Address{Pool: pool}, Type: "A"}}})
		return d.heir(t)
	}
	for _, pool := range []string{UnpinnedPoolName(testQueue, "", "shop.b1"), UnpinnedPoolName(testQueue, "p", "shop.b2"), testQueue, testQueue + "/p"} {
		require.Equal(t, batchqueue.Inheritance{Heir: "shop.b2", Pools: []string{pool}}, ask(pool))
	}
	for _, pool := range []string{PoolName(testQueue, "", "shop.b1"), UnpinnedPoolName("elsewhere", "", "shop.b1"), "elsewhere"} {
		require.Empty(t, ask(pool))
	}

	// Back to workers without versioning: they have no name, and inherit all the same.
	d.w.options.DeploymentOptions = worker.DeploymentOptions{}
	d.w.build, d.w.deployed = "", false
	d.serve(testQueue)
	require.Empty(t, ask(testQueue))
	pool := UnpinnedPoolName(testQueue, "", "shop.b1")
	require.Equal(t, batchqueue.Inheritance{Pools: []string{pool}}, ask(pool))
}

func TestTheWordIsGivenOnceInAWhile(t *testing.T) {
	d := newDesk(t, RuntimeOptions{})
	d.versioned("b2")
	pool := UnpinnedPoolName(testQueue, "", "shop.b1")
	d.redis.SetError("LOADING")
	d.w.inherit(context.Background(), pool)
	d.redis.SetError("")
	require.Empty(t, d.heir(t))
	d.w.inherit(context.Background(), pool)
	require.Equal(t, "shop.b2", d.heir(t).Heir, "what failed is said again at once")
	require.NoError(t, d.queue.Inherit(context.Background(), testQueue, "shop.b3", pool))
	d.w.inherit(context.Background(), pool)
	require.Equal(t, "shop.b3", d.heir(t).Heir)
	for p := range d.w.words.given {
		d.w.words.given[p] = d.w.words.given[p].Add(-inheritEvery)
	}
	d.w.inherit(context.Background(), UnpinnedPoolName(testQueue, "", "shop.b0"))
	require.Len(t, d.w.words.given, 1, "old words are forgotten")
	d.w.inherit(context.Background(), pool)
	require.Equal(t, "shop.b2", d.heir(t).Heir)
}
