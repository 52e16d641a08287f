package fidelity

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/workflow"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// letter has what JSON makes something of.
type letter struct {
	To      string
	Pages   []int           `json:"pages,omitempty"`
	Stamps  map[string]int  `json:"stamps,omitempty"`
	Sent    time.Time       `json:"sent"`
	Within  time.Duration   `json:"within"`
	Inner   *letter         `json:"inner,omitempty"`
	Raw     json.RawMessage `json:"raw,omitempty"`
	Any     any             `json:"any"`
	Weight  float64         `json:"weight"`
	private string
}

func aLetter() letter {
	return letter{
		To: "señor ☂", Pages: []int{1, 1 << 40}, Stamps: map[string]int{"a": 1, "b": -2}, Sent: time.Unix(1e9, 5).UTC(), Within: time.Hour,
		Inner: &letter{To: "nobody"}, Raw: json.RawMessage(`{"x":[1,2]}`), Any: []any{"one", 2.5, nil}, Weight: 1e-9, private: "not sent",
	}
}

// text shows a value with what its pointers point to.
func text(v any) string {
	b, err := json.Marshal(v)
	return fmt.Sprintf("%T %s %v", v, b, err)
}

var dataScenarios = []scenario{
	{
		name: "many arguments",
		play: func(p *play) {
			p.activity("Act", func(_ context.Context, s string, i int64, u uint8, f float64, b bool, r rune, l letter, pl *letter, list []string, m map[int]bool, a any) (letter, error) {
				for n, v := range []any{s, i, u, f, b, r, l, pl, list, m, a} {
					p.seen.note(fmt.Sprint("argument ", n), text(v))
				}
				return l, nil
			})
			p.workflow(func(ctx workflow.Context, see *notes) error {
				l := aLetter()
				call := workflow.ExecuteActivity(attempts(ctx, 1), "Act", "s", int64(1)<<60, uint8(255), 0.1, true, 'ß', l, &l, []string{}, map[int]bool{3: true}, map[string]any{"k": 1})
				var got letter
				err := call.Get(ctx, &got)
				see.note("result", text(got))
				return err
			})
		},
	},
	{
		name: "nothing",
		play: func(p *play) {
			p.activity("Nils", func(_ context.Context, s *string, b []byte, m map[string]int, a any, l *letter) (*letter, error) {
				p.seen.note("arguments", fmt.Sprint(s == nil, b == nil, m == nil, a == nil, l == nil))
				return nil, nil //nolint:nilnil // the point
			})
			p.activity("NoResult", func(context.Context) error { return nil })
			p.activity("NoContext", func(n int) (int, error) { return n + 1, nil })
			p.activity("NilAny", func(context.Context) (any, error) { return nil, nil }) //nolint:nilnil // the point
			p.activity("NilBytes", func(context.Context) ([]byte, error) { return nil, nil })
			p.activity("NoBytes", func(context.Context) ([]byte, error) { return []byte{}, nil })
			p.activity("NilMap", func(context.Context) (map[string]int, error) { return nil, nil })
			p.workflow(func(ctx workflow.Context, see *notes) error {
				ctx = attempts(ctx, 1)
				var l *letter
				see.note("nil pointer", workflow.ExecuteActivity(ctx, "Nils", nil, nil, nil, nil, nil).Get(ctx, &l))
				see.note("nil pointer", l == nil)
				kept := letter{To: "kept"}
				see.note("into a value", workflow.ExecuteActivity(ctx, "Nils", nil, nil, nil, nil, nil).Get(ctx, &kept))
				see.note("into a value", kept.To)
				var s string
				see.note("no result", workflow.ExecuteActivity(ctx, "NoResult").Get(ctx, &s))
				see.note("no result, not wanted", workflow.ExecuteActivity(ctx, "NoResult").Get(ctx, nil))
				var n int
				see.note("no context", workflow.ExecuteActivity(ctx, "NoContext", 4).Get(ctx, &n))
				see.note("no context", n)
				var a any = "kept"
				see.note("nil any", workflow.ExecuteActivity(ctx, "NilAny").Get(ctx, &a))
				see.note("nil any", a)
				for _, name := range []string{"NilBytes", "NoBytes"} {
					b := []byte("kept")
					see.note(name, workflow.ExecuteActivity(ctx, name).Get(ctx, &b))
					see.note(name, fmt.Sprintf("%q %v", b, b == nil))
				}
				m := map[string]int{"kept": 1}
				see.note("nil map", workflow.ExecuteActivity(ctx, "NilMap").Get(ctx, &m))
				see.note("nil map", m)
				return nil
			})
		},
	},
	{
		name: "arguments that do not fit",
		play: func(p *play) {
			p.activity("Act", func(_ context.Context, a int, b string) (string, error) { return fmt.Sprint(a, b), nil })
			p.workflow(func(ctx workflow.Context, see *notes) error {
				ctx = attempts(ctx, 1)
				_ = noteResult[string](ctx, see, "too few", workflow.ExecuteActivity(ctx, "Act", 1))
				_ = noteResult[string](ctx, see, "none", workflow.ExecuteActivity(ctx, "Act"))
				_ = noteResult[string](ctx, see, "too many", workflow.ExecuteActivity(ctx, "Act", 1, "b", "c"))
				_ = noteResult[string](ctx, see, "of a wrong type", workflow.ExecuteActivity(ctx, "Act", "one", "b"))
				_ = noteResult[[]int](ctx, see, "result of a wrong type", workflow.ExecuteActivity(ctx, "Act", 1, "b"))
				return nil
			})
		},
	},
	{
		name: "variadic handler",
		play: func(p *play) {
			p.activity("Act", func(_ context.Context, first string, rest ...string) (string, error) {
				return first + fmt.Sprint(len(rest), rest), nil
			})
			p.workflow(func(ctx workflow.Context, see *notes) error {
				ctx = attempts(ctx, 1)
				_ = noteResult[string](ctx, see, "list", workflow.ExecuteActivity(ctx, "Act", "a", []string{"b", "c"}))
				_ = noteResult[string](ctx, see, "spread", workflow.ExecuteActivity(ctx, "Act", "a", "b", "c"))
				_ = noteResult[string](ctx, see, "none", workflow.ExecuteActivity(ctx, "Act", "a"))
				return nil
			})
		},
	},
	{
		name: "protobuf as JSON",
		play: protobufs,
	},
	{
		name: "protobuf as binary",
		play: func(p *play) {
			p.clientOptions.DataConverter = converter.NewCompositeDataConverter(
				converter.NewNilPayloadConverter(), converter.NewByteSlicePayloadConverter(), converter.NewProtoPayloadConverter(), converter.NewJSONPayloadConverter())
			protobufs(p)
		},
	},
	{
		name: "bytes",
		play: func(p *play) {
			all := make([]byte, 256)
			for i := range all {
				all[i] = byte(i)
			}
			p.activity("Act", func(_ context.Context, b []byte, list [][]byte) ([]byte, error) {
				p.seen.note("bytes", fmt.Sprintf("%x %q", b, list))
				return append(b, 0), nil
			})
			p.workflow(func(ctx workflow.Context, see *notes) error {
				return noteResult[[]byte](ctx, see, "call", workflow.ExecuteActivity(attempts(ctx, 1), "Act", all, [][]byte{{0}, nil, []byte("x")}))
			})
		},
	},
	{
		name: "raw values",
		play: func(p *play) {
			p.activity("Act", func(_ context.Context, raw converter.RawValue) (converter.RawValue, error) {
				p.seen.note("raw", raw.Payload())
				payload := proto.Clone(raw.Payload()).(*commonpb.Payload)
				payload.Metadata["passed"] = []byte("through a handler")
				return converter.NewRawValue(payload), nil
			})
			p.workflow(func(ctx workflow.Context, see *notes) error {
				raw := converter.NewRawValue(&commonpb.Payload{
					Metadata: map[string][]byte{"encoding": []byte("json/plain"), "mine": {0, 1, 2}}, Data: []byte(`"text"`),
				})
				var got converter.RawValue
				call := workflow.ExecuteActivity(attempts(ctx, 1), "Act", raw)
				if err := call.Get(ctx, &got); err != nil {
					return err
				}
				see.note("raw result", got.Payload())
				return noteResult[string](ctx, see, "result", call)
			})
		},
	},
	{
		name: "a result of 1.5 MiB",
		play: sized(3 << 19),
	},
	{
		name:    "a result that fits the limit alone",
		play:    sized(2<<20 - 8<<10),
		differs: map[string]string{"call": resultLimit, "length": resultLimit},
	},
	{
		name: "a result over the limit",
		play: sized(2<<20 + 1<<10),
	},
	{
		name: "heartbeat details over the limit",
		play: func(p *play) {
			p.activity("Act", func(ctx context.Context) (string, error) {
				p.seen.note("attempt", activity.GetInfo(ctx).Attempt)
				activity.RecordHeartbeat(ctx, strings.Repeat("x", 3<<20))
				p.seen.note("after the heartbeat", ctx.Err())
				return "in spite of it", nil
			})
			p.workflow(func(ctx workflow.Context, see *notes) error {
				ctx = withOptions(ctx, workflow.ActivityOptions{HeartbeatTimeout: time.Minute, RetryPolicy: quickly(2)})
				return noteResult[string](ctx, see, "call", workflow.ExecuteActivity(ctx, "Act"))
			})
		},
	},
	{
		name: "an argument over the limit",
		play: func(p *play) {
			var small atomic.Bool
			p.activity("Act", func(_ context.Context, s string) (int, error) { return len(s), nil })
			p.workflow(func(ctx workflow.Context, see *notes) error {
				size := 3 << 20
				if small.Load() { // the fix, deployed
					size = 10
				}
				return noteResult[int](ctx, see, "call", workflow.ExecuteActivity(attempts(ctx, 1), "Act", strings.Repeat("x", size)))
			})
			p.start()
			p.await("the workflow task to fail", func() bool {
				for _, e := range p.history(p.workflowID, "") {
					if e.GetEventType() == enumspb.EVENT_TYPE_WORKFLOW_TASK_FAILED {
						a := e.GetWorkflowTaskFailedEventAttributes()
						p.seen.note("workflow task failed", fmt.Sprint(a.GetCause(), ": ", a.GetFailure().GetMessage()))
						return true
					}
				}
				return false
			})
			p.stopWorker()
			small.Store(true)
			p.startWorker()
		},
	},
}

