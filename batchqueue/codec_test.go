package batchqueue

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestStoredFormatsRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bytes := rapid.SliceOfN(rapid.Byte(), 1, 50)
		task := Task{Number: 1, Fingerprint: rapid.Uint64().Draw(t, "fingerprint"), Payload: bytes.Draw(t, "payload")}
		fingerprint, option, payload, err := decodeEntry(encodeEntry(&task, 300))
		require.NoError(t, err)
		require.Equal(t, task.Fingerprint, fingerprint)
		require.Equal(t, 300, option)
		require.Equal(t, task.Payload, payload)

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

		o := Outcome{Number: 7, Fingerprint: 8, Kind: Kind(rapid.IntRange(1, 8).Draw(t, "kind")), Retry: RetryMaximumAttempts,
			Attempt: rapid.IntRange(0, 1000).Draw(t, "attempt"), Executor: "me", Payload: bytes.Draw(t, "result"),
			LastFailure: bytes.Draw(t, "last"), Details: bytes.Draw(t, "details")}
		got, err := decodeOutcome("7:" + fingerprintBytes(8) + "waveids!" + string(encodeOutcome(&o)))
		require.NoError(t, err)
		require.Equal(t, o, got)
	})
}

func TestNewerFormatsAreToldApart(t *testing.T) {
	entry := encodeEntry(&Task{Number: 1}, 0)
	entry[8]++
	_, _, _, err := decodeEntry(entry)
	var newer unknownVersionError
	require.ErrorAs(t, err, &newer)
	_, err = decodeCommon([]byte{formatVersion + 1})
	require.ErrorAs(t, err, &newer)
}

func FuzzDecode(f *testing.F) {
	f.Add("7:12345678abcdefgh\x01")
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
