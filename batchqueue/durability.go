package batchqueue

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// durabilityWait is how long a call waits for replicas and the disk. It is well below the
// time that clients wait for a reply.
const durabilityWait = time.Second

// durability is what must be true of a durable script before its reply is believed: it is
// asked for by WAIT or WAITAOF behind the script, on the same connection. Both wait for all
// that the server had written before, so a repeated call, which writes nothing, is not
// believed either until the first one is on the replicas.
type durability struct {
	replicas int
	fsync    bool
}

// wanted says whether any of the calls has to wait.
func (d durability) wanted(calls []call) bool {
	if d == (durability{}) {
		return false
	}
	for i := range calls {
		if calls[i].script.durable {
			return true
		}
	}
	return false
}

// wait adds the command that waits to the end of the pipeline.
func (d durability) wait(ctx context.Context, pipe redis.Pipeliner) *redis.Cmd {
	if d.fsync {
		return pipe.Do(ctx, "waitaof", 1, d.replicas, durabilityWait.Milliseconds())
	}
	return pipe.Do(ctx, "wait", d.replicas, durabilityWait.Milliseconds())
}

// judge puts an error into what worked, if the wait did not.
func (d durability) judge(waited *redis.Cmd, calls []call, out []*redis.Cmd) {
	err := d.met(waited)
	if err == nil {
		return
	}
	for i, cmd := range out {
		if calls[i].script.durable && cmd.Err() == nil {
			cmd.SetErr(err)
		}
	}
}

func (d durability) met(waited *redis.Cmd) error {
	reply, err := waited.Result()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotDurable, err)
	}
	local, replicas := int64(1), number(reply)
	if both, ok := reply.([]any); ok && len(both) == 2 {
		local, replicas = number(both[0]), number(both[1])
	}
	switch {
	case d.fsync && local < 1:
		return fmt.Errorf("%w: not on the server's disk within %v", ErrNotDurable, durabilityWait)
	case replicas < int64(d.replicas):
		return fmt.Errorf("%w: on %d of %d replicas within %v", ErrNotDurable, replicas, d.replicas, durabilityWait)
	}
	return nil
}

// onOneNode returns a pipeline to the key's node. In a cluster a command without a key, such
// as WAIT, would go to any of them.
func onOneNode(ctx context.Context, rdb redis.UniversalClient, key string) redis.Pipeliner {
	if cluster, ok := rdb.(*redis.ClusterClient); ok {
		if node, err := cluster.MasterForKey(ctx, key); err == nil {
			return node.Pipeline()
		}
	}
	return rdb.Pipeline()
}

// reload makes a cluster client look anew who serves which hash slot.
func reload(ctx context.Context, rdb redis.UniversalClient) {
	if cluster, ok := rdb.(*redis.ClusterClient); ok {
		cluster.ReloadState(ctx)
	}
}
