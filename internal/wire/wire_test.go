package wire_test

import (
	"encoding/hex"
	"encoding/json"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	failurepb "go.temporal.io/api/failure/v1"
	"go.temporal.io/sdk/converter"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"pgregory.net/rapid"

	"github.com/slipstream-go/slipstream/internal/wire"
)

func payloads() *rapid.Generator[[]*commonpb.Payload] {
	payload := rapid.Custom(func(t *rapid.T) *commonpb.Payload {
		return &commonpb.Payload{
			Metadata: rapid.MapOfN(rapid.StringMatching(`[a-z]{1,8}`), rapid.SliceOfN(rapid.Byte(), 1, 8), 1, 3).Draw(t, "metadata"),
			Data:     rapid.SliceOfN(rapid.Byte(), 1, 20).Draw(t, "data"),
		}
	})
	return rapid.Custom(func(t *rapid.T) []*commonpb.Payload {
		list := rapid.SliceOfN(payload, 0, 3).Draw(t, "payloads")
		if len(list) == 0 {
			return nil
		}
		return list
	})
}

func outcomes() *rapid.Generator[wire.Outcome] {
	return rapid.Custom(func(t *rapid.T) wire.Outcome {
		return wire.Outcome{
			Identity: wire.Identity{
				RunID:       rapid.SampledFrom([]string{"", "run-1", "run-2"}).Draw(t, "run"),
				Number:      rapid.Uint64().Draw(t, "number"),
				Fingerprint: rapid.Uint64().Draw(t, "fingerprint"),
			},
			Kind:     wire.Kind(rapid.Uint8().Draw(t, "kind")),
			Step:     rapid.Int32Range(0, math.MaxInt32).Draw(t, "step"),
			Attempt:  rapid.Int32().Draw(t, "attempt"),
			Retry:    wire.RetryState(rapid.Int32().Draw(t, "retry")),
			Worker:   rapid.SampledFrom([]string{"", "worker@1", "worker@2"}).Draw(t, "worker"),
			Payloads: payloads().Draw(t, "results"),
			Details:  payloads().Draw(t, "details"),
		}
	})
}

func sameOutcomes(t require.TestingT, want, got []wire.Outcome) {
	require.Len(t, got, len(want))
	for i := range want {
		w, g := want[i], got[i]
		samePayloads(t, w.Payloads, g.Payloads)
		samePayloads(t, w.Details, g.Details)
		w.Payloads, w.Details, g.Payloads, g.Details = nil, nil, nil, nil
		require.Equal(t, w, g)
	}
}

func samePayloads(t require.TestingT, want, got []*commonpb.Payload) {
	require.Len(t, got, len(want))
	for i := range want {
		require.True(t, proto.Equal(want[i], got[i]), "payload %d: %v, want %v", i, got[i], want[i])
	}
}

func TestSignalRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.SliceOfN(outcomes(), 0, 20).Draw(t, "outcomes")
		encoded := wire.EncodeSignal(want)
		got, err := wire.DecodeSignal(encoded)
		require.NoError(t, err)
		sameOutcomes(t, want, got)

		again := wire.EncodeSignal(want)
		require.True(t, proto.Equal(encoded, again), "equal outcomes must give equal signals")
	})
}

func TestOutcomeRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		want := outcomes().Draw(t, "outcome")
		got, err := wire.DecodeOutcome(wire.EncodeOutcome(&want))
		require.NoError(t, err)
		sameOutcomes(t, []wire.Outcome{want}, []wire.Outcome{*got})
	})
}

func addresses() *rapid.Generator[[]wire.Address] {
	return rapid.Custom(func(t *rapid.T) []wire.Address {
		list := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) wire.Address {
			return wire.Address{Pool: rapid.String().Draw(t, "pool"), Slot: rapid.IntRange(0, 1<<20).Draw(t, "slot")}
		}), 0, 3).Draw(t, "addresses")
		if len(list) == 0 {
			return nil
		}
		return list
	})
}

