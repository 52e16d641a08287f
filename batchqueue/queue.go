package batchqueue

import (
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/slipstream-go/slipstream/internal/outage"
)

// Logger is what the queue logs to; Temporal's log.Logger satisfies it.
type Logger interface {
	Debug(msg string, keyvals ...any)
	Info(msg string, keyvals ...any)
	Warn(msg string, keyvals ...any)
	Error(msg string, keyvals ...any)
}

// Options configure a Queue. Only Namespace is required.
type Options struct {
	// Namespace separates queues that share a Redis; for Slipstream it is the Temporal
	// namespace.
	Namespace string
	// KeyPrefix separates Temporal clusters that share a Redis. Default "slipstream".
	// It must not contain braces.
	KeyPrefix string
	// Lease is how long an executor that says nothing keeps its claims. Default 5 s, at
	// least 1 s. All processes of a namespace must use the same value.
	Lease time.Duration
	// Slots is the number of slots of a pool that has no stored configuration.
	// Default 4, at most 1,024. Stored configuration wins (see SetConfig).
	Slots int
	// PauseAboveMemory is the share of the process's memory limit from which on executors
	// claim nothing; handlers that run go on, and claiming goes on below it. The limit is
	// GOMEMLIMIT or that of the control group, whichever is nearer; without one it never
	// pauses. Default 0.7, at most 1; negative: never.
	PauseAboveMemory float64
	// Replicas is how many replicas of the Redis server must have what is enqueued, claimed
	// and settled before it counts (WAIT); 0, the default, is none. A failover to one of them
	// then loses nothing that counted. It is not consensus: a failover to a replica that was
	// behind still does. Each of these calls waits for the replicas, one second at most; one
	// that they do not confirm is unsure (ErrNotDurable) and is repeated, so without enough
	// replicas nothing goes through the queue.
	Replicas int
	// Fsync makes it wait in the same way until the append-only file is on the server's disk,
	// and on those of the Replicas (WAITAOF). It needs Redis 7.2 and appendonly yes.
	Fsync bool
	// Logger gets the queue's messages. Default: none.
	Logger Logger
}

// Queue is a set of pools of one namespace in one Redis. It is safe for concurrent
// use. It owns no goroutines: executors and inboxes do.
type Queue struct {
	rdb     redis.UniversalClient
	opts    Options
	keys    keys
	log     Logger
	scripts *scripts
	configs *configCache
	memory  *memoryGuard

	// Rows of what this code could not read, for the log; no end of them is told.
	undecodable outage.Outage // tasks that became dead letters
	newer       outage.Outage // tasks and outcomes in newer formats
	damaged     outage.Outage // outcomes
}

// New returns a Queue over rdb, which stays the caller's to close: a client of one server, of
// Sentinels or of a cluster. It does not talk to Redis (see Check). Errors match ErrInvalid
// and name the option.
func New(rdb redis.UniversalClient, o Options) (*Queue, error) {
	if rdb == nil {
		return nil, fmt.Errorf("batchqueue: redis client is nil: %w", ErrInvalid)
	}
	switch client := rdb.(type) {
	case *redis.Ring:
		return nil, fmt.Errorf("batchqueue: redis client is a Ring, which keeps keys elsewhere while a server is away: use a Cluster or Sentinel client: %w", ErrInvalid)
	case *redis.ClusterClient:
		if client.Options().ReadOnly {
			return nil, fmt.Errorf("batchqueue: redis client reads from replicas, which may be behind: unset ReadOnly, RouteByLatency and RouteRandomly: %w", ErrInvalid)
		}
	}
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	q := &Queue{rdb: rdb, opts: o, keys: newKeys(o.KeyPrefix, o.Namespace), log: o.Logger, scripts: newScripts(durability{o.Replicas, o.Fsync})}
	q.configs = newConfigCache(q)
	q.memory = newMemoryGuard(o.PauseAboveMemory, o.Logger)
	return q, nil
}

// Lease is how long an executor that says nothing keeps its claims.
func (q *Queue) Lease() time.Duration { return q.opts.Lease }

const (
	defaultKeyPrefix = "slipstream"
	defaultLease     = 5 * time.Second
	minLease         = time.Second
)

func (o Options) withDefaults() (Options, error) {
	if o.KeyPrefix == "" {
		o.KeyPrefix = defaultKeyPrefix
	}
	if o.Lease == 0 {
		o.Lease = defaultLease
	}
	if o.Slots == 0 {
		o.Slots = defaultSlots
	}
	if o.PauseAboveMemory == 0 {
		o.PauseAboveMemory = defaultPauseAboveMemory
	}
	if o.Logger == nil {
		o.Logger = silence{}
	}
	switch {
	case o.Namespace == "":
		return o, fmt.Errorf("batchqueue: Options.Namespace is empty: give the Temporal namespace: %w", ErrInvalid)
	case strings.ContainsAny(o.KeyPrefix, "{}"):
		return o, fmt.Errorf("batchqueue: Options.KeyPrefix is %q: braces would move the cluster hash tag, leave them out: %w", o.KeyPrefix, ErrInvalid)
	case o.Lease < minLease:
		return o, fmt.Errorf("batchqueue: Options.Lease is %v: give at least %v, a stalled process must not lose its work: %w", o.Lease, minLease, ErrInvalid)
	case !(o.PauseAboveMemory <= 1):
		return o, fmt.Errorf("batchqueue: Options.PauseAboveMemory is %v: give a share of the memory limit up to 1, 0 for %v, or a negative number for never: %w", o.PauseAboveMemory, defaultPauseAboveMemory, ErrInvalid)
	case o.Replicas < 0:
		return o, fmt.Errorf("batchqueue: Options.Replicas is %d: give a number of replicas to wait for, or 0 for none: %w", o.Replicas, ErrInvalid)
	case o.Slots < 1 || o.Slots > maxSlots:
		return o, fmt.Errorf("batchqueue: Options.Slots is %d: give 1 to %d: %w", o.Slots, maxSlots, ErrInvalid)
	}
	return o, nil
}

// silence is the default logger.
type silence struct{}

func (silence) Debug(string, ...any) {}
func (silence) Info(string, ...any)  {}
func (silence) Warn(string, ...any)  {}
func (silence) Error(string, ...any) {}

var _ slotStore = (*Queue)(nil)
