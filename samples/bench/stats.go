package main

import (
	"math"
	"slices"
)

// summary is the spread of a figure over the repetitions of a variant.
type summary struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

// summarize returns the zero summary of no values.
func summarize(values []float64) summary {
	if len(values) == 0 {
		return summary{}
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	median := sorted[middle]
	if len(sorted)%2 == 0 {
		median = (sorted[middle-1] + sorted[middle]) / 2
	}
	return summary{Median: median, Min: sorted[0], Max: sorted[len(sorted)-1]}
}

// quantile is the smallest value that a share of q of all values does not exceed. sorted must be so; of none it is 0.
func quantile(sorted []float64, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	rank := int(math.Ceil(q * float64(len(sorted))))
	return sorted[min(max(rank, 1), len(sorted))-1]
}

// latency is how long single things took, in milliseconds.
type latency struct {
	P50 float64 `json:"p50_ms"`
	P95 float64 `json:"p95_ms"`
	P99 float64 `json:"p99_ms"`
	Max float64 `json:"max_ms"`
	// Curve has the quantiles that curveShares names, for plots.
	Curve []float64 `json:"curve_ms"`
}

// curveShares are the quantiles of a curve: close together where tails are.
var curveShares = func() []float64 {
	var shares []float64
	for percent := range 99 {
		shares = append(shares, float64(percent+1)/100)
	}
	return append(shares, 0.995, 0.999, 0.9995, 0.9999, 1)
}()

// latencyOf sorts ms in place. It returns nil when there are none.
func latencyOf(ms []float64) *latency {
	if len(ms) == 0 {
		return nil
	}
	slices.Sort(ms)
	l := &latency{P50: quantile(ms, 0.50), P95: quantile(ms, 0.95), P99: quantile(ms, 0.99), Max: quantile(ms, 1)}
	for _, q := range curveShares {
		l.Curve = append(l.Curve, quantile(ms, q))
	}
	return l
}
