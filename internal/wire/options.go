package wire

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"
	"google.golang.org/protobuf/types/known/durationpb"
)

// The server checks and completes the options of an activity when it is scheduled. A
// routed call never comes there, so the same rules stand here.

// Validate is the server's check of an activity's time-outs and retry policy. The error
// names the option.
func (o *CallOptions) Validate() error {
	for _, timeout := range []struct {
		name  string
		value time.Duration
	}{
		{"ScheduleToCloseTimeout", o.ScheduleToClose},
		{"ScheduleToStartTimeout", o.ScheduleToStart},
		{"StartToCloseTimeout", o.StartToClose},
		{"HeartbeatTimeout", o.Heartbeat},
	} {
		if timeout.value < 0 {
			return fmt.Errorf("%s is %v; give a positive duration, or 0 for the default", timeout.name, timeout.value)
		}
	}
	if o.ScheduleToClose == 0 && o.StartToClose == 0 {
		return errors.New("StartToCloseTimeout and ScheduleToCloseTimeout are both 0; set at least one")
	}
	return validateRetry(o.Retry)
}

// Complete does what the server does with a schedule command: time-outs that are missing
// follow from those that are there, and none outlives the workflow run, whose own time-out
// is 0 where there is none. Handlers see the result in activity.GetInfo.
func (o *CallOptions) Complete(run time.Duration) {
	if o.ScheduleToClose > 0 {
		o.ScheduleToStart = min(cmp.Or(o.ScheduleToStart, o.ScheduleToClose), o.ScheduleToClose)
		o.StartToClose = min(cmp.Or(o.StartToClose, o.ScheduleToClose), o.ScheduleToClose)
	} else {
		o.ScheduleToClose = run
		o.ScheduleToStart = cmp.Or(o.ScheduleToStart, run)
	}
	if run > 0 {
		o.ScheduleToClose = min(o.ScheduleToClose, run)
		o.ScheduleToStart = min(o.ScheduleToStart, run)
		o.StartToClose = min(o.StartToClose, run)
	}
	o.Heartbeat = min(o.Heartbeat, o.StartToClose)
}

// The server's default retry policy; namespaces may change it by dynamic configuration,
// which no client can read.
const (
	defaultInitialInterval        = time.Second
	defaultBackoffCoefficient     = 2.0
	defaultMaximumIntervalInitial = 100 // maximum interval, in initial intervals
)

// RetryPolicy returns the policy with the server's defaults filled in; nil is a policy of
// defaults.
func RetryPolicy(p *temporal.RetryPolicy) *commonpb.RetryPolicy {
	if p == nil {
		p = &temporal.RetryPolicy{}
	}
	initial := cmp.Or(p.InitialInterval, defaultInitialInterval)
	maximum := p.MaximumInterval
	if maximum == 0 {
		maximum = defaultMaximumIntervalInitial * initial
		if initial > math.MaxInt64/defaultMaximumIntervalInitial {
			maximum = math.MaxInt64
		}
	}
	return &commonpb.RetryPolicy{
		InitialInterval:        durationpb.New(initial),
		BackoffCoefficient:     cmp.Or(p.BackoffCoefficient, defaultBackoffCoefficient),
		MaximumInterval:        durationpb.New(maximum),
		MaximumAttempts:        p.MaximumAttempts,
		NonRetryableErrorTypes: p.NonRetryableErrorTypes,
	}
}

// timeoutTypePrefix begins the names by which a retry policy excludes time-outs.
const timeoutTypePrefix = "TemporalTimeout:"

func validateRetry(p *commonpb.RetryPolicy) error {
	if p.GetMaximumAttempts() == 1 {
		return nil
	}
	initial, maximum := p.GetInitialInterval().AsDuration(), p.GetMaximumInterval().AsDuration()
	switch {
	case initial < 0:
		return fmt.Errorf("RetryPolicy.InitialInterval is %v; give a positive duration, or 0 for %v", initial, defaultInitialInterval)
	case maximum < initial:
		return fmt.Errorf("RetryPolicy.MaximumInterval is %v; give at least InitialInterval (%v)", maximum, initial)
	case p.GetBackoffCoefficient() < 1:
		return fmt.Errorf("RetryPolicy.BackoffCoefficient is %v; give at least 1", p.GetBackoffCoefficient())
	case p.GetMaximumAttempts() < 0:
		return fmt.Errorf("RetryPolicy.MaximumAttempts is %d; give a positive number, or 0 for no limit", p.GetMaximumAttempts())
	}
	for _, name := range p.GetNonRetryableErrorTypes() {
		if timeout, ok := strings.CutPrefix(name, timeoutTypePrefix); ok {
			kind, err := enumspb.TimeoutTypeFromString(timeout)
			if err != nil || kind == enumspb.TIMEOUT_TYPE_UNSPECIFIED {
				return fmt.Errorf("RetryPolicy.NonRetryableErrorTypes names %q; Temporal knows no such time-out", name)
			}
		}
	}
	return nil
}
