-- acked.lua: what becomes of a batch that was sent.
-- Guarantee: outcomes leave the box only when they were acknowledged; only the outcomes
-- of the batch, and only once: a late or repeated word on an earlier batch, which may
-- have had the same size, is told apart by its generation.
-- KEYS[1] slot prefix
-- ARGV 1 run  2 verdict: a acknowledged | r send again later | n never push again
--      3 outcomes in the batch  4 delay ms (r)  5 generation of the batch
-- Reply 1 done | 0 the batch is not under way any more
local run, verdict, size, delay = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local key, box, now = run_key(run), box_key(run), now_ms()
local fixed = redis.call('HMGET', key, 'b', 'B')
if tonumber(fixed[1] or 0) ~= size or fixed[2] ~= ARGV[5] then return 0 end
if verdict == 'r' then
  redis.call('ZADD', DELIVERABLE, now + delay, run)
  return 1
end
redis.call('HDEL', key, 'b')
if verdict == 'n' then
  redis.call('HSET', key, 'N', 1)
  redis.call('ZREM', DELIVERABLE, run)
  return 1
end
local bytes, open = 0, 0
for _, e in ipairs(redis.call('LRANGE', box, 0, size - 1)) do
  bytes = bytes + #e
  local n, fingerprint = parse_outcome(e)
  local here = stored(run, n)
  if here and sub(here, 1, 9) == 'f' .. fingerprint then
    set_state(run, n, 'a')
    open = open - 1
  end
end
add_open(run, open)
redis.call('LTRIM', box, size, -1)
count('outbox', -size)
count('outbox_bytes', -bytes)
count('delivered', size)
redis.call('ZREM', DELIVERABLE, run)
if redis.call('LLEN', box) == 0 then
  redis.call('HDEL', key, 'h')
elseif #live_tokens(run, now) == 0 then
  make_deliverable(run, now)
end
flush()
return 1