func answers(addresses int) *rapid.Generator[[]wire.Answer] {
	return rapid.Custom(func(t *rapid.T) []wire.Answer {
		list := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) wire.Answer {
			a := wire.Answer{
				Number:      rapid.Uint64().Draw(t, "number"),
				Type:        rapid.SampledFrom([]string{"", "A", "B"}).Draw(t, "type"),
				State:       wire.State(rapid.Uint8().Draw(t, "state")),
				Fingerprint: rapid.Uint64().Draw(t, "fingerprint"),
				Address:     rapid.IntRange(-1, addresses-1).Draw(t, "address"),
			}
			if rapid.Bool().Draw(t, "done") {
				o := outcomes().Draw(t, "outcome")
				a.Outcome = &o
			}
			if rapid.Bool().Draw(t, "refused") {
				a.Failure = &commonpb.Payload{Data: []byte("failure")}
			}
			return a
		}), 0, 8).Draw(t, "answers")
		if len(list) == 0 {
			return nil
		}
		return list
	})
}

func sameAnswers(t require.TestingT, want, got []wire.Answer) {
	require.Len(t, got, len(want))
	for i := range want {
		w, g := want[i], got[i]
		require.Equal(t, w.Outcome == nil, g.Outcome == nil)
		if w.Outcome != nil {
			sameOutcomes(t, []wire.Outcome{*w.Outcome}, []wire.Outcome{*g.Outcome})
		}
		require.True(t, proto.Equal(w.Failure, g.Failure))
		w.Outcome, g.Outcome, w.Failure, g.Failure = nil, nil, nil, nil
		require.Equal(t, w, g)
	}
}

func TestMarkerRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		want := wire.Marker{
			RunID:     rapid.String().Draw(t, "run"),
			First:     rapid.Uint64().Draw(t, "first"),
			Addresses: addresses().Draw(t, "addresses"),
			Taken:     rapid.SliceOfN(outcomes(), 0, 4).Draw(t, "taken"),
			Summary:   rapid.String().Draw(t, "summary"),
		}
		want.Answers = answers(len(want.Addresses)).Draw(t, "answers")
		got, err := wire.DecodeMarker(wire.EncodeMarker(&want))
		require.NoError(t, err)
		sameAnswers(t, want.Answers, got.Answers)
		sameOutcomes(t, want.Taken, got.Taken)
		want.Answers, want.Taken, got.Answers, got.Taken = nil, nil, nil, nil
		require.Equal(t, want, *got)
	})
}

func TestAskReplyRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		want := wire.AskReply{
			RunID:     rapid.String().Draw(t, "run"),
			Addresses: addresses().Draw(t, "addresses"),
			Taken:     rapid.SliceOfN(outcomes(), 0, 4).Draw(t, "taken"),
		}
		want.Found = answers(len(want.Addresses)).Draw(t, "found")
		got, err := wire.DecodeAskReply(wire.EncodeAskReply(&want))
		require.NoError(t, err)
		sameAnswers(t, want.Found, got.Found)
		sameOutcomes(t, want.Taken, got.Taken)
		require.Equal(t, want.RunID, got.RunID)
		require.Equal(t, want.Addresses, got.Addresses)
	})
}

func TestRouteRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		want := &wire.Route{
			Protocol: rapid.Uint64().Draw(t, "protocol"),
			Pools:    rapid.MapOf(rapid.String(), rapid.SampledFrom([]string{"", "slow"})).Draw(t, "pools"),
		}
		got, err := wire.DecodeRoute(wire.EncodeRoute(want))
		require.NoError(t, err)
		require.Equal(t, want, got)
	})
}

func TestFailureGoesThroughTheConverter(t *testing.T) {
	t.Parallel()
	dc := converter.NewCodecDataConverter(converter.GetDefaultDataConverter(), converter.NewZlibCodec(converter.ZlibCodecOptions{AlwaysEncode: true}))
	want := &failurepb.Failure{Message: "secret", Cause: &failurepb.Failure{Message: "deeper"}}
	p, err := wire.EncodeFailure(dc, want)
	require.NoError(t, err)
	require.Equal(t, "binary/zlib", string(p.GetMetadata()["encoding"]))
	require.NotContains(t, string(p.GetData()), "secret")
	got, err := wire.DecodeFailure(dc, p)
	require.NoError(t, err)
	require.True(t, proto.Equal(want, got))

	_, err = wire.DecodeFailure(converter.GetDefaultDataConverter(), p)
	require.ErrorContains(t, err, "decode failure: data converter")
	junk, err := dc.ToPayload([]byte("\xff\xff"))
	require.NoError(t, err)
	_, err = wire.DecodeFailure(dc, junk)
	require.ErrorContains(t, err, "decode failure")
}

