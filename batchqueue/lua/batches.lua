-- batches.lua: fixes batches of outcomes for the Deliverer.
-- Guarantee: a batch is written down before it is sent; until it is acknowledged, each
-- call gives the same outcomes in the same order, so that a re-send equals the first
-- sending to the byte. No batch of a run whose window is open. One batch of a run at a
-- time: a run whose batch is under way is offered again only after the time to send.
-- KEYS[1] slot prefix
-- ARGV 1 runs  2 outcomes per batch  3 bytes per batch  4 burst  5 per second
--      6 time to send ms
-- Reply { wait ms until a run may be sendable (-1 none),
--         { run, common, address, outcomes, generation }... }
local now, reply = now_ms(), { -1 }
local runs, most, room = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local burst, rate = tonumber(ARGV[4]), tonumber(ARGV[5])

for _, run in ipairs(redis.call('ZRANGEBYSCORE', DELIVERABLE, '-inf', now, 'LIMIT', 0, runs)) do
  local key, box = run_key(run), box_key(run)
  local r = redis.call('HMGET', key, 'b', 'g', 'z', 'N', 'h', 'H', 'A', 'V')
  local size = tonumber(r[1] or 0)
  local tokens = live_tokens(run, now)
  local overdue = r[5] and now - tonumber(r[5]) >= tonumber(r[6] or 0)
  if r[3] or r[4] or redis.call('LLEN', box) == 0 then
    redis.call('ZREM', DELIVERABLE, run)
  elseif size == 0 and #tokens > 0 and not overdue then
    -- the window's end puts it back
    redis.call('ZREM', DELIVERABLE, run)
    redis.call('ZADD', DUE, 'NX', tokens[1].expiry, 't' .. run)
  else
    local have, at = burst, now
    if r[2] then
      local had, since = string.match(r[2], '([^|]+)|(%d+)')
      have = math.min(burst, tonumber(had) + (now - tonumber(since)) * rate / 1000)
    end
    if size == 0 and have < 1 then
      redis.call('ZADD', DELIVERABLE, now + math.ceil((1 - have) * 1000 / rate), run)
    else
      local outcomes = size > 0 and redis.call('LRANGE', box, 0, size - 1) or {}
      if size == 0 then
        local bytes, overhead = 0, tonumber(r[8] or 0)
        while size < most do
          local page = redis.call('LRANGE', box, size, math.min(size + 99, most - 1))
          local full = #page == 0
          for _, e in ipairs(page) do
            if size > 0 and bytes + #e + overhead > room then
              full = true
              break
            end
            size, bytes = size + 1, bytes + #e + overhead
            outcomes[size] = e
          end
          if full then break end
        end
        redis.call('HINCRBY', key, 'B', 1)
        redis.call('HSET', key, 'b', size, 'g', string.format('%.6f|%.0f', have - 1, at))
      end
      local _, _, wave = parse_outcome(outcomes[1])
      redis.call('ZADD', DELIVERABLE, now + tonumber(ARGV[6]), run)
      -- A wave's own data may be trimmed already; any wave of the run says where it is.
      local common = redis.call('HGET', key, 'w' .. wave)
        or redis.call('HGET', key, 'w' .. string.sub(redis.call('HGET', key, 'W') or '', 1, 8)) or ''
      reply[#reply + 1] = { run, common, r[7] or '', outcomes, tonumber(redis.call('HGET', key, 'B')) }
    end
  end
end
local first = redis.call('ZRANGE', DELIVERABLE, 0, 0, 'WITHSCORES')
if first[1] then reply[1] = math.max(0, math.ceil(tonumber(first[2]) - now)) end
return reply
