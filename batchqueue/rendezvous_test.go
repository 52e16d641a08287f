package batchqueue

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

func fleet(n int, types ...string) []presence {
	out := make([]presence, n)
	for i := range out {
		out[i] = presence{Executor: fmt.Sprintf("executor-%d", i), Types: types}
	}
	return out
}

func TestHomesAreTheSameForEverybody(t *testing.T) {
	all := fleet(7, "A", "B")
	other := slices.Clone(all)
	slices.Reverse(other)
	other[3].Types = []string{"B", "A"}
	for slot := range 100 {
		require.Equal(t, homes(slot, all), homes(slot, other))
		require.Len(t, homes(slot, all), homesPerSlot)
	}
	require.Equal(t, []string{"executor-0"}, homes(3, all[:1]))
	require.Empty(t, homes(3, nil))
}

func TestHomesAreSpreadEvenly(t *testing.T) {
	count := make(map[string]int)
	const slots = 1024
	for slot := range slots {
		for _, name := range homes(slot, fleet(8, "A")) {
			count[name]++
		}
	}
	for name, n := range count {
		require.InDelta(t, slots*homesPerSlot/8, n, slots*homesPerSlot/8/3, name)
	}
}

// When one leaves, only its slots move.
func TestHomesMoveOnlyWhereTheyMust(t *testing.T) {
	all := fleet(10, "A")
	for slot := range 200 {
		before := homes(slot, all)
		after := homes(slot, all[1:])
		if !slices.Contains(before, "executor-0") {
			require.Equal(t, before, after)
		} else {
			kept := slices.DeleteFunc(before, func(s string) bool { return s == "executor-0" })
			require.Contains(t, after, kept[0])
		}
	}
}

// In a rolling deploy, the tasks of a new type have a home too.
func TestEverySetOfTypesHasItsHomes(t *testing.T) {
	old, young := fleet(20, "A"), fleet(3, "A", "B")
	for i := range young {
		young[i].Executor = fmt.Sprintf("young-%d", i)
	}
	for slot := range 50 {
		names := homes(slot, append(slices.Clone(old), young...))
		n := 0
		for _, p := range young {
			if slices.Contains(names, p.Executor) {
				n++
			}
		}
		require.Equal(t, homesPerSlot, n)
		require.Len(t, names, 2*homesPerSlot)
	}
}
