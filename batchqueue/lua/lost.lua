-- lost.lua: a page of claims whose executors have no lease in the slot. Takes nothing
-- away: settle.lua does, and only if the lease is still absent. Consumers that hold
-- nothing and have no lease are deleted (a consumer with claims never is: its claims
-- would be lost with it).
-- KEYS[1] slot prefix
-- ARGV 1 at most  2 bytes at most; one is always looked at
-- Reply as adopt.lua, with executor, last heartbeat ('=' and the details that the executor
--   told of, '' if it told of none) and ms since the claim in each entry;
--   flag 1 there are more; then 1 if anything is claimed in the slot, by whomever
local now, most, room, entries, more, held = now_ms(), tonumber(ARGV[1]), tonumber(ARGV[2]), {}, 0, 0
for _, type in ipairs(redis.call('LRANGE', TYPES, 0, -1)) do
  for lane in pairs(LANES) do
    local stream = stream_key(lane, type)
    local consumers = redis.pcall('XINFO', 'CONSUMERS', stream, GROUP)
    if consumers and not consumers.err then
      for _, flat in ipairs(consumers) do
        local c = fields(flat)
        if c.pending > 0 then held = 1 end
        if tonumber(redis.call('ZSCORE', LEASES, c.name) or 0) <= now then
          if c.pending == 0 then
            redis.call('XGROUP', 'DELCONSUMER', stream, GROUP, c.name)
          elseif #entries >= most or room <= 0 then
            more = 1
          else
            for _, p in ipairs(redis.call('XPENDING', stream, GROUP, '-', '+', most - #entries, c.name)) do
              local r = room > 0 and redis.call('XRANGE', stream, p[1], p[1])
              if not r then break end
              if r[1] then
                room = room - entry_bytes(r[1][2])
                local told = redis.call('HGET', HEARTBEATS, claim_name(lane, p[1], type))
                entries[#entries + 1] = {
                  type = type, lane = lane, id = p[1], flat = r[1][2], executor = c.name, held = p[3],
                  heartbeat = told and '=' .. told,
                }
              else
                redis.call('XACK', stream, GROUP, p[1])
              end
            end
            if #entries >= most or room <= 0 then more = 1 end
          end
        end
      end
    end
  end
end
redis.call('ZREMRANGEBYSCORE', LEASES, '-inf', now - 600000)
local out = entries_reply(entries)
return { more, commons, out, held }
