package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSummarize(t *testing.T) {
	for name, tc := range map[string]struct {
		values []float64
		want   summary
	}{
		"none":        {nil, summary{}},
		"one":         {[]float64{3}, summary{3, 3, 3}},
		"odd":         {[]float64{9, 1, 4}, summary{4, 1, 9}},
		"even":        {[]float64{8, 2, 4, 6}, summary{5, 2, 8}},
		"one outlier": {[]float64{2, 2, 2, 2, 1000}, summary{2, 2, 1000}},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, tc.want, summarize(tc.values))
		})
	}
	values := []float64{2, 1}
	summarize(values)
	require.Equal(t, []float64{2, 1}, values, "the values stay in their order")
}

func TestQuantile(t *testing.T) {
	hundred := make([]float64, 100) // 1 to 100
	for i := range hundred {
		hundred[i] = float64(i + 1)
	}
	for q, want := range map[float64]float64{0: 1, 0.005: 1, 0.5: 50, 0.501: 51, 0.99: 99, 0.995: 100, 1: 100} {
		require.InDelta(t, want, quantile(hundred, q), 0, "q %v", q)
	}
	require.Zero(t, quantile(nil, 0.5))
	require.InDelta(t, 7, quantile([]float64{7}, 0.99), 0)
}

func TestLatency(t *testing.T) {
	require.Nil(t, latencyOf(nil))
	l := latencyOf([]float64{4, 1, 3, 2})
	require.Equal(t, [4]float64{2, 4, 4, 4}, [4]float64{l.P50, l.P95, l.P99, l.Max})
	require.Len(t, l.Curve, len(curveShares))
	require.IsNonDecreasing(t, l.Curve)
	require.IsIncreasing(t, curveShares)
}
