package outage

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var start = time.Unix(1000, 0)

func failed(t *testing.T, o *Outage, after time.Duration, failures int) {
	t.Helper()
	n, say := o.Failed(start.Add(after))
	require.Equal(t, failures > 0, say)
	require.Equal(t, failures, n)
}

func TestARowOfFailuresIsThreeLines(t *testing.T) {
	o := &Outage{}
	failed(t, o, 0, 1)
	for range 99 {
		failed(t, o, time.Second, 0)
	}
	failed(t, o, time.Minute, 100)
	failed(t, o, time.Minute, 0)
	n, lasted, say := o.Worked(start.Add(90 * time.Second))
	require.True(t, say)
	require.Equal(t, 1, n)
	require.Equal(t, 90*time.Second, lasted)
	_, _, say = o.Worked(start.Add(91 * time.Second))
	require.False(t, say, "said already")
}

func TestWhatComesAndGoesIsMentionedOnceAMinute(t *testing.T) {
	o := &Outage{}
	failed(t, o, 0, 1)
	_, _, say := o.Worked(start)
	require.True(t, say)
	for i := range 59 {
		failed(t, o, time.Duration(i+1)*time.Second, 0)
		_, _, say := o.Worked(start.Add(time.Duration(i+1) * time.Second))
		require.False(t, say)
	}
	failed(t, o, time.Minute, 60)
}
