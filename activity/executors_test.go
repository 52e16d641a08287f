package activity

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// An announcement is renewed before it ends and when Redis has lost it. One that cannot be
// renewed is tried again soon, said once a minute and not every time.
func TestAnnouncementsAreRenewedUntilItWorks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &logRecorder{}
		w := &Worker{logger: log}
		ctx, cancel := context.WithCancel(t.Context())
		began := time.Now()
		var at []time.Duration
		lost := func(context.Context) bool { return len(at) == 10 }
		w.renew(ctx, lost, func(context.Context) error {
			at = append(at, time.Since(began))
			switch n := len(at); {
			case n == 11:
				cancel()
			case n > 1 && n < 10:
				return errors.New("redis is away")
			}
			return nil
		})
		want := []time.Duration{announceEvery}
		for k := range 9 {
			want = append(want, 2*announceEvery+time.Duration(k)*announcedEvery)
		}
		want = append(want, want[9]+announcedEvery)
		require.Equal(t, want, at)
		require.Len(t, log.at("warn"), 2, "one per minute at most")
		require.Len(t, log.at("info"), 1)
	})
}
