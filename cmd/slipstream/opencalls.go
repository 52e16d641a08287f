package main

import (
	"context"
	"errors"
	"strings"
	"time"

	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
)

const (
	// queryOpenCalls is workflow.QueryOpenCalls, which a command that is no workflow does not import.
	queryOpenCalls = "slipstream_open_calls"
	// queryTimeout is how long a worker may take to answer it.
	queryTimeout = 5 * time.Second
)

// openCall is what is used here of a workflow.OpenCall: a call that a run waits for, as the run knows it.
type openCall struct {
	Number       uint64 `json:"number"`
	ActivityType string `json:"activityType"`
	State        string `json:"state"`
	Run          string `json:"run"`
	Pool         string `json:"pool"`
	Slot         int    `json:"slot"`
}

// The states of an openCall.
const (
	callBuffered    = "buffered"
	callDispatching = "dispatching"
	callUnsure      = "unsure"
	callQueued      = "queued"
	callWaiting     = "waiting"
)

// callName names a call, and its task in the queue.
type callName struct {
	run    string
	number uint64
}

// name is the call's, within run as long as it does not know better.
func (c openCall) name(run string) callName {
	if c.Run != "" {
		run = c.Run
	}
	return callName{run, c.Number}
}

// askRun asks the run what it waits for. It makes a hint of what goes wrong.
func (d *describeJSON) askRun(ctx context.Context, c client.Client) []openCall {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	answer, err := c.QueryWorkflow(ctx, d.Workflow, d.Run, queryOpenCalls)
	var failed *serviceerror.QueryFailed
	switch {
	case errors.As(err, &failed) && strings.Contains(failed.Message, "unknown queryType"):
		return nil // its worker has no plugin: it is plain
	case err != nil:
		d.hintf("No worker said what the run itself waits for, so that calls are shown as far as the queue knows them: %v.", err)
		return nil
	}
	var calls []openCall
	if err := answer.Get(&calls); err != nil {
		d.hintf("What the run itself waits for cannot be decoded (--codec-endpoint?), so that calls are shown as far as the queue knows them: %v.", err)
		return nil
	}
	return calls
}

// addOthers adds the calls that the run waits for and the queue does not know.
func (d *describeJSON) addOthers(waited []openCall, found map[callName]bool, limit int) {
	lost, waiting := 0, 0
	for _, c := range waited {
		name := c.name(d.Run)
		if found[name] {
			continue
		}
		if c.State == callWaiting {
			waiting++
		}
		call := callJSON{taskJSON: taskJSON{Pool: c.Pool, Run: name.run, Number: c.Number, Type: c.ActivityType, State: c.State, Workflow: d.Workflow, WorkflowRun: d.Run}}
		if c.Pool != "" {
			call.Slot = &c.Slot
		}
		if !d.queueAway {
			call.InQueue = new(false)
			if c.State == callQueued {
				lost++
			}
		}
		d.CallsInAll++
		if len(d.Calls) < limit {
			d.Calls = append(d.Calls, call)
		}
	}
	if lost > 0 {
		d.hintf("Redis has lost %s: the run finds out when it asks for them, and sends them again.", plural(lost, "call"))
	}
	if waiting > 0 {
		d.hintf("Until Redis takes them, %s wait: the run has no room for more ordinary activities.", plural(waiting, "call"))
	}
}

// where is the state of a call in words of people, for whom the run's and the queue's must differ.
func (c callJSON) where() string {
	if c.InQueue != nil && *c.InQueue {
		return c.State
	}
	switch {
	case c.State == callBuffered:
		return "not sent yet"
	case c.State == callDispatching:
		return "being sent"
	case c.State == callUnsure:
		return "perhaps sent"
	case c.State == callQueued && c.InQueue != nil:
		return "lost by Redis"
	case c.State == callWaiting:
		return "waits for Redis"
	}
	return c.State
}
