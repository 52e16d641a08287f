-- stats.lua: exact counts of a slot, in O(types). Reads only.
-- KEYS[1] slot prefix
-- Reply { counters, delayed, deliverable runs, now ms, { type, waiting, claimed, oldest id }... }
--   waiting excludes delayed tasks; oldest id is the first entry not yet claimed ('' none)
local reply = {
  redis.call('HGETALL', COUNTERS), redis.call('HLEN', DELAYED),
  redis.call('ZCARD', DELIVERABLE), now_ms(),
}
for _, type in ipairs(redis.call('LRANGE', TYPES, 0, -1)) do
  local waiting, claimed, oldest = 0, 0, ''
  for lane in pairs(LANES) do
    local stream = stream_key(lane, type)
    local groups = redis.pcall('XINFO', 'GROUPS', stream)
    if groups and not groups.err and groups[1] then
      local g = fields(groups[1])
      waiting = waiting + redis.call('XLEN', stream) - g.pending
      claimed = claimed + g.pending
      local first = redis.call('XRANGE', stream, '(' .. g['last-delivered-id'], '+', 'COUNT', 1)
      if first[1] and (oldest == '' or first[1][1] < oldest) then oldest = first[1][1] end
    end
  end
  reply[#reply + 1] = { type, waiting, claimed, oldest }
end
return reply