// The bytes of the stored formats. A change here breaks running workflows: extend the
// formats so that these stay.
func TestGoldenBytes(t *testing.T) {
	t.Parallel()
	result := &commonpb.Payload{Metadata: map[string][]byte{"encoding": []byte("json/plain")}, Data: []byte(`"x"`)}
	full := wire.Outcome{
		Identity: wire.Identity{RunID: "r", Number: 7, Fingerprint: 0x1122334455667788},
		Kind:     wire.KindHeartbeat, Attempt: 3, Retry: 5, Worker: "w",
		Payloads: []*commonpb.Payload{result}, Details: []*commonpb.Payload{result},
	}
	usual := wire.Outcome{
		Identity: wire.Identity{RunID: "r", Number: 2, Fingerprint: 1},
		Kind:     wire.KindCompleted, Attempt: 1, Payloads: []*commonpb.Payload{result},
	}
	marker := &wire.Marker{
		RunID: "r", First: 1, Addresses: []wire.Address{{Pool: "p", Slot: 3}},
		Answers: []wire.Answer{
			{Number: 1, Type: "A", State: wire.StateQueued, Fingerprint: 9},
			{Number: 2, Type: "B", State: wire.StateDone, Outcome: &usual},
			{Number: 3, Type: "A", State: wire.StateRefused, Address: -1, Failure: result},
		},
		Taken: []wire.Outcome{full}, Summary: "s",
	}
	signal := wire.EncodeSignal([]wire.Outcome{usual, full})
	for _, tt := range []struct {
		name  string
		bytes []byte
		want  string
	}{
		{"outcome", wire.EncodeOutcome(&full), goldenOutcome},
		{"usual outcome", wire.EncodeOutcome(&usual), goldenUsual},
		{"signal index", signal.GetPayloads()[0].GetData(), goldenSignal},
		{"marker", wire.EncodeMarker(marker), goldenMarker},
		{"ask reply", wire.EncodeAskReply(&wire.AskReply{
			RunID: "r", Addresses: marker.Addresses, Taken: []wire.Outcome{usual},
			Found: []wire.Answer{{Number: 5, Type: "A", State: wire.StateNotHere, Fingerprint: 9}},
		}), goldenReply},
		{"route", wire.EncodeRoute(&wire.Route{Protocol: 1, Pools: map[string]string{"B": "slow", "A": ""}}), goldenRoute},
	} {
		require.Equal(t, tt.want, hex.EncodeToString(tt.bytes), tt.name)
	}
	require.Equal(t, "__slipstream_complete", wire.SignalName)
	require.Equal(t, "binary/slipstream", string(signal.GetPayloads()[0].GetMetadata()["encoding"]))
}

func call() *wire.Call {
	return &wire.Call{
		Type: "Echo", TaskQueue: "tq", Pool: "p", ActivityID: "1",
		Input: &commonpb.Payloads{Payloads: []*commonpb.Payload{{Metadata: map[string][]byte{"encoding": []byte("json/plain")}, Data: []byte("1")}}},
		Options: wire.CallOptions{
			ScheduleToClose: 4, ScheduleToStart: 3, StartToClose: 2, Heartbeat: 1,
			Retry: &commonpb.RetryPolicy{
				InitialInterval: durationpb.New(time.Second), MaximumInterval: durationpb.New(time.Minute),
				BackoffCoefficient: 2, MaximumAttempts: 3, NonRetryableErrorTypes: []string{"a", "b"},
			},
		},
	}
}

