-- permits.lua: says how many permits a home executor has for the slot.
-- Guarantee: what an executor said counts until its time is over and no longer; what does
-- not count any more goes when any home executor speaks.
-- KEYS[1] slot prefix
-- ARGV 1 executor  2 permits, 0 takes back what it said  3 ttl ms
-- Reply 1
local executor, permits, ttl, now = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), now_ms()
local all = redis.call('HGETALL', PERMITS)
for i = 1, #all, 2 do
  if tonumber(string.match(all[i + 1], '%d+$')) <= now then redis.call('HDEL', PERMITS, all[i]) end
end
if permits > 0 then
  redis.call('HSET', PERMITS, executor, string.format('%d|%.0f', permits, now + ttl))
  if redis.call('PTTL', PERMITS) < ttl then redis.call('PEXPIRE', PERMITS, ttl) end
else
  redis.call('HDEL', PERMITS, executor)
end
return 1
