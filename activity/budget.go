package activity

import (
	"context"
	"sync"

	sdkactivity "go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/interceptor"

	"github.com/slipstream-go/slipstream/batchqueue"
)

// newBudget makes one budget of the limits that the user set for the worker: for its
// executors, and for marked activities that the SDK runs (protocol Q10). The SDK's own
// limits go on for all that it polls, so those obey both.
func (w *Worker) newBudget(concurrency int) (*batchqueue.Budget, error) {
	return batchqueue.NewBudget(batchqueue.BudgetOptions{
		Concurrency:   concurrency,
		RatePerSecond: limitOf(w.options.WorkerActivitiesPerSecond),
	})
}

// unlimitedRate is the SDK's default for activities per second.
const unlimitedRate = 100_000

// limitOf is a rate that the user set, 0 if none. The SDK fills in a default that means
// none.
func limitOf(rate float64) float64 {
	if rate < unlimitedRate {
		return max(0, rate)
	}
	return 0
}

// budgetOf returns the budget that an activity the SDK runs counts against; nil where
// it is unmarked, local, or a routed call, which has its permit from its executor.
func budgetOf(ctx context.Context) *batchqueue.Budget {
	w := workerFrom(ctx)
	if w == nil || w.budget == nil {
		return nil
	}
	info := sdkactivity.GetInfo(ctx)
	if _, marked := w.rt.o.Marks[info.ActivityType.Name]; !marked || info.IsLocalActivity {
		return nil
	}
	return w.budget
}

// guest holds a permit of the worker's budget around a marked activity that the SDK runs.
// It stands first in the chain, so the user's interceptors see the activity begin when
// it does.
type guest struct {
	interceptor.ActivityInboundInterceptorBase
	budget *batchqueue.Budget
	// outbound is the SDK's own: nobody else shall see heartbeats that the activity did
	// not make.
	outbound interceptor.ActivityOutboundInterceptor
}

func (g *guest) Init(outbound interceptor.ActivityOutboundInterceptor) error {
	g.outbound = outbound
	return g.Next.Init(outbound)
}

// ExecuteActivity returns the context's error if that ends before there is a permit; the
// SDK then reports what it reports of an activity that returns it.
func (g *guest) ExecuteActivity(ctx context.Context, in *interceptor.ExecuteActivityInput) (any, error) {
	if err := g.enter(ctx); err != nil {
		return nil, err
	}
	defer g.budget.Release()
	return g.Next.ExecuteActivity(ctx, in)
}

// enter waits for a permit. The server counts the wait as part of the attempt: to keep
// it, heartbeats are sent. They would wipe out what the attempt before has left, and
// where there is such progress it is worth more than the attempt: then the wait ends
// when the server gives the attempt up.
func (g *guest) enter(ctx context.Context) error {
	timeout := g.outbound.GetInfo(ctx).HeartbeatTimeout
	switch {
	case timeout <= 0:
		return g.budget.Acquire(ctx)
	case g.outbound.HasHeartbeatDetails(ctx):
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		return g.budget.Acquire(ctx)
	}
	var beats sync.WaitGroup
	waiting, served := context.WithCancel(ctx)
	beats.Go(func() {
		for sleep(waiting, timeout/2) {
			// Not with waiting: the SDK uses this context for what the activity reports next.
			g.outbound.RecordHeartbeat(ctx)
		}
	})
	err := g.budget.Acquire(ctx)
	served()
	beats.Wait() // a heartbeat of ours must not come after one of the activity's
	return err
}
