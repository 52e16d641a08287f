package batchqueue

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestStoredFormatsRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bytes := rapid.SliceOfN(rapid.Byte(), 1, 50)
		task := Task{Number: 1, Fingerprint: rapid.Uint64().Draw(t, "fingerprint"), Payload: bytes.Draw(t, "payload")}
		for _, at := range []position{{option: 300}, {option: 300, planned: true, plan: 200, step: rapid.IntRange(0, MaxSteps).Draw(t, "step")}} {
			fingerprint, back, payload, err := decodeEntry(encodeEntry(task.Fingerprint, at, task.Payload))
			require.NoError(t, err)
			require.Equal(t, task.Fingerprint, fingerprint)
			require.Equal(t, at, back)
			require.Equal(t, task.Payload, payload)
		}

		duration := rapid.Custom(func(t *rapid.T) time.Duration { return time.Duration(rapid.Int64Range(0, 1<<60).Draw(t, "d")) })
		c := commonData{user: bytes.Draw(t, "user")}
		for range rapid.IntRange(0, 3).Draw(t, "options") {
			c.options = append(c.options, TaskOptions{
				ScheduleToStart: duration.Draw(t, "a"), ScheduleToClose: duration.Draw(t, "b"),
				StartToClose: duration.Draw(t, "c"), Heartbeat: duration.Draw(t, "d"),
				Retry: RetryPolicy{InitialInterval: duration.Draw(t, "e"), BackoffCoefficient: rapid.Float64Range(1, 100).Draw(t, "f"),
					MaximumInterval: duration.Draw(t, "g"), MaximumAttempts: rapid.IntRange(0, 100).Draw(t, "h"),
					FinalStartToClose: rapid.Bool().Draw(t, "i"), FinalHeartbeat: rapid.Bool().Draw(t, "j")},
			})
		}
		back, err := decodeCommon(encodeCommon(c))
		require.NoError(t, err)
		require.Equal(t, c, back)

		planned := Task{Then: []Step{{Type: "B", Payload: bytes.Draw(t, "fixed")}, {Type: "C", Options: TaskOptions{Heartbeat: 1}}}}
		at := c.positionOf(&planned)
		back, err = decodeCommon(encodeCommon(c))
		require.NoError(t, err)
		require.Equal(t, c, back)
		require.Equal(t, planned.Then, back.plans[at.plan].steps)
		same := Task{Options: planned.Options, Then: slices.Clone(planned.Then)}
		require.Equal(t, at, c.positionOf(&same), "equal steps are stored once")
		require.Len(t, c.plans, 1)

		o := Outcome{Number: 7, Fingerprint: 8, Kind: Kind(rapid.IntRange(1, 8).Draw(t, "kind")), Step: rapid.IntRange(0, MaxSteps).Draw(t, "step"), Retry: RetryMaximumAttempts,
			Attempt: rapid.IntRange(0, 1000).Draw(t, "attempt"), Executor: "me", Payload: bytes.Draw(t, "result"),
			LastFailure: bytes.Draw(t, "last"), Details: bytes.Draw(t, "details")}
		got, err := decodeOutcome("7:" + fingerprintBytes(8) + "waveids!" + string(encodeOutcome(&o)))
		require.NoError(t, err)
		require.Equal(t, o, got)
	})
}

// Executors of the release before know no steps; what they can run looks as it did.
func TestTasksWithoutStepsAreStoredAsBefore(t *testing.T) {
	var c commonData
	require.EqualValues(t, 1, encodeEntry(1, c.positionOf(&Task{}), nil)[8])
	require.EqualValues(t, 1, encodeCommon(c)[0])
	require.EqualValues(t, 2, encodeEntry(1, c.positionOf(&Task{Then: []Step{{Type: "B"}}}), nil)[8])
	require.EqualValues(t, 2, encodeCommon(c)[0])
	require.EqualValues(t, KindCompleted, encodeOutcome(&Outcome{Kind: KindCompleted})[0])
}

func TestNewerFormatsAreToldApart(t *testing.T) {
	entry := encodeEntry(1, position{}, nil)
	entry[8] = stepsVersion + 1
	_, _, _, err := decodeEntry(entry)
	var newer unknownVersionError
	require.ErrorAs(t, err, &newer)
	_, err = decodeCommon([]byte{stepsVersion + 1})
	require.ErrorAs(t, err, &newer)
}

func FuzzDecode(f *testing.F) {
	f.Add("7:12345678abcdefgh\x01")
	f.Add("7:12345678abcdefghS3:1:why")
	f.Add("12345678\x02\x00\x01\x02payload")
	f.Add("")
	f.Fuzz(func(_ *testing.T, s string) {
		// Whatever is stored, decoding ends in a value or an error.
		_, _ = decodeOutcome(s)
		_, _, _, _ = decodeEntry([]byte(s))
		_, _ = decodeCommon([]byte(s))
		_, _ = parseMetadata(s)
		_, _ = decodeRun(s)
	})
}
