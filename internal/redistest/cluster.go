package redistest

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// hashSlots is the number of hash slots of a Redis Cluster.
const hashSlots = 16384

// Cluster is a Redis Cluster of masters without replicas that a test owns.
type Cluster struct {
	Nodes []*Server

	t   testing.TB
	ids []string // names of the nodes within the cluster
}

// StartCluster starts a cluster of n masters, and waits until all of them say that it is whole.
// Until it is restarted, a node takes another one for dead after one second. args are added to the command lines.
func StartCluster(t testing.TB, n int, args ...string) *Cluster {
	t.Helper()
	c := &Cluster{t: t}
	buses := make([]int, n)
	for i := range n {
		buses[i] = freePort(t)
		s := Start(t, append([]string{"--cluster-enabled", "yes", "--cluster-port", strconv.Itoa(buses[i])}, args...)...)
		c.Nodes = append(c.Nodes, s)
		rdb := s.Client()
		id, err := rdb.ClusterMyID(t.Context()).Result()
		if err != nil {
			t.Fatalf("name of a cluster node: %v", err)
		}
		c.ids = append(c.ids, id)
		if err := rdb.ClusterAddSlotsRange(t.Context(), i*hashSlots/n, (i+1)*hashSlots/n-1).Err(); err != nil {
			t.Fatalf("give a cluster node its hash slots: %v", err)
		}
		if i > 0 {
			if err := rdb.Do(t.Context(), "cluster", "meet", "127.0.0.1", c.Nodes[0].port, buses[0]).Err(); err != nil {
				t.Fatalf("join a cluster node to the others: %v", err)
			}
		}
	}
	c.AwaitWhole()
	for _, s := range c.Nodes { // not before: nodes that meet slowly would give each other up
		if err := s.Client().ConfigSet(t.Context(), "cluster-node-timeout", "1000").Err(); err != nil {
			t.Fatalf("configure a cluster node: %v", err)
		}
	}
	return c
}

// AwaitWhole waits until every node says that every hash slot is served, and by whom.
func (c *Cluster) AwaitWhole() {
	c.t.Helper()
	for _, s := range c.Nodes {
		rdb := s.Client()
		Eventually(c.t, 20*time.Second, "the cluster is whole", func() bool {
			shards, err := rdb.ClusterShards(context.Background()).Result()
			if err != nil || !strings.Contains(rdb.ClusterInfo(context.Background()).Val(), "cluster_state:ok") {
				return false
			}
			covered := int64(0)
			for _, shard := range shards {
				for _, r := range shard.Slots {
					covered += r.End - r.Start + 1
				}
			}
			return covered == hashSlots
		})
	}
}

// Options are those of a client of the cluster.
func (c *Cluster) Options() *redis.ClusterOptions {
	o := &redis.ClusterOptions{ContextTimeoutEnabled: true}
	for _, s := range c.Nodes {
		o.Addrs = append(o.Addrs, s.Addr)
	}
	return o
}

// Client returns a client that is closed when the test ends.
func (c *Cluster) Client() *redis.ClusterClient {
	rdb := redis.NewClusterClient(c.Options())
	c.t.Cleanup(func() { _ = rdb.Close() })
	return rdb
}

// Owner is the index of the node that serves the key, and the key's hash slot.
func (c *Cluster) Owner(key string) (node, hashSlot int) {
	c.t.Helper()
	slot, err := c.Nodes[0].Client().ClusterKeySlot(c.t.Context(), key).Result()
	if err != nil {
		c.t.Fatalf("hash slot of %q: %v", key, err)
	}
	for i, s := range c.Nodes {
		if nodes, err := s.Client().ClusterNodes(c.t.Context()).Result(); err == nil && serves(nodes, int(slot)) {
			return i, int(slot)
		}
	}
	c.t.Fatalf("nobody serves the hash slot of %q", key)
	return 0, 0
}

// serves says whether the node whose CLUSTER NODES this is serves the hash slot.
func serves(nodes string, slot int) bool {
	for line := range strings.Lines(nodes) {
		if !strings.Contains(line, "myself") {
			continue
		}
		for _, r := range strings.Fields(line)[8:] {
			first, last, isRange := strings.Cut(r, "-")
			if !isRange {
				last = first
			}
			from, err1 := strconv.Atoi(first)
			to, err2 := strconv.Atoi(last)
			if err1 == nil && err2 == nil && from <= slot && slot <= to {
				return true
			}
		}
	}
	return false
}

// Move moves a hash slot between nodes, as redis-cli's reshard does: key by key, while
// clients go on. halfway is called when half of the keys are there, and again when all are,
// before the nodes are told that the slot has a new owner.
func (c *Cluster) Move(hashSlot, from, to int, halfway func()) {
	c.t.Helper()
	ctx := c.t.Context()
	source, target := c.Nodes[from].Client(), c.Nodes[to].Client()
	must := func(what string, err error) {
		c.t.Helper()
		if err != nil {
			c.t.Fatalf("move hash slot %d from node %d to %d: %s: %v", hashSlot, from, to, what, err)
		}
	}
	must("import", target.Do(ctx, "cluster", "setslot", hashSlot, "importing", c.ids[from]).Err())
	must("migrate", source.Do(ctx, "cluster", "setslot", hashSlot, "migrating", c.ids[to]).Err())
	n, err := source.ClusterCountKeysInSlot(ctx, hashSlot).Result()
	must("count keys", err)
	for {
		keys, err := source.ClusterGetKeysInSlot(ctx, hashSlot, int(max(1, n/2))).Result()
		must("list keys", err)
		if len(keys) == 0 {
			break
		}
		args := []any{"migrate", "127.0.0.1", c.Nodes[to].port, "", 0, 5000, "keys"}
		for _, key := range keys {
			args = append(args, key)
		}
		must(fmt.Sprintf("%d of %d keys", len(keys), n), source.Do(ctx, args...).Err())
		halfway()
	}
	for _, i := range []int{to, from} {
		must("assign", c.Nodes[i].Client().Do(ctx, "cluster", "setslot", hashSlot, "node", c.ids[to]).Err())
	}
	for i, s := range c.Nodes {
		if i != from && i != to {
			must("assign", s.Client().Do(ctx, "cluster", "setslot", hashSlot, "node", c.ids[to]).Err())
		}
	}
}
