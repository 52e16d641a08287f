/*
Package plugintest is for the tests of those who use Slipstream.

A workflow's unit test needs nothing of it: in the SDK's test environments marked calls
are plain, with the plugin and without, and mocks work as ever. Beyond that:

  - [New] gives a plugin over a Redis within the test's own process, for tests against a
    Temporal server (testsuite.StartDevServer, for example): marked activities go through
    the queue as in production.
  - [RequireRouted] and [ReadRoutes] tell from a run's history how its calls were made:
    that a mark had its effect, or that a type stayed plain.
  - [RequireReplays] replays a history under the marks of several releases, as a rolling
    deployment would.
*/
package plugintest
