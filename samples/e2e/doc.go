// Package e2e holds the end-to-end tests: a Temporal server, a Redis and worker processes, as in production but for
// their size.
//
// TestMain starts one stack (samples/devserver, in a process of its own and never built with the race detector) for
// all tests. Each test takes a task queue of its own, and with it a pool of its own, so tests do not meet.
// Workers run inside the test, or as processes of samples/e2e/testworker that a test can kill.
package e2e
