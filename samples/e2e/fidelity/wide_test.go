package fidelity

import (
	"context"
	"flag"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"
)

// Not for the test without the sticky cache, where a server under load takes minutes for them.
var wideScenarios = []scenario{
	{name: "a hundred calls at once", play: fanOut(100)},
	{name: "a thousand calls at once", play: fanOut(1000)},
}

// fanOut plays n calls at once and notes what is wrong with their results.
func fanOut(n int) func(p *play) {
	return func(p *play) {
		p.activity("Act", func(_ context.Context, n int) (int, error) {
			if n%100 == 99 {
				return 0, temporal.NewNonRetryableApplicationError(fmt.Sprint("no ", n), "No", nil)
			}
			return 2 * n, nil
		})
		p.workflow(func(ctx workflow.Context, see *notes) error {
			ctx = withOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: 5 * time.Minute})
			calls := make([]workflow.Future, n)
			for i := range calls {
				calls[i] = workflow.ExecuteActivity(ctx, "Act", i)
			}
			sum, failed := 0, 0
			for i, call := range calls {
				var got int
				if err := call.Get(ctx, &got); err != nil {
					failed++
				} else if got != 2*i {
					see.note("wrong result", fmt.Sprint(i, got))
				}
				sum += got
			}
			see.note("sum", sum)
			see.note("failed", failed)
			return nil
		})
	}
}

var wide = flag.Bool("wide", false, "play 10,000 calls at once")

// A plain workflow may have 2,000 activities open, so there is nothing to compare with.
func TestTenThousandCallsAtOnce(t *testing.T) {
	if !*wide {
		t.Skip("add -wide: it takes a while under the race detector")
	}
	o := perform(t, scenario{play: fanOut(10_000)}, routed)
	require.Equal(t, "100", o.text("failed"))
	require.Equal(t, "98980200", o.text("sum"))
	require.Equal(t, "(nothing)", o.text("wrong result"))
}
