package fidelity

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/slipstream-go/slipstream/plugin"
)

// Activities as they are written where nobody thinks of names.

func Plainly(ctx context.Context, s string) (string, error) { return called(ctx, s) }

func Otherwise(ctx context.Context, s string) (string, error) { return called(ctx, s) }

// Methods are activities with what they need.
type Methods struct{ greeting string }

func (m *Methods) Greet(ctx context.Context, s string) (string, error) {
	return called(ctx, m.greeting+s)
}

func (m *Methods) Part(ctx context.Context, s string) (string, error) {
	return called(ctx, m.greeting+s)
}

// Helper is no activity.
func (*Methods) Helper() int { return 1 }

// called tells what a handler was called as.
func called(ctx context.Context, s string) (string, error) {
	return activity.GetInfo(ctx).ActivityType.Name + " " + s, nil
}

// mark marks activities that p.register registers.
func (p *play) mark(activities ...any) {
	for _, a := range activities {
		p.pluginOptions.Marks = append(p.pluginOptions.Marks, plugin.Mark{Activity: a})
	}
}

// calls plays calls of these activities, by function or by name, one after the other.
func (p *play) calls(activities ...any) {
	p.workflow(func(ctx workflow.Context, see *notes) error {
		for i, a := range activities {
			_ = noteResult[string](ctx, see, fmt.Sprint("call ", i), workflow.ExecuteActivity(attempts(ctx, 1), a, "hello"))
		}
		return nil
	})
}

// alsoOn starts another worker on another task queue, of this client or of one of its own. The test's end stops it.
func (p *play) alsoOn(c client.Client, taskQueue string, register func(worker.Registry)) {
	p.t.Helper()
	w := worker.New(c, taskQueue, worker.Options{WorkerStopTimeout: 5 * time.Second})
	register(w)
	require.NoError(p.t, w.Start())
	p.t.Cleanup(w.Stop)
}

// plainClient connects without the plugin.
func (p *play) plainClient() client.Client {
	p.t.Helper()
	o := p.clientOptions
	o.Plugins = nil
	c, err := client.DialContext(p.ctx, o)
	require.NoError(p.t, err)
	p.t.Cleanup(c.Close)
	return c
}

// elsewhere plays a call to another task queue, whose worker the function starts.
func elsewhere(start func(p *play, taskQueue string, register func(worker.Registry))) func(p *play) {
	return func(p *play) {
		other := p.taskQueue + "-other"
		p.activity("Act", func(ctx context.Context) (string, error) { return "here, on " + activity.GetInfo(ctx).TaskQueue, nil })
		p.workflow(func(ctx workflow.Context, see *notes) error {
			ctx = withOptions(ctx, workflow.ActivityOptions{TaskQueue: other, RetryPolicy: quickly(1)})
			return noteResult[string](ctx, see, "call", workflow.ExecuteActivity(ctx, "Act"))
		})
		p.connect()
		start(p, other, func(r worker.Registry) {
			r.RegisterActivityWithOptions(func(ctx context.Context) (string, error) {
				return "there, on " + activity.GetInfo(ctx).TaskQueue, nil
			}, activity.RegisterOptions{Name: "Act"})
		})
	}
}

// busiest plays a fan-out and returns how many handlers ran at a time, at most.
func busiest(p *play, calls int) int64 {
	var now, most atomic.Int64
	p.activity("Act", func(context.Context) error {
		n := now.Add(1)
		defer now.Add(-1)
		for {
			before := most.Load()
			if n <= before || most.CompareAndSwap(before, n) {
				break
			}
		}
		time.Sleep(50 * time.Millisecond) //nolint:forbidigo // the work of the handler
		return nil
	})
	p.workflow(func(ctx workflow.Context, see *notes) error {
		var all []workflow.Future
		for range calls {
			all = append(all, workflow.ExecuteActivity(attempts(ctx, 1), "Act"))
		}
		for _, call := range all {
			if err := call.Get(ctx, nil); err != nil {
				return err
			}
		}
		return nil
	})
	p.start()
	p.finish()
	return most.Load()
}

