/*
Package batchqueue is a task queue on Redis Streams, made for many small tasks that
belong to longer-lived owners ("runs") who want every outcome exactly once. It knows
nothing of Temporal; Slipstream's activity package puts workflows on top of it.

# What it guarantees

  - A task that was accepted runs at least once, as long as Redis keeps its data. A run
    gets one outcome per task: the first that was recorded.
  - An outcome is recorded before anything else happens to it. From then on no executor
    can run the task again, and the outcome stays until the run has it.
  - A task with MaximumAttempts 1 that was claimed once is never started again.
  - Enqueue is idempotent by (run, number, fingerprint). The same number with another
    fingerprint is another question: it supersedes the old task, whose outcome can then
    no longer reach the run.
  - A task may have steps, one after the other. The script that records that a step
    completed adds the next: a task is in one step, and no step is skipped or begun twice
    but by the rules above.
  - When an executor dies, its tasks run elsewhere within two leases plus their retry
    interval. When it stops in an orderly way, they run elsewhere at once and no attempt
    is burnt.
  - Every script that changes something may be sent twice: go-redis re-sends after an
    EOF or a time-out, and the second time changes nothing.

What Redis loses is lost here too; runs find out by asking (Ask) and add again what is
missing.

# Words

A pool is a named queue with its limits. A slot is a partition of a pool: all keys of a
slot share one hash tag, every script works in one slot, and a run lives in one slot of
each pool for life. (It is neither Temporal's worker slot nor a Redis Cluster hash slot.)
An executor runs handlers, one permit each; executors that share a Budget share permits,
with each other and with guests, which are work from elsewhere. A claim is a task in an
executor's hands; a lease is the executor's right to its claims in one slot. A wave is
what a run enqueues together; a window is the time in which its outcomes wait to be
taken instead of being delivered.

# A task's life

	             enqueue                    claim
	(nothing) ------------> q waiting ------------------> q claimed
	                          ^  |  \                      |  |   |
	       due, release,      |  |   \ cancel, deadline    |  |   | complete, fail
	       reclaim            |  |    \                    |  |   | for good
	               d delayed -+  |     +---------.         |  |   |
	                  ^          |                \        |  |   |
	                  +----------|------ retry ----\-------+  |   |
	                             |                  \         |   |
	              run abandoned  v                   v        v   v
	                         z parked              f finished (in the run's box)
	                             |                   |                   |
	              the run asks   |                   | batch             | window or ask
	                  +----------+                   v                   v
	                  v                          a acknowledged      t taken
	              q waiting

Where a step follows, "complete" leads back to q waiting, in the stream of its type.
Superseding moves a number from any state to q waiting under its new fingerprint. A
cancel of a claimed task makes it x: as q, but its next failure or release ends it.

# Ownership

The pending list of the consumer group is the only place that says who holds a task.
There is no second structure that could disagree: not the run record, not the lease.
A task that goes back to a stream gets a new entry id, so an entry is delivered to one
consumer in its life, and "XACK returned 1" is the fence: whoever gets it may settle the
task, once. A stalled executor that wakes up after its claims were reclaimed settles
nothing; its late result is dropped.

A lease says that an executor is alive, nothing else. It exists while claims are held in
the slot and is extended at a third of its length. Claims of consumers without lease are
found by the slot's leader (lost.lua) and settled as lost, on condition that the lease is
still absent in that very step.

# Runs, waves, windows

The run record (hash run:<run>) holds a packed table of 22 bytes per task: state,
fingerprint and where its entry is. It gives idempotent enqueue, status, cancel and ask
in O(1) per task. Data that the tasks of a wave share is stored once per digest. Numbers
below the watermark that each wave brings are trimmed.

A run that begins with one task, which has no window and may wait for ever, has no record
yet: it is folded. Its entry carries the common data, and a hash that many such runs share
says where the entry is, in 12 bytes. Whatever needs the record makes it first, from the
entry; a claim does not need it. So a backlog of runs of one task each costs little more
than their entries, and everything else knows one form of a run.

Outcomes go into the run's box (list box:<run>). The Deliverer fixes a batch by writing
down how many from the front it takes, sends it, and removes exactly these when the
receiver has acknowledged; a re-send is therefore equal to the byte, and so is its ID.
While a window is open the Deliverer leaves the run alone and CloseWindow takes from the
back of the box, so the two never touch the same outcome.

# Heirs

Pools may form a family: pools of several parties whose tasks any of them may run (the
builds of one program, one after the other). Whoever has reason to run tasks of the
family says so (Inherit), and who spoke last is the heir. It may run executors, marked as
such, for pools of the family that have not been attended by executors of their own for
two leases. The queue keeps the record and the presences; pools do not change hands,
tasks do not move, and the state machine knows nothing of it.

# Who does what

	script     transition                                   caller
	enqueue    nothing -> q                                  Enqueue
	claim      q waiting -> q claimed                        executor
	settle     claimed -> f, d, z or q waiting (also the     executor, Reclaimer
	           next step)
	due        d -> q; waiting past its deadline -> f        leader of the slot
	cancel     q waiting, d -> f; claimed -> x               Cancel
	take       f -> t; closes a window                       CloseWindow, Ask
	ask        z -> q; otherwise reads                       Ask
	batches    fixes a batch                                 Deliverer
	acked      f -> a                                        Deliverer
	abandon    q waiting, d -> z                             Deliverer
	lost       reads claims without lease                    Reclaimer
	redrive    a dead letter -> q waiting; f, z -> q         Redrive
	extend, audit, adopt, home, resign, present, stats, tasks, task, progress, runs, holders,
	forget, drop, rate, rights

Each is one file in lua/, with its guarantee, keys, arguments and replies in the header.

# Who dies where

	executor, before it handled a claim    lease ends; the claim is settled as lost
	executor, after the handler returned   the same: the result was not recorded yet
	executor, after settle                 nothing: the outcome is in the box
	reply of a claim lost                  the next audit adopts the claim
	reply of a settle lost                 the repeated settle changes nothing and says the same
	Deliverer, before the signal           the next leader sends the same batch
	Deliverer, after the signal            the next leader sends it again, equal and with
	                                       the same ID: the receiver drops it
	executor, with what newer code wrote   an older leader leaves it to a newer one
	leader                                 its key expires; another present executor leads
	window's owner                         the window expires; due.lua flips the outcomes
	Redis, with its data                   Ask says "not here"; the run adds again

# Keys

All names are built in keys.go. <slot> is slipstream:{<namespace>/<pool>/<slot>}: and
<pool> slipstream:{<namespace>/<pool>}:, <family> likewise, <namespace>
slipstream:{<namespace>}:.

	<slot>ready:<type>      stream of enqueued tasks          lives with the slot
	<slot>front:<type>      stream of tasks that come again   lives with the slot
	<slot>suspect:<l>:<type>  stream of suspects of a level   lives with the slot
	<slot>run:<run>         hash, the run record              retention after its last task
	<slot>fold:<number>     hash of runs that are folded      until their task is touched
	<slot>box:<run>         list of outcomes                  until acknowledged or taken
	<slot>taken:<run>       hash of outcomes taken            retention
	<slot>closed:<run>:<wave>  closing answer                 1 min
	<slot>due               sorted set of what is due         until due, or its tasks ended
	<slot>delayed           hash of delayed and parked tasks  until due; parked 15 min
	<slot>deliverable       sorted set of runs with outcomes  until delivered
	<slot>leases            sorted set executor -> expiry     lives with the slot
	<slot>cancels, heartbeats  hashes by claim                until settled
	<slot>permits           hash of the home executors        ten leases, an entry counts for one
	<slot>deliverer         the leader                        one lease
	<slot>counters, types   exact counts, known types         live with the slot
	<slot>dead              stream of dead letters            10,000 at most
	<pool>config            configuration, versioned          for ever
	<pool>announced         types that workers announced      24 h
	<pool>enlisted          who belongs to the pool           as long as it says
	<pool>executors, executor:<id>  who is there              24 h, one lease
	<pool>rate              the pool's token bucket           1 min
	<namespace>pools        hash of pool -> until, slots      30 days after the last word, and
	                                                          as long as the pool is used
	<family>heir            the party that spoke last         15 min
	<family>inherited       pools that parties spoke for      15 min

A slot lives for as long as its pool is listed. After that the next pool that is listed
drops it (drop.lua), unless a task, an outcome, a dead letter or an executor is there.

# Deliberately not done

  - No exactly-once execution: a handler that had its effect and died before its result
    was recorded runs again, unless it has MaximumAttempts 1.
  - No order between tasks beyond "roughly first in, first out" per type and slot.
  - No priorities and no fairness between runs of one pool: use pools.
  - No synchronous replication (WAIT): the run's asking repairs what a failover loses.
  - No result store: an outcome is kept until the run has it, not for later readers.
*/
package batchqueue