func TestFingerprint(t *testing.T) {
	t.Parallel()
	base := wire.Fingerprint("run", call())
	require.Equal(t, uint64(goldenFingerprint), base, "stored in queues during a deploy: it must not change")
	require.Equal(t, base, wire.Fingerprint("run", call()))
	seen := map[uint64]string{base: "unchanged"}
	for name, change := range map[string]func(*wire.Call){
		"type":             func(c *wire.Call) { c.Type = "Echoo" },
		"task queue":       func(c *wire.Call) { c.TaskQueue = "other" },
		"pool":             func(c *wire.Call) { c.Pool = "" },
		"boundary":         func(c *wire.Call) { c.TaskQueue, c.Pool = "tqp", "" },
		"activity ID":      func(c *wire.Call) { c.ActivityID = "2" },
		"data":             func(c *wire.Call) { c.Input.Payloads[0].Data = []byte("2") },
		"metadata":         func(c *wire.Call) { c.Input.Payloads[0].Metadata["x"] = nil },
		"no input":         func(c *wire.Call) { c.Input = nil },
		"canonical":        func(c *wire.Call) { c.Canonical = []byte("1") },
		"schedule-close":   func(c *wire.Call) { c.Options.ScheduleToClose++ },
		"schedule-start":   func(c *wire.Call) { c.Options.ScheduleToStart++ },
		"start-close":      func(c *wire.Call) { c.Options.StartToClose++ },
		"heartbeat":        func(c *wire.Call) { c.Options.Heartbeat++ },
		"initial":          func(c *wire.Call) { c.Options.Retry.InitialInterval = nil },
		"maximum":          func(c *wire.Call) { c.Options.Retry.MaximumInterval = nil },
		"coefficient":      func(c *wire.Call) { c.Options.Retry.BackoffCoefficient = 3 },
		"attempts":         func(c *wire.Call) { c.Options.Retry.MaximumAttempts = 1 },
		"non-retryable":    func(c *wire.Call) { c.Options.Retry.NonRetryableErrorTypes = []string{"ab"} },
		"no non-retryable": func(c *wire.Call) { c.Options.Retry.NonRetryableErrorTypes = nil },
		"a step":           func(c *wire.Call) { c.Then = []wire.Step{{Type: "Echo"}} },
		"another step":     func(c *wire.Call) { c.Then = []wire.Step{{Type: "Other"}} },
		"two steps":        func(c *wire.Call) { c.Then = []wire.Step{{Type: "Echo"}, {Type: "Echo"}} },
		"a step's ID":      func(c *wire.Call) { c.Then = []wire.Step{{Type: "Echo", ActivityID: "x"}} },
		"a step's options": func(c *wire.Call) { c.Then = []wire.Step{{Type: "Echo", Options: wire.CallOptions{Heartbeat: 1}}} },
		"results":          func(c *wire.Call) { c.Results = true },
	} {
		c := call()
		change(c)
		got := wire.Fingerprint("run", c)
		require.Empty(t, seen[got], "%s gives the fingerprint of %s", name, seen[got])
		seen[got] = name
	}
	require.NotContains(t, seen, wire.Fingerprint("another run", call()))

	c, d := call(), call()
	c.Canonical, d.Canonical = []byte("same"), []byte("same")
	d.Input.Payloads[0].Data = []byte("encrypted another way")
	require.Equal(t, wire.Fingerprint("run", c), wire.Fingerprint("run", d))

	c, d = call(), call()
	c.Number, d.Number = 1, 2
	d.Fingerprint = 5
	require.Equal(t, wire.Fingerprint("run", c), wire.Fingerprint("run", d), "number and known fingerprint are not covered")
}

func TestDecodersRefuse(t *testing.T) {
	t.Parallel()
	signal := func(index []byte, n int) *commonpb.Payloads {
		p := &commonpb.Payloads{Payloads: []*commonpb.Payload{{
			Metadata: map[string][]byte{"encoding": []byte(wire.SignalEncoding)}, Data: index,
		}}}
		for range n {
			p.Payloads = append(p.Payloads, &commonpb.Payload{})
		}
		return p
	}
	good := wire.EncodeSignal([]wire.Outcome{{Payloads: []*commonpb.Payload{{}}, Kind: wire.KindCompleted}}).GetPayloads()[0].GetData()
	for _, tt := range []struct {
		name string
		p    *commonpb.Payloads
		want string
	}{
		{"nil", nil, "no payload"},
		{"empty", &commonpb.Payloads{}, "no payload"},
		{"nil payload", &commonpb.Payloads{Payloads: []*commonpb.Payload{nil}}, `encoding ""`},
		{"other encoding", &commonpb.Payloads{Payloads: []*commonpb.Payload{{Metadata: map[string][]byte{"encoding": []byte("json/plain")}}}}, `"json/plain"`},
		{"empty index", signal(nil, 0), "no version"},
		{"torn", signal(good[:len(good)-1], 1), "unexpected EOF"},
		{"too few payloads", signal(good, 0), "1 announced, 0 there"},
		{"too many payloads", signal(good, 2), "belong to no outcome"},
		{"newer", signal([]byte{0x08, 0x02}, 0), "newer version"},
		{"version zero", signal([]byte{0x08, 0x00}, 0), "version 0"},
		{"wrong wire type", signal([]byte{0x0a, 0x00}, 0), "wire type"},
		{"no numbers", signal([]byte{0x08, 0x01, 0x22, 8, 1, 0, 0, 0, 0, 0, 0, 0}, 0), "0 numbers for 1 outcomes"},
	} {
		_, err := wire.DecodeSignal(tt.p)
		require.ErrorContains(t, err, tt.want, tt.name)
	}
	_, err := wire.DecodeSignal(signal([]byte{0x08, 0x02}, 0))
	require.ErrorIs(t, err, wire.ErrVersion)
	_, err = wire.DecodeOutcome([]byte{0x08, 0x01})
	require.ErrorContains(t, err, "0 outcomes, want 1")
	_, err = wire.DecodeMarker(nil)
	require.ErrorContains(t, err, "no version")
	_, err = wire.DecodeAskReply([]byte("junk"))
	require.Error(t, err)
	_, err = wire.DecodeRoute([]byte{0x08, 0x05})
	require.ErrorIs(t, err, wire.ErrVersion)
}

