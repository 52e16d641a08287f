-- due.lua: does what is due in the slot: delayed tasks go to the front lane, tasks that
-- have waited too long end, outcomes whose window is past go before the Deliverer, parked
-- runs are purged.
-- Guarantee: a deadline ends a task only while it is not claimed, and only the task's own:
-- it counts from the entry that waits now, whatever was set for its number before.
-- KEYS[1] slot prefix
-- ARGV 1 at most: members, of which a chunk of waiting tasks counts as 32
--      2 inbox prefix
-- Reply: ms until the next, -1 if nothing is set
local now, rung, room = now_ms(), 0, tonumber(ARGV[1])

local function end_wait(run, n)
  local state, fingerprint, lane, type, id = record(run, n)
  if state ~= 'q' or is_claimed(lane, type, id) then return end
  local r = redis.call('XRANGE', stream_key(lane, type), id, id)
  if not r[1] then return end
  local f = fields(r[1][2])
  local at, kind = waits_until(run, f.w, f.e, f.m or '', id)
  if not at then return end
  if at > now then return add_wait(run, floor((n - 1) / PER), at) end
  redis.call('XDEL', stream_key(lane, type), id)
  local attempt = tonumber(string.match(f.m or '', '^%d+') or 1)
  -- the body as Go decodes it: kind in lower case, attempts made, last failure; in a later
  -- step kind in upper case and the step first
  local _, step = place_of(f.e)
  if step > 0 then kind = string.upper(kind) .. string.format('%.0f:', step) end
  finish(run, n, fingerprint, f.w, kind .. string.format('%.0f:', attempt - 1) .. (f.l or ''))
  count('expired', 1)
end

for _, member in ipairs(redis.call('ZRANGEBYSCORE', DUE, '-inf', now, 'LIMIT', 0, room)) do
  if room <= 0 then break end
  room = room - 1
  redis.call('ZREM', DUE, member)
  local what, rest = string.sub(member, 1, 1), string.sub(member, 2)
  if what == 'd' then
    local packed = redis.call('HGET', DELAYED, rest)
    local run, n = string.match(rest, '^(.*)/(%d+)$')
    local state, fingerprint = record(run, tonumber(n))
    redis.call('HDEL', DELAYED, rest)
    if packed and state == 'd' then
      local f = unpack_fields(packed)
      requeue(run, tonumber(n), fingerprint, f[1], f[2], f[3], f[4], f[5], f[6])
      rung = rung + 1
    end
  elseif what == 'w' then
    local run, c = string.match(rest, '^(.*)/(%d+)$')
    for n = c * PER + 1, (c + 1) * PER do end_wait(run, n) end
    room = room - PER + 1
  elseif what == 't' then
    local live = live_tokens(rest, now)
    local h = redis.call('HMGET', run_key(rest), 'h', 'H')
    local held = h[1] and tonumber(h[1]) + tonumber(h[2] or 0) -- until then
    if #live > 0 and not (held and now >= held) then
      local first = held or live[1].expiry
      for _, t in ipairs(live) do first = math.min(first, t.expiry) end
      redis.call('ZADD', DUE, first, member)
    else
      if #live > 0 then redis.call('ZADD', DUE, live[1].expiry, member) end
      if redis.call('LLEN', box_key(rest)) > 0 then make_deliverable(rest, now) end
    end
  elseif what == 'p' then
    if redis.call('HEXISTS', run_key(rest), 'z') == 1 then
      drop_box(rest)
      drop_waits(rest)
      redis.call('DEL', run_key(rest), taken_key(rest))
    end
  end
end
flush()
tell(ARGV[2])
if rung > 0 then redis.call('PUBLISH', BELL, rung) end
local first = redis.call('ZRANGE', DUE, 0, 0, 'WITHSCORES')
if not first[1] then return -1 end
return math.max(0, math.ceil(tonumber(first[2]) - now))
