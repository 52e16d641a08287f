-- lead.lua: takes or keeps the slot's Deliverer lease.
-- Guarantee: at most one executor leads a slot. A new leader finds the batches that its
-- predecessor had under way before it, fixed as they were.
-- KEYS[1] slot prefix
-- ARGV 1 executor  2 ttl ms
-- Reply 1 leads | 0 another does
local leader = redis.call('GET', DELIVERER)
if leader and leader ~= ARGV[1] then return 0 end
redis.call('SET', DELIVERER, ARGV[1], 'PX', ARGV[2])
if not leader then
  local now = now_ms()
  for _, run in ipairs(redis.call('ZRANGEBYSCORE', DELIVERABLE, '(' .. now, '+inf')) do
    redis.call('ZADD', DELIVERABLE, now, run)
  end
end
return 1
