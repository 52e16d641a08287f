-- holders.lua: says who leads the slot, and how many claims each executor holds there.
-- Reads only; the executors may be gone.
-- KEYS[1] slot prefix
-- Reply { leader, executor, claims, ... }: leader is '' where nobody leads; an executor comes
--   once for each stream of which it holds claims
local reply = { redis.call('GET', DELIVERER) or '' }
for _, type in ipairs(redis.call('LRANGE', TYPES, 0, -1)) do
  for lane in pairs(LANES) do
    local p = redis.pcall('XPENDING', stream_key(lane, type), GROUP)
    for _, holder in ipairs(p and not p.err and p[4] or {}) do
      reply[#reply + 1] = holder[1]
      reply[#reply + 1] = tonumber(holder[2])
    end
  end
end
return reply