// A field that a later version adds must not disturb this one.
func TestUnknownFieldsAreSkipped(t *testing.T) {
	t.Parallel()
	extra := []byte{0xa2, 0x06, 0x03, 'n', 'e', 'w', 0xa8, 0x06, 0x01} // fields 100 and 101
	o := wire.Outcome{Identity: wire.Identity{RunID: "r", Number: 1, Fingerprint: 2}, Kind: wire.KindCompleted, Attempt: 1}
	got, err := wire.DecodeOutcome(append(wire.EncodeOutcome(&o), extra...))
	require.NoError(t, err)
	require.Equal(t, o, *got)

	s := wire.EncodeSignal([]wire.Outcome{o})
	s.Payloads[0].Data = append(s.Payloads[0].Data, extra...)
	many, err := wire.DecodeSignal(s)
	require.NoError(t, err)
	require.Equal(t, []wire.Outcome{o}, many)

	m := &wire.Marker{RunID: "r", First: 1, Answers: []wire.Answer{{Number: 1, Type: "A", State: wire.StatePlain, Address: -1}}}
	gotMarker, err := wire.DecodeMarker(append(wire.EncodeMarker(m), extra...))
	require.NoError(t, err)
	require.Equal(t, m, gotMarker)

	route := &wire.Route{Protocol: 1, Pools: map[string]string{"A": ""}}
	gotRoute, err := wire.DecodeRoute(append(wire.EncodeRoute(route), extra...))
	require.NoError(t, err)
	require.Equal(t, route, gotRoute)
}

// What history keeps per call is the point of the columns.
func TestSizes(t *testing.T) {
	t.Parallel()
	const n = 1000
	m := &wire.Marker{RunID: "0123456789-0123456789-0123456789-012", First: 1, Addresses: []wire.Address{{Pool: "pool"}}}
	var done []wire.Outcome
	for i := range uint64(n) {
		id := wire.Identity{RunID: m.RunID, Number: i + 1, Fingerprint: i + 1}
		m.Answers = append(m.Answers, wire.Answer{Number: i + 1, Type: "Translate", State: wire.StateQueued, Fingerprint: i + 1})
		done = append(done, wire.Outcome{Identity: id, Kind: wire.KindCompleted, Attempt: 1, Worker: "w", Payloads: []*commonpb.Payload{{}}})
	}
	require.LessOrEqual(t, len(wire.EncodeMarker(m)), 9*n+100)
	require.LessOrEqual(t, len(wire.EncodeSignal(done).GetPayloads()[0].GetData()), 9*n+100)
}

