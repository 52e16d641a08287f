package fidelity

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"go.uber.org/goleak"

	"github.com/slipstream-go/slipstream/samples/devstack"
)

// stack is the Temporal server and the Redis of all scenarios.
var stack *devstack.Stack

// sideBySide is how many scenarios are played at a time, unless -parallel says otherwise. They wait more than they
// compute; but with too many the server takes so long that plain heartbeats fail.
const sideBySide = "8"

func TestMain(m *testing.M) {
	if o := os.Getenv(processVariable); o != "" {
		if err := runProcess(o); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	flag.Parse()
	code, err := withStack(m.Run)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// withStack runs the tests between the start and the stop of everything that they share.
func withStack(tests func() int) (code int, err error) {
	if _, err := exec.LookPath("redis-server"); err != nil && os.Getenv("CI") == "true" {
		return 1, errors.New("fidelity: CI must test on a real Redis, and redis-server is not installed; run make setup")
	}
	chosen := false
	flag.Visit(func(f *flag.Flag) { chosen = chosen || f.Name == "test.parallel" })
	if !chosen {
		if err := flag.Set("test.parallel", sideBySide); err != nil {
			return 1, err
		}
	}
	if stack, err = devstack.StartProcess(context.Background(), devstack.Options{}); err != nil {
		return 1, err
	}
	fmt.Fprintln(os.Stderr, "fidelity:", stack.Describe())
	code = tests()
	return code, errors.Join(stack.Stop(), goleak.Find())
}
