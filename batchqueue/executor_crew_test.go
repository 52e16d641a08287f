package batchqueue

import (
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-go/slipstream/internal/redistest"
)

func TestCrew(t *testing.T) {
	running, gate, returned := make(chan struct{}), make(chan struct{}), make(chan struct{}, 10)
	c := newCrew(func(cl *claim) {
		defer func() { returned <- struct{}{} }()
		running <- struct{}{}
		<-gate
		if cl.canceled {
			runtime.Goexit()
		}
	})
	start := func(n int, claimed *claim) {
		for range n {
			go c.run(claimed)
			<-running
		}
	}
	finish := func(n int) {
		for range n {
			gate <- struct{}{}
			<-returned
		}
	}
	idle := func(what string, n int64) {
		t.Helper()
		redistest.Eventually(t, 10*time.Second, what, func() bool { return c.idle.Load() == n })
	}

	start(8, &claim{}) // nobody waits for another's handler
	finish(8)
	idle("all stay", 8)
	for range 20 {
		start(1, &claim{})
		finish(1)
		redistest.Eventually(t, 10*time.Second, "it is idle again", func() bool { return c.idle.Load() >= 8 })
	}
	require.Less(t, c.idle.Load(), int64(18), "those that were there took the claims")
	redistest.Eventually(t, 10*time.Second, "no work, no members", func() bool { c.trim(); return c.idle.Load() == 0 })

	start(1, &claim{canceled: true})
	finish(1) // and with it its goroutine
	start(2, &claim{})
	finish(1)
	idle("one stays", 1)
	c.dismiss()
	gone := make(chan struct{})
	go func() { c.wait(); close(gone) }()
	idle("it goes", 0)
	select {
	case <-gone:
		t.Fatal("a handler runs still")
	default:
	}
	finish(1)
	<-gone
}