var registrationScenarios = []scenario{
	{
		name: "functions",
		play: func(p *play) {
			p.register(func(r worker.Registry) { r.RegisterActivity(Plainly) })
			p.mark(Plainly)
			p.calls(Plainly, "Plainly")
		},
	},
	{
		name: "methods",
		play: func(p *play) {
			p.register(func(r worker.Registry) {
				r.RegisterActivityWithOptions(&Methods{"dear "}, activity.RegisterOptions{SkipInvalidStructFunctions: true})
			})
			var m *Methods
			p.mark(m.Greet, "Part")
			p.calls(m.Greet, "Greet", (&Methods{"ignored"}).Greet, m.Part)
		},
	},
	{
		name: "methods with a prefix",
		play: func(p *play) {
			p.register(func(r worker.Registry) {
				r.RegisterActivityWithOptions(&Methods{"dear "}, activity.RegisterOptions{Name: "pre_", SkipInvalidStructFunctions: true})
			})
			p.mark("pre_Greet", "pre_Part")
			p.calls("pre_Greet", "pre_Part")
		},
	},
	{
		name: "one method",
		play: func(p *play) {
			m := &Methods{"dear "}
			p.register(func(r worker.Registry) { r.RegisterActivity(m.Greet) })
			p.mark(m.Greet)
			p.calls(m.Greet, "Greet")
		},
	},
	{
		name: "a name of its own, called by function and by name",
		play: func(p *play) {
			p.register(func(r worker.Registry) {
				r.RegisterActivityWithOptions(Otherwise, activity.RegisterOptions{Name: "Fancy"})
			})
			p.mark("Fancy")
			p.calls(Otherwise, "Fancy")
		},
	},
	{
		name:       "a name of its own, marked by function",
		staysPlain: true, // and the log says how to mark it
		play: func(p *play) {
			p.register(func(r worker.Registry) {
				r.RegisterActivityWithOptions(Otherwise, activity.RegisterOptions{Name: "Fancy"})
			})
			p.mark(Otherwise)
			p.calls(Otherwise, "Fancy")
		},
	},
	{
		name: "a name of its own without aliases",
		play: func(p *play) {
			p.workerOptions.DisableRegistrationAliasing = true
			p.register(func(r worker.Registry) {
				r.RegisterActivityWithOptions(Otherwise, activity.RegisterOptions{Name: "Fancy"})
				r.RegisterActivityWithOptions(Plainly, activity.RegisterOptions{Name: "Otherwise"})
			})
			p.mark("Fancy", "Otherwise")
			p.calls(Otherwise, "Fancy") // the first is Plainly, registered as Otherwise
		},
	},
	{
		name: "registered twice",
		play: func(p *play) {
			p.register(func(r worker.Registry) {
				o := activity.RegisterOptions{Name: "Act", DisableAlreadyRegisteredCheck: true}
				r.RegisterActivityWithOptions(func(context.Context, string) (string, error) { return "the first", nil }, o)
				r.RegisterActivityWithOptions(func(context.Context, string) (string, error) { return "the second", nil }, o)
			})
			p.mark("Act")
			p.calls("Act")
		},
	},
	{
		name: "dynamic",
		play: func(p *play) {
			p.register(func(r worker.Registry) {
				r.RegisterActivity(Plainly)
				r.RegisterDynamicActivity(func(ctx context.Context, args converter.EncodedValues) (string, error) {
					var s string
					var n int
					if !args.HasValues() {
						return activity.GetInfo(ctx).ActivityType.Name + " of nothing", nil
					}
					err := args.Get(&s, &n)
					return fmt.Sprint(activity.GetInfo(ctx).ActivityType.Name, " of ", s, n), err
				}, activity.DynamicRegisterOptions{})
			})
			p.mark("Anything", "Something", Plainly)
			p.workflow(func(ctx workflow.Context, see *notes) error {
				ctx = attempts(ctx, 1)
				_ = noteResult[string](ctx, see, "anything", workflow.ExecuteActivity(ctx, "Anything", "x", 7))
				_ = noteResult[string](ctx, see, "nothing", workflow.ExecuteActivity(ctx, "Something"))
				_ = noteResult[string](ctx, see, "too little", workflow.ExecuteActivity(ctx, "Something", "x"))
				_ = noteResult[string](ctx, see, "registered", workflow.ExecuteActivity(ctx, Plainly, "hello"))
				return nil
			})
		},
	},
	{
		name:       "unregistered",
		staysPlain: true,
		play: func(p *play) {
			p.register(func(r worker.Registry) { r.RegisterActivity(Plainly) })
			p.mark(Plainly, "Nobody")
			p.calls("Nobody", Plainly)
		},
		differs: map[string]string{"call 0": hostReason},
	},
	{
		name:       "session",
		staysPlain: true,
		play: func(p *play) {
			p.workerOptions.EnableSessionWorker = true
			p.activity("Act", func(context.Context) (string, error) { return "in the session", nil })
			p.workflow(func(ctx workflow.Context, see *notes) error {
				ctx = attempts(ctx, 1)
				session, err := workflow.CreateSession(ctx, &workflow.SessionOptions{CreationTimeout: patience, ExecutionTimeout: patience})
				if err != nil {
					return err
				}
				defer workflow.CompleteSession(session)
				see.note("session", workflow.GetSessionInfo(session).SessionState)
				return noteResult[string](ctx, see, "call", workflow.ExecuteActivity(session, "Act"))
			})
		},
	},
	{
		name:         "local activity of a marked type",
		sendsNothing: true,
		play: func(p *play) {
			p.activity("Act", func(ctx context.Context) (bool, error) { return activity.GetInfo(ctx).IsLocalActivity, nil })
			p.workflow(func(ctx workflow.Context, see *notes) error {
				ctx = workflow.WithLocalActivityOptions(ctx, workflow.LocalActivityOptions{StartToCloseTimeout: patience})
				err := noteResult[bool](ctx, see, "local", workflow.ExecuteLocalActivity(ctx, "Act"))
				p.seen.note("versions", workflow.GetInfo(ctx).SearchAttributes) //nolint:staticcheck // there are none to convert
				return err
			})
		},
	},
	{
		name: "no eager activities",
		play: func(p *play) {
			p.workerOptions.DisableEagerActivities = true
			p.activity("Act", func(context.Context) (string, error) { return "done", nil })
			p.workflow(func(ctx workflow.Context, see *notes) error {
				ctx = withOptions(ctx, workflow.ActivityOptions{DisableEagerExecution: true})
				return noteResult[string](ctx, see, "call", workflow.ExecuteActivity(ctx, "Act"))
			})
		},
	},
	{
		name: "another task queue of the same client",
		play: elsewhere(func(p *play, taskQueue string, register func(worker.Registry)) { p.alsoOn(p.c, taskQueue, register) }),
	},
	{
		name: "another task queue of another client with the plugin",
		play: elsewhere(func(p *play, taskQueue string, register func(worker.Registry)) {
			if p.mode != routed {
				p.alsoOn(p.plainClient(), taskQueue, register)
				return
			}
			another, err := plugin.New(p.pluginOptions)
			require.NoError(p.t, err)
			p.t.Cleanup(func() { require.NoError(p.t, another.Close()) })
			o := p.clientOptions
			o.Plugins = []client.Plugin{another}
			c, err := client.DialContext(p.ctx, o)
			require.NoError(p.t, err)
			p.t.Cleanup(c.Close)
			p.alsoOn(c, taskQueue, register)
		}),
	},
	{
		name:       "another task queue of a worker without the plugin",
		staysPlain: true,
		play: elsewhere(func(p *play, taskQueue string, register func(worker.Registry)) {
			p.alsoOn(p.plainClient(), taskQueue, register)
		}),
	},
	{
		name: "workflows in one worker, activities in another",
		play: func(p *play) {
			p.workerOptions.LocalActivityWorkerOnly = true
			p.mark(Plainly)
			p.calls(Plainly)
			p.startWorker()
			w := worker.New(p.c, p.taskQueue, worker.Options{DisableWorkflowWorker: true, WorkerStopTimeout: 5 * time.Second})
			w.RegisterActivity(Plainly)
			require.NoError(p.t, w.Start())
			p.t.Cleanup(w.Stop)
			p.run = p.execute()
		},
	},
	{
		name: "pinned to a build",
		play: func(p *play) {
			deployment := "deployment-" + p.taskQueue
			version := func(build string) {
				p.workerOptions.DeploymentOptions = worker.DeploymentOptions{
					UseVersioning: true, DefaultVersioningBehavior: workflow.VersioningBehaviorPinned,
					Version: worker.WorkerDeploymentVersion{DeploymentName: deployment, BuildID: build},
				}
			}
			makeCurrent := func(build string) {
				p.await("the version to be known", func() bool {
					handle := p.c.WorkerDeploymentClient().GetHandle(deployment)
					_, err := handle.SetCurrentVersion(p.ctx, client.WorkerDeploymentSetCurrentVersionOptions{BuildID: build})
					return err == nil
				})
			}
			var deployed atomic.Value
			deployed.Store("1")
			p.register(func(r worker.Registry) {
				build := deployed.Load() // of this worker
				r.RegisterActivityWithOptions(func(context.Context) (string, error) { return fmt.Sprint("build ", build), nil },
					activity.RegisterOptions{Name: "Act"})
			})
			p.mark("Act")
			p.workflow(func(ctx workflow.Context, see *notes) error {
				_ = noteResult[string](ctx, see, "call", workflow.ExecuteActivity(attempts(ctx, 1), "Act"))
				workflow.GetSignalChannel(ctx, "deployed").Receive(ctx, nil)
				return noteResult[string](ctx, see, "call", workflow.ExecuteActivity(attempts(ctx, 1), "Act"))
			})
			version("1")
			p.startWorker()
			makeCurrent("1")
			p.run = p.execute()
			p.await("the first call", func() bool { return p.noted("call") })
			deployed.Store("2")
			version("2")
			p.t.Cleanup(p.worker.Stop)
			p.startWorker() // beside that
			makeCurrent("2")
			p.signal("deployed", nil)
		},
	},
	{
		name: "concurrency of the worker",
		play: func(p *play) {
			p.workerOptions.MaxConcurrentActivityExecutionSize = 3
			most := busiest(p, 20)
			p.seen.note("at a time", 1 < most && most <= 3)
		},
	},
	{
		name: "rate of the worker",
		play: func(p *play) {
			p.workerOptions.WorkerActivitiesPerSecond = 10
			began := time.Now()
			busiest(p, 20)
			p.seen.note("in its time", time.Since(began) > 900*time.Millisecond)
		},
	},
}

// hostReason is why the host activity can be seen.
const hostReason = "A worker with executors has an activity of the type slipstream.host and runs it once, when it starts: " +
	"the SDK's metrics count it, and its error for an unknown type lists it. The server never hears of it."

// Plainly, the tuner alone says how much a worker does at a time; the executor cannot ask it.
func TestTunerNeedsConcurrency(t *testing.T) {
	for name, concurrency := range map[string]int{"without": 0, "with": 10} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPlay(t, routed)
			tuner, err := worker.NewFixedSizeTuner(worker.FixedSizeTunerOptions{NumWorkflowSlots: 10, NumActivitySlots: 10, NumLocalActivitySlots: 10, NumNexusSlots: 10})
			require.NoError(t, err)
			p.workerOptions.Tuner = tuner
			p.pluginOptions.Concurrency = concurrency
			p.activity("Act", func(context.Context) (string, error) { return "done", nil })
			p.connect()
			w := worker.New(p.c, p.taskQueue, p.workerOptions)
			for _, register := range p.registrations {
				register(w)
			}
			err = w.Start()
			if concurrency == 0 {
				require.ErrorContains(t, err, "plugin.Options.Concurrency")
				return
			}
			require.NoError(t, err)
			w.Stop()
		})
	}
}