// A completion is JSON in histories of users' workflows: its form is only ever added to.
func TestCompletionsKeepTheirForm(t *testing.T) {
	jsonPayload := &commonpb.Payload{Metadata: map[string][]byte{"encoding": []byte("json/plain")}, Data: []byte(`{"x":1}`)}
	sealed := &commonpb.Payload{Metadata: map[string][]byte{"encoding": []byte("binary/sealed"), "key": []byte("k")}, Data: []byte{1, 2}}
	b, err := json.Marshal(wire.Completion{
		Batch: "b", Index: 3, Type: "A", Context: jsonPayload,
		Outcome: wire.Outcome{
			Kind: wire.KindHeartbeat, Attempt: 2, Retry: 4, Worker: "w",
			Payloads: []*commonpb.Payload{sealed}, Details: []*commonpb.Payload{jsonPayload},
		},
	})
	require.NoError(t, err)
	require.Equal(t, goldenCompletion, string(b)) //nolint:testifylint // the bytes count
	b, err = json.Marshal(wire.Completion{Outcome: wire.Outcome{Kind: wire.KindCompleted}})
	require.NoError(t, err)
	require.Equal(t, `{"batch":"","index":0,"activity":"","kind":"completed"}`, string(b)) //nolint:testifylint // same

	var later wire.Completion
	require.NoError(t, json.Unmarshal([]byte(`{"batch":"b","kind":"something new","later":1}`), &later))
	require.Equal(t, wire.Completion{Batch: "b"}, later, "what a newer version adds is skipped")
}

func TestCompletionRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := outcomes().Draw(t, "outcome")
		o.Step = 0 // tasks of a batch have no further steps
		o.Identity, o.Kind = wire.Identity{}, wire.Kind(rapid.Uint8Range(uint8(wire.KindCompleted), uint8(wire.KindPoison)).Draw(t, "kind"))
		c := wire.Completion{Batch: rapid.String().Draw(t, "batch"), Index: rapid.IntRange(0, 1e6).Draw(t, "index"), Type: "A", Outcome: o}
		c.Context = rapid.SampledFrom([]*commonpb.Payload{
			nil, {Metadata: map[string][]byte{"encoding": []byte("json/plain")}, Data: []byte(`"s"`)},
			{Metadata: map[string][]byte{"encoding": []byte("json/plain")}, Data: []byte(`not JSON`)},
			{Metadata: map[string][]byte{"encoding": []byte("binary/null")}},
		}).Draw(t, "context")
		b, err := json.Marshal(c)
		require.NoError(t, err)
		var got wire.Completion
		require.NoError(t, json.Unmarshal(b, &got))
		sameOutcomes(t, []wire.Outcome{o}, []wire.Outcome{got.Outcome})
		require.True(t, proto.Equal(c.Context, got.Context))
		require.Equal(t, c.Index, got.Index)
		again, err := json.Marshal(got)
		require.NoError(t, err)
		require.Equal(t, b, again, "equal completions have equal bytes")
	})
}

func TestOptionsAreCheckedAsTheServerDoes(t *testing.T) {
	good := func() *wire.CallOptions {
		return &wire.CallOptions{StartToClose: time.Minute, Retry: wire.RetryPolicy(nil)}
	}
	require.NoError(t, good().Validate())
	for want, edit := range map[string]func(o *wire.CallOptions){
		"ScheduleToCloseTimeout is -1ns":                               func(o *wire.CallOptions) { o.ScheduleToClose = -1 },
		"ScheduleToStartTimeout is -1ns":                               func(o *wire.CallOptions) { o.ScheduleToStart = -1 },
		"StartToCloseTimeout is -1ns":                                  func(o *wire.CallOptions) { o.StartToClose = -1 },
		"HeartbeatTimeout is -1ns":                                     func(o *wire.CallOptions) { o.Heartbeat = -1 },
		"set at least one":                                             func(o *wire.CallOptions) { o.StartToClose = 0 },
		"RetryPolicy.InitialInterval is -1s":                           func(o *wire.CallOptions) { o.Retry.InitialInterval = durationpb.New(-time.Second) },
		"RetryPolicy.MaximumInterval is 1ms":                           func(o *wire.CallOptions) { o.Retry.MaximumInterval = durationpb.New(time.Millisecond) },
		"RetryPolicy.BackoffCoefficient is 0.5":                        func(o *wire.CallOptions) { o.Retry.BackoffCoefficient = .5 },
		"RetryPolicy.MaximumAttempts is -1":                            func(o *wire.CallOptions) { o.Retry.MaximumAttempts = -1 },
		`RetryPolicy.NonRetryableErrorTypes names "TemporalTimeout:X"`: func(o *wire.CallOptions) { o.Retry.NonRetryableErrorTypes = []string{"E", "TemporalTimeout:X"} },
	} {
		o := good()
		edit(o)
		require.ErrorContains(t, o.Validate(), want)
	}
	once := good()
	once.Retry.MaximumAttempts, once.Retry.BackoffCoefficient = 1, 0
	require.NoError(t, once.Validate(), "a policy that is never used is not looked at")
}
