package fidelity

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	failurepb "go.temporal.io/api/failure/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"
)

// failing plays a call of a handler that ends with err, at most three times. The types are those that the call's
// retry policy does not retry.
func failing(err func() error, nonRetryable ...string) func(p *play) {
	return func(p *play) {
		p.activity("Act", func(ctx context.Context) (string, error) {
			p.seen.note("attempt", activity.GetInfo(ctx).Attempt)
			return "", err()
		})
		p.workflow(func(ctx workflow.Context, see *notes) error {
			policy := quickly(3)
			policy.NonRetryableErrorTypes = nonRetryable
			ctx = withOptions(ctx, workflow.ActivityOptions{RetryPolicy: policy})
			return noteResult[string](ctx, see, "call", workflow.ExecuteActivity(ctx, "Act"))
		})
	}
}

// failingWith is failing with another client.
func failingWith(change func(o *client.Options), err func() error) func(p *play) {
	return func(p *play) {
		change(&p.clientOptions)
		failing(err)(p)
	}
}

// panicking plays a handler that panics.
func panicking(value any, nonRetryable ...string) func(p *play) {
	return failing(func() error { panic(value) }, nonRetryable...)
}

var errorScenarios = []scenario{
	{
		name: "plain error",
		play: failing(func() error { return errors.New("no luck") }),
	},
	{
		name: "error without a message",
		play: failing(func() error { return errors.New("") }),
	},
	{
		name: "error with odd characters",
		play: failing(func() error { return errors.New("line one\nline two\t\x00 ¿qué? 漢字") }),
	},
	{
		name: "application error with type and details",
		play: failing(func() error {
			return temporal.NewApplicationError("no such word", "NoSuchWord", "palabra", 7, []string{"a", "b"})
		}),
	},
	{
		name: "application error with a chain of causes",
		play: failing(func() error {
			return temporal.NewApplicationErrorWithCause("outer", "Outer",
				temporal.NewNonRetryableApplicationError("middle", "Middle", &wordError{"palabra"}, "detail of the middle"), 1)
		}),
	},
	{
		name: "benign application error",
		play: failing(func() error {
			return temporal.NewApplicationErrorWithOptions("as expected", "Expected",
				temporal.ApplicationErrorOptions{Category: temporal.ApplicationErrorCategoryBenign})
		}),
	},
	{
		name: "non-retryable application error",
		play: failing(func() error { return temporal.NewNonRetryableApplicationError("broken", "Broken", nil, "detail") }),
	},
	{
		name: "application error whose type the policy does not retry",
		play: failing(func() error { return temporal.NewApplicationError("broken", "Broken") }, "Other", "Broken"),
	},
	{
		name: "policy names the type of the cause only",
		play: failing(func() error {
			return temporal.NewApplicationErrorWithCause("outer", "Outer", temporal.NewApplicationError("inner", "Inner"))
		}, "Inner"),
	},
	{
		name: "error of a type of the user's own",
		play: failing(func() error { return &wordError{"palabra"} }),
	},
	{
		name: "error of a type of the user's own that the policy does not retry",
		play: failing(func() error { return &wordError{"palabra"} }, "wordError"),
	},
	{
		name: "wrapped error",
		play: failing(func() error { return fmt.Errorf("translate: %w", &wordError{"palabra"}) }),
	},
	{
		name: "wrapped non-retryable application error",
		play: failing(func() error {
			return fmt.Errorf("translate: %w", temporal.NewNonRetryableApplicationError("broken", "Broken", nil, "detail"))
		}),
	},
	{
		name: "joined errors",
		play: failing(func() error {
			return errors.Join(errors.New("one"), temporal.NewNonRetryableApplicationError("two", "Two", nil))
		}),
	},
	{
		name: "canceled error that nobody asked for",
		play: failing(func() error { return temporal.NewCanceledError("detail") }),
	},
	{
		name: "wrapped canceled error that nobody asked for",
		play: failing(func() error { return fmt.Errorf("given up: %w", temporal.NewCanceledError("detail")) }),
	},
	{
		name: "context.Canceled that nobody asked for",
		play: failing(func() error { return context.Canceled }),
	},
	{
		name: "context.DeadlineExceeded before the deadline",
		play: failing(func() error { return context.DeadlineExceeded }),
	},
	{
		name: "time-out error made by the handler, wrapped",
		play: failing(func() error { return fmt.Errorf("translate: %w", temporal.NewHeartbeatTimeoutError("last words")) }, "TemporalTimeout:Heartbeat"),
	},
	{
		name: "time-out error made by the handler",
		play: func(p *play) {
			p.activity("Act", func(context.Context) error {
				return temporal.NewTimeoutError(enumspb.TIMEOUT_TYPE_HEARTBEAT, errors.New("the cause"), "last words")
			})
			p.workflow(func(ctx workflow.Context, see *notes) error {
				ctx = withOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: 200 * time.Millisecond, RetryPolicy: quickly(2)})
				_ = noteResult[any](ctx, see, "call", workflow.ExecuteActivity(ctx, "Act"))
				return nil
			})
		},
		differs: map[string]string{"call": "A handler's error that Temporal takes from no activity (a TimeoutError, TerminatedError or ServerError, not wrapped) " +
			"fails the attempt at once. Plain, the attempt hangs until its StartToClose time-out."},
	},
	{
		name: "panic with a string",
		play: panicking("out of words"),
	},
	{
		name: "panic with an error",
		play: panicking(&wordError{"palabra"}),
	},
	{
		name: "panic with an application error",
		play: panicking(temporal.NewNonRetryableApplicationError("broken", "Broken", nil)),
	},
	{
		name: "panic of the runtime",
		play: failing(func() error { return errors.New([]string{"only"}[len(os.Args)]) }),
	},
	{
		name: "panic that the policy does not retry",
		play: panicking("out of words", "PanicError"),
	},
	{
		name: "error of a workflow that the handler ran",
		play: func(p *play) {
			p.child("Other", func(workflow.Context) error {
				return temporal.NewNonRetryableApplicationError("broken", "Broken", nil, "detail")
			})
			p.activity("Act", func(ctx context.Context) error {
				run, err := activity.GetClient(ctx).ExecuteWorkflow(ctx, client.StartWorkflowOptions{TaskQueue: p.taskQueue}, "Other")
				if err != nil {
					return err
				}
				return run.Get(ctx, nil)
			})
			p.workflow(func(ctx workflow.Context, see *notes) error {
				return noteResult[any](ctx, see, "call", workflow.ExecuteActivity(attempts(ctx, 2), "Act"))
			})
		},
	},
	{
		name: "value beside an error",
		play: func(p *play) {
			p.activity("Act", func(context.Context) (string, error) { return "half a word", errors.New("no luck") })
			p.workflow(func(ctx workflow.Context, see *notes) error {
				return noteResult[string](ctx, see, "call", workflow.ExecuteActivity(attempts(ctx, 1), "Act"))
			})
		},
	},
	{
		name: "nil pointer beside an error, nil pointer alone",
		play: func(p *play) {
			p.activity("Act", func(_ context.Context, fail bool) (*wordError, error) {
				if fail {
					return nil, errors.New("no luck")
				}
				return nil, nil
			})
			p.workflow(func(ctx workflow.Context, see *notes) error {
				_ = noteResult[*wordError](ctx, see, "failing", workflow.ExecuteActivity(attempts(ctx, 1), "Act", true))
				return noteResult[*wordError](ctx, see, "succeeding", workflow.ExecuteActivity(attempts(ctx, 1), "Act", false))
			})
		},
	},
	{
		name: "argument that the handler cannot decode",
		play: func(p *play) {
			p.activity("Act", func(_ context.Context, n int) (int, error) { return n, nil })
			p.workflow(func(ctx workflow.Context, see *notes) error {
				return noteResult[int](ctx, see, "call", workflow.ExecuteActivity(attempts(ctx, 2), "Act", "seven"))
			})
		},
	},
	{
		name: "result that cannot be encoded",
		play: func(p *play) {
			p.activity("Act", func(context.Context) (struct{ C chan int }, error) { return struct{ C chan int }{make(chan int)}, nil })
			p.workflow(func(ctx workflow.Context, see *notes) error {
				return noteResult[any](ctx, see, "call", workflow.ExecuteActivity(attempts(ctx, 2), "Act"))
			})
		},
	},
	{
		name: "result that the workflow cannot decode",
		play: func(p *play) {
			p.activity("Act", func(context.Context) (string, error) { return "seven", nil })
			p.workflow(func(ctx workflow.Context, see *notes) error {
				_ = noteResult[int](ctx, see, "call", workflow.ExecuteActivity(attempts(ctx, 2), "Act"))
				return nil
			})
		},
	},
	{
		name: "failure over the size limit",
		play: func(p *play) {
			p.activity("Act", func(context.Context) error { return errors.New(strings.Repeat("too long ", 300_000)) })
			p.workflow(func(ctx workflow.Context, see *notes) error {
				err := workflow.ExecuteActivity(attempts(ctx, 3), "Act").Get(ctx, nil)
				for e := err; e != nil; e = errors.Unwrap(e) {
					see.note("layer", fmt.Sprintf("%T", e))
				}
				var server *temporal.ServerError
				see.note("server error", errors.As(err, &server))
				see.note("begins with", firstWords(err))
				return nil
			})
		},
	},
	{
		name: "encoded failure attributes",
		play: failingWith(func(o *client.Options) {
			o.FailureConverter = temporal.NewDefaultFailureConverter(temporal.DefaultFailureConverterOptions{EncodeCommonAttributes: true})
		}, func() error {
			return temporal.NewApplicationErrorWithCause("outer secret", "Outer", errors.New("inner secret"), "detail")
		}),
	},
	{
		name: "encoded failure attributes of a panic",
		play: failingWith(func(o *client.Options) {
			o.FailureConverter = temporal.NewDefaultFailureConverter(temporal.DefaultFailureConverterOptions{EncodeCommonAttributes: true})
		}, func() error { panic("a secret") }),
	},
	{
		name: "encoded failure attributes behind a codec",
		play: failingWith(func(o *client.Options) {
			o.DataConverter = converter.NewCodecDataConverter(converter.GetDefaultDataConverter(), rot13{})
			o.FailureConverter = temporal.NewDefaultFailureConverter(temporal.DefaultFailureConverterOptions{
				DataConverter: o.DataConverter, EncodeCommonAttributes: true,
			})
		}, func() error { return temporal.NewApplicationError("secret", "Secret", "detail") }),
	},
	{
		name: "custom failure converter",
		play: failingWith(func(o *client.Options) { o.FailureConverter = wordFailures{temporal.GetDefaultFailureConverter()} },
			func() error { return &wordError{"palabra"} }),
	},
	{
		name: "custom failure converter and a panic",
		play: failingWith(func(o *client.Options) { o.FailureConverter = wordFailures{temporal.GetDefaultFailureConverter()} },
			func() error { panic("out of words") }),
	},
	{
		name: "result that is pending",
		play: func(p *play) {
			p.activity("Act", func(ctx context.Context) (string, error) {
				token := activity.GetInfo(ctx).TaskToken
				c := activity.GetClient(ctx)
				go func() { _ = c.CompleteActivity(p.ctx, token, "later", nil) }()
				return "", activity.ErrResultPending
			})
			p.workflow(func(ctx workflow.Context, see *notes) error {
				_ = noteResult[string](ctx, see, "call", workflow.ExecuteActivity(attempts(ctx, 1), "Act"))
				return nil
			})
		},
		differs: map[string]string{"call": "A marked activity cannot be completed later: activity.ErrResultPending fails the call, with an error that says so."},
	},
	{
		name: "event IDs of the error",
		play: func(p *play) {
			p.activity("Act", func(context.Context) error { return errors.New("no luck") })
			p.workflow(func(ctx workflow.Context, see *notes) error {
				var failed *temporal.ActivityError
				if !errors.As(workflow.ExecuteActivity(attempts(ctx, 1), "Act").Get(ctx, nil), &failed) {
					return errors.New("not an activity error")
				}
				see.note("has event IDs", failed.ScheduledEventID() > 0 && failed.StartedEventID() > 0)
				return nil
			})
		},
		differs: map[string]string{"has event IDs": "There are no events: ScheduledEventID and StartedEventID of an ActivityError are 0."},
	},
	{
		name: "activity ID of the error",
		play: func(p *play) {
			p.activity("Act", func(context.Context) error { return errors.New("no luck") })
			p.workflow(func(ctx workflow.Context, see *notes) error {
				ctx = withOptions(ctx, workflow.ActivityOptions{ActivityID: "my own ID", RetryPolicy: quickly(1)})
				return noteResult[any](ctx, see, "call", workflow.ExecuteActivity(ctx, "Act"))
			})
		},
	},
	{
		name: "activity ID that nobody gave",
		play: func(p *play) {
			p.activity("Act", func(ctx context.Context) (string, error) { return activity.GetInfo(ctx).ActivityID, nil })
			p.workflow(func(ctx workflow.Context, see *notes) error {
				return noteResult[string](ctx, see, "ID", workflow.ExecuteActivity(attempts(ctx, 1), "Act"))
			})
		},
		differs: map[string]string{"ID": "Activity IDs that nobody gave count a run's routed calls. Plain, they count everything that the SDK numbers."},
	},
	{
		name: "context propagator that cannot read the header",
		play: func(p *play) {
			p.clientOptions.ContextPropagators = []workflow.ContextPropagator{unreadable{}}
			p.activity("Act", func(context.Context) error { return nil })
			p.workflow(func(ctx workflow.Context, see *notes) error {
				ctx = withOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: 200 * ms, RetryPolicy: quickly(2)})
				_ = noteResult[any](ctx, see, "call", workflow.ExecuteActivity(ctx, "Act"))
				return nil
			})
		},
		differs: map[string]string{"call": failsAtOnce},
	},
	{
		name: "failure of the activity error itself",
		play: func(p *play) {
			p.activity("Act", func(context.Context) error { return errors.New("no luck") })
			p.workflow(func(ctx workflow.Context, see *notes) error {
				var failed *temporal.ActivityError
				if !errors.As(workflow.ExecuteActivity(attempts(ctx, 1), "Act").Get(ctx, nil), &failed) {
					return errors.New("not an activity error")
				}
				see.note("has a failure", failed.Failure() != nil)
				return nil
			})
		},
	},
	{
		name: "NextRetryDelay",
		play: nextRetryDelay(150*time.Millisecond, quickly(3)),
	},
	{
		name: "NextRetryDelay beyond the maximum interval",
		play: nextRetryDelay(150*time.Millisecond, &temporal.RetryPolicy{
			InitialInterval: 10 * time.Millisecond, MaximumInterval: 20 * time.Millisecond, MaximumAttempts: 3,
		}),
	},
}

