-- home.lua: says how many permits a home executor has for the slot, and takes or keeps the
-- slot's Deliverer lease if it may lead.
-- Guarantee: what an executor said counts until its time is over and no longer; what does
-- not count any more goes when any home executor speaks. At most one executor leads a slot.
-- A new leader finds the batches that its predecessor had under way before it, fixed as
-- they were.
-- KEYS[1] slot prefix
-- ARGV 1 executor  2 permits, 0 takes back what it said  3 ttl ms  4 1 may lead, 0 not
-- Reply 1 leads | 0 not
local executor, permits, ttl, now = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), now_ms()
local all = redis.call('HGETALL', PERMITS)
for i = 1, #all, 2 do
  if tonumber(string.match(all[i + 1], '%d+$')) <= now then redis.call('HDEL', PERMITS, all[i]) end
end
if permits > 0 then
  redis.call('HSET', PERMITS, executor, string.format('%d|%.0f', permits, now + ttl))
  if redis.call('PTTL', PERMITS) < ttl then redis.call('PEXPIRE', PERMITS, 10 * ttl) end
else
  redis.call('HDEL', PERMITS, executor)
end
if ARGV[4] ~= '1' then return 0 end
local leader = redis.call('GET', DELIVERER)
if leader and leader ~= executor then return 0 end
redis.call('SET', DELIVERER, executor, 'PX', ttl)
if not leader then
  for _, run in ipairs(redis.call('ZRANGEBYSCORE', DELIVERABLE, '(' .. now, '+inf')) do
    redis.call('ZADD', DELIVERABLE, now, run)
  end
end
return 1
