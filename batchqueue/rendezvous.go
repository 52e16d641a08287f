package batchqueue

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// homesPerSlot executors wait on a slot's bell: one may be busy or just gone.
const homesPerSlot = 2

// homes returns the home executors of a slot, best first: for each set of types that
// present executors handle, the homesPerSlot with the highest scores. Usually all
// handle the same types and there are two. In a rolling deploy the newer ones handle a
// type more, and its tasks must not wait for executors that cannot take them.
//
// Rendezvous hashing: everybody computes the same from the same list, and a change of
// the list moves only the slots that it must.
func homes(slot int, present []presence) []string {
	ranked := slices.Clone(present)
	slices.SortFunc(ranked, func(a, b presence) int {
		return cmp.Or(cmp.Compare(score(slot, b.Executor), score(slot, a.Executor)), cmp.Compare(a.Executor, b.Executor))
	})
	var names []string
	taken := make(map[string]int)
	for _, p := range ranked {
		types := slices.Sorted(slices.Values(p.Types))
		if kind := strings.Join(types, "\x00"); taken[kind] < homesPerSlot {
			taken[kind]++
			names = append(names, p.Executor)
		}
	}
	return names
}

// score is FNV-1a over both names with a finalizer, since FNV alone leaves names that
// differ in the last character next to each other.
func score(slot int, executor string) uint64 {
	h := uint64(14695981039346656037)
	for _, s := range [2]string{strconv.Itoa(slot) + "/", executor} {
		for i := range len(s) {
			h = (h ^ uint64(s[i])) * 1099511628211
		}
	}
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return h ^ h>>31
}