// nextRetryDelay plays a handler that says when it wants to be tried again.
func nextRetryDelay(delay time.Duration, policy *temporal.RetryPolicy) func(p *play) {
	return func(p *play) {
		var ended time.Time
		p.activity("Act", func(ctx context.Context) (string, error) {
			if !ended.IsZero() {
				p.seen.note("waited long enough", time.Since(ended) > delay*9/10)
			}
			ended = time.Now()
			return "", temporal.NewApplicationErrorWithOptions("later", "Later", temporal.ApplicationErrorOptions{NextRetryDelay: delay})
		})
		p.workflow(func(ctx workflow.Context, see *notes) error {
			ctx = withOptions(ctx, workflow.ActivityOptions{RetryPolicy: policy})
			return noteResult[string](ctx, see, "call", workflow.ExecuteActivity(ctx, "Act"))
		})
	}
}

// firstWords begins an error's innermost message.
func firstWords(err error) string {
	for errors.Unwrap(err) != nil {
		err = errors.Unwrap(err)
	}
	return err.Error()[:min(20, len(err.Error()))]
}

// unreadable is a propagator that no handler gets past. Local activities do: the dispatch is one.
type unreadable struct{}

func (unreadable) Inject(context.Context, workflow.HeaderWriter) error              { return nil }
func (unreadable) InjectFromWorkflow(workflow.Context, workflow.HeaderWriter) error { return nil }
func (unreadable) Extract(ctx context.Context, _ workflow.HeaderReader) (context.Context, error) {
	if activity.IsActivity(ctx) && !activity.GetInfo(ctx).IsLocalActivity {
		return nil, errors.New("no tenant in the header")
	}
	return ctx, nil
}