// sized plays a call whose result has that many bytes.
func sized(n int) func(p *play) {
	return func(p *play) {
		p.activity("Act", func(context.Context) ([]byte, error) { return make([]byte, n), nil })
		p.workflow(func(ctx workflow.Context, see *notes) error {
			var b []byte
			err := workflow.ExecuteActivity(attempts(ctx, 1), "Act").Get(ctx, &b)
			see.note("call", err)
			see.note("length", len(b))
			return nil
		})
	}
}

func protobufs(p *play) {
	p.activity("Act", func(_ context.Context, in *commonpb.WorkflowExecution, at *timestamppb.Timestamp) (*commonpb.RetryPolicy, error) {
		p.seen.note("arguments", in.GetWorkflowId()+" "+at.AsTime().String())
		return &commonpb.RetryPolicy{MaximumAttempts: 3, NonRetryableErrorTypes: []string{"x"}}, nil
	})
	p.workflow(func(ctx workflow.Context, see *notes) error {
		call := workflow.ExecuteActivity(attempts(ctx, 1), "Act", &commonpb.WorkflowExecution{WorkflowId: "é"}, timestamppb.New(time.Unix(1e9, 7)))
		got := &commonpb.RetryPolicy{}
		err := call.Get(ctx, got)
		see.note("result", fmt.Sprint(got.GetMaximumAttempts(), got.GetNonRetryableErrorTypes()))
		var raw converter.RawValue
		see.note("again, raw", call.Get(ctx, &raw))
		see.note("encoding", string(raw.Payload().GetMetadata()["encoding"])+" "+string(raw.Payload().GetMetadata()["messageType"]))
		return err
	})
}
