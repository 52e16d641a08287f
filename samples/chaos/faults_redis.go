package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/redis/go-redis/v9"
)

// canaryTTL is the time-to-live of a canary: a key that nobody owns must have one.
const canaryTTL = 10 * time.Minute

// canary is a key of the fault's own that is written before it: whether it is there afterwards says what became of the data.
func (f *strike) canary() string { return fmt.Sprintf("chaos-canary-%d", f.number) }

// flush removes all data from a Redis that goes on.
func flush(f *strike) error {
	var before, after *redis.IntCmd
	f.began = time.Now()
	_, err := f.stage.redis.db.TxPipelined(f.ctx, func(tx redis.Pipeliner) error {
		before = tx.DBSize(f.ctx)
		tx.FlushAll(f.ctx)
		after = tx.DBSize(f.ctx)
		return nil
	})
	f.healed = time.Now()
	f.stage.losses.Add(1)
	switch {
	case err != nil:
		return err
	case before.Val() == 0 || after.Val() != 0:
		return unproven("DBSIZE was %d before FLUSHALL and %d after", before.Val(), after.Val())
	}
	f.showf("DBSIZE was %d before, 0 after", before.Val())
	return nil
}

// bounce kills redis-server and starts it again, with the data of its append-only file or with none.
func bounce(keeps bool) func(f *strike) error {
	return func(f *strike) error {
		r := f.stage.redis
		id, pid := r.id, r.process.PID()
		if err := r.db.Set(f.ctx, f.canary(), 1, canaryTTL).Err(); err != nil {
			return err
		}
		f.began = time.Now()
		if err := r.kill(); err != nil {
			return err
		}
		f.stage.losses.Add(1) // the file may lack the last second
		defer f.stage.losses.Add(1)
		f.pause()
		if !keeps {
			if err := r.wipe(); err != nil {
				return err
			}
		}
		if err := r.start(f.ctx); err != nil {
			return err
		}
		f.healed = time.Now()
		kept, err := r.db.Exists(f.ctx, f.canary()).Result()
		switch {
		case err != nil:
			return err
		case r.id == id:
			return unproven("run_id is still %s", id)
		case r.replication(f.ctx, "role") != "master":
			return unproven("it came back as a %s", r.replication(f.ctx, "role"))
		case kept == 1 != keeps:
			return unproven("a key from before is there: %t; it should be: %t", kept == 1, keeps)
		}
		data := "with its data"
		if !keeps {
			data = "empty"
		}
		f.showf("process %d was killed, process %d has another run_id and came back %s after %.1f s", pid, r.process.PID(), data, f.healed.Sub(f.began).Seconds())
		return nil
	}
}

// failover makes a replica the server, when it has missed writes that were acknowledged.
func failover(f *strike) error {
	s := f.stage
	old := s.redis
	s.spare++
	replication, err := s.network.cable(fmt.Sprintf("replication-%d", s.spare), old.address())
	if err != nil {
		return err
	}
	replica, err := startReplica(f.ctx, filepath.Join(s.dir, fmt.Sprintf("redis-%d", s.spare)), replication.address)
	if err != nil {
		return err
	}
	err = f.promote(old, replica, replication)
	if s.redis == old { // it has not come to that
		return errors.Join(err, replica.stop())
	}
	return errors.Join(err, old.stop())
}

func (f *strike) promote(old, replica *redisServer, replication *cable) error {
	s, ctx := f.stage, f.ctx
	err := until(ctx, 30*time.Second, "the replica has what the server has", func() bool {
		return replica.replication(ctx, "master_link_status") == "up" && replica.offset(ctx, "slave_repl_offset") > 0
	})
	if err != nil {
		return err
	}
	f.lostSince = time.Now()
	if err := replication.cut(); err != nil {
		return err
	}
	f.pause() // in which writes are acknowledged that the replica never gets
	if err := old.db.Set(ctx, f.canary(), 1, canaryTTL).Err(); err != nil {
		return err
	}
	had, got := old.offset(ctx, "master_repl_offset"), replica.offset(ctx, "slave_repl_offset")
	f.began = time.Now()
	if err := old.kill(); err != nil {
		return err
	}
	s.redis, replica.args = replica, nil // there is no other any more, and it starts as a replica no more
	s.losses.Add(1)
	defer s.losses.Add(1)
	if err := replica.db.ReplicaOf(ctx, "NO", "ONE").Err(); err != nil {
		return err
	}
	if err := s.lead(replica.address()); err != nil {
		return err
	}
	f.healed = time.Now()
	found, err := replica.db.Exists(ctx, f.canary()).Result()
	switch {
	case err != nil:
		return err
	case replica.replication(ctx, "role") != "master" || had <= got || got < 0 || found != 0:
		return unproven("the replica is a %s; the server had %d bytes of replication, the replica %d; the last acknowledged write is there: %t",
			replica.replication(ctx, "role"), had, got, found == 1)
	}
	f.showf("process %d was killed, its replica, process %d, is the master and lacks the last %d bytes, an acknowledged SET among them",
		old.process.PID(), replica.process.PID(), had-got)
	return nil
}

func startReplica(ctx context.Context, dir, master string) (*redisServer, error) {
	host, port, err := splitHostPort(master)
	if err != nil {
		return nil, err
	}
	return startRedis(ctx, dir, "--replicaof", host, port)
}

// lead leads everybody to another Redis.
func (s *stage) lead(address string) error {
	if err := s.own.lead(address); err != nil {
		return err
	}
	for _, m := range s.fleet {
		if err := m.redis.lead(address); err != nil {
			return err
		}
	}
	return nil
}
