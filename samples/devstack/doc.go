// Package devstack gives samples and tests a Temporal server and a Redis to run on, with nothing to install or
// configure first.
//
// By default [Start] embeds a Temporal server in the process (everything in memory, gone with it) and starts a real
// redis-server as a child process where one is installed, else miniredis inside the process. [Stack.Describe] says
// which. Either can be replaced by one that is already running: Options.Temporal and Options.Redis, or the flags that
// [Options.BindFlags] adds.
//
// [StartProcess] runs the same stack as a process of its own (samples/devserver), for callers that should not link
// the Temporal server, or should not share a process with it. [Build] and [Program.Start] do the two steps of it one by
// one.
//
// Options.TemporalFile makes the embedded server a lasting one: its data is in an SQLite file, and a server that is started
// on the same file and port takes over, also from one that was killed.
//
// A dev stack is for trying things out. The embedded server keeps its data in SQLite, over one connection, with one
// history shard: figures measured on it compare two programs, they do not describe a Temporal cluster.
package devstack