func (unreadable) ExtractToWorkflow(ctx workflow.Context, _ workflow.HeaderReader) (workflow.Context, error) {
	return ctx, nil
}

// wordError is an error of a user.
type wordError struct{ Word string }

func (e *wordError) Error() string { return "unknown word " + e.Word }

// wordFailures is a failure converter of a user that keeps one type of error across the border.
type wordFailures struct{ converter.FailureConverter }

func (c wordFailures) ErrorToFailure(err error) *failurepb.Failure {
	var word *wordError
	if !errors.As(err, &word) {
		f := c.FailureConverter.ErrorToFailure(err)
		if _, ok := errors.AsType[*temporal.PanicError](err); ok {
			f.Message = "hidden"
		}
		return f
	}
	return &failurepb.Failure{
		Message: word.Word, Source: "words",
		FailureInfo: &failurepb.Failure_ApplicationFailureInfo{ApplicationFailureInfo: &failurepb.ApplicationFailureInfo{Type: "Word"}},
	}
}

func (c wordFailures) FailureToError(f *failurepb.Failure) error {
	if f.GetApplicationFailureInfo().GetType() == "Word" {
		return &wordError{f.GetMessage()}
	}
	return c.FailureConverter.FailureToError(f)
}

// rot13 is a codec that anybody can break, and nobody overlooks.
type rot13 struct{}

func (rot13) Encode(payloads []*commonpb.Payload) ([]*commonpb.Payload, error) {
	return rotated(payloads, 13), nil
}

func (rot13) Decode(payloads []*commonpb.Payload) ([]*commonpb.Payload, error) {
	return rotated(payloads, 256-13), nil
}

func rotated(payloads []*commonpb.Payload, by byte) []*commonpb.Payload {
	out := make([]*commonpb.Payload, len(payloads))
	for i, p := range payloads {
		data := slices.Clone(p.GetData())
		for k := range data {
			data[k] += by
		}
		out[i] = &commonpb.Payload{Metadata: p.GetMetadata(), Data: data}
	}
	return out
}
