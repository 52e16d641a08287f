-- drop.lua: removes what a slot keeps for as long as it is used.
-- Guarantee: a slot with a task, an outcome, a dead letter, a home executor or a leader is
-- left alone. Who comes afterwards finds a slot as it was in the beginning.
-- KEYS[1] slot prefix
-- Reply 1 nothing is left | 0 it is in use
redis.call('ZREMRANGEBYSCORE', LEASES, '-inf', now_ms())
if redis.call('EXISTS', DELAYED, DUE, DELIVERABLE, DELIVERER, PERMITS, LEASES) > 0
  or redis.call('XLEN', DEAD) > 0 or tonumber(redis.call('HGET', COUNTERS, 'outbox') or 0) > 0 then
  return 0
end
local keys = { TYPES, COUNTERS, CANCELS, HEARTBEATS, DEAD }
for _, type in ipairs(redis.call('LRANGE', TYPES, 0, -1)) do
  for lane in pairs(LANES) do
    local stream = stream_key(lane, type)
    if redis.call('XLEN', stream) > 0 then return 0 end
    keys[#keys + 1] = stream
  end
end
for from = 1, #keys, 1000 do redis.call('DEL', unpack(keys, from, math.min(#keys, from + 999))) end
return 1
