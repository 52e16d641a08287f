-- abandon.lua: parks the tasks of a run that Temporal no longer knows.
-- Guarantee: nothing more is delivered to the run; waiting tasks leave the streams,
-- running ones are told to stop; outcomes and tasks stay for the parking time, so that
-- a run that asks after all gets them back. Paged over the run's table.
-- KEYS[1] slot prefix
-- ARGV 1 run  2 executor bell prefix  3 slot  4 parked ms  5 first chunk  6 chunks
-- Reply: next chunk, or -1 when done
local run, executor_bell, slot, parked, from, page = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local key, now = run_key(run), now_ms()
redis.call('ZREM', DELIVERABLE, run)
if redis.call('EXISTS', key) == 0 then
  drop_box(run)
  flush()
  return -1
end
redis.call('HSET', key, 'z', 1)
redis.call('HDEL', key, 'b', 'k')
redis.call('ZADD', DUE, now + parked, 'p' .. run)
local last = last_chunk(run)
for c = from, math.min(last, from + page - 1) do
  for n = c * PER + 1, (c + 1) * PER do
    local state, fingerprint, lane, type, id = record(run, n)
    if state == 'q' or state == 'x' then
      local consumer = is_claimed(lane, type, id)
      if consumer then
        redis.call('HSET', CANCELS, claim_name(lane, id, type), consumer)
        redis.call('PUBLISH', executor_bell .. consumer, slot .. ' ' .. lane .. ' ' .. id .. ' ' .. type)
      else
        local r = redis.call('XRANGE', stream_key(lane, type), id, id)
        if r[1] then
          local f = fields(r[1][2])
          redis.call('XDEL', stream_key(lane, type), id)
          park(run, n, fingerprint, lane, type, id, f.w, f.e, f.m or '', f.l or '', f.h or '', now + parked)
        else
          set_state(run, n, 'a') -- lost; whoever asks is told so
          add_open(run, -1)
        end
      end
    elseif state == 'd' then
      redis.call('ZADD', DUE, now + parked, 'd' .. task_name(run, n))
      set_state(run, n, 'z')
      add_open(run, -1)
    end
  end
end
flush()
redis.call('PERSIST', key) -- the due set owns run and box now
if from + page > last then return -1 end
return from + page
