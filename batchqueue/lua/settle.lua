-- settle.lua: ends claims: finish, retry later, release, or go on to the next step.
-- Guarantee: only the delivery that holds the claim changes anything (the entry leaves
-- the pending list in the same step, and an entry id is never delivered twice); an
-- outcome is recorded before anything else happens to it; a task that was superseded,
-- or whose run is unknown, leaves no trace. A step that completed and the one after it
-- change places in one: the task is in the queue all the time, and never twice.
-- KEYS[1] slot prefix
-- ARGV 1 inbox prefix  2 dead letters kept  3 pool bell channel  4 slot
--      then 14 per claim: action, lost_by, type, lane, id, run, wave, number, fingerprint,
--      outcome body, delay ms (for F and D: 1 the task may start only once), m, l, h
--   action F finish | D finish and keep as dead letter | R retry after delay | B release
--     N next step: m is its type and l its entry, h is ''
--   lost_by: the executor that must have no lease ('' no such condition)
-- Reply: one letter per claim: s settled | c a cancel made it final | l not this
-- delivery's claim | d out of the queue, nobody waits | g lost_by is back | w settled, and a
-- window waits for the outcome: the Deliverer need not look
-- Sent again it changes nothing, and answers the same while the task is where it was put.
local inbox_prefix, dead_kept, pool_bell, slot = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local now, replies, rung = now_ms(), {}, 0
local advanced, types = 0, {} -- tasks that went on to their next steps, and the types of these
local finished = {} -- reply -> run
local completed = '\1' -- the first byte of a completed outcome's body
local cancels, heartbeats = redis.call('EXISTS', CANCELS) == 1, redis.call('EXISTS', HEARTBEATS) == 1

-- The record keeps the entry that a delivery settled itself, until the task is queued
-- again: so its own words come back to it, and what the Reclaimer did meanwhile is a loss.
-- The entry of a next step says whose words put it there. Entries of two streams may have
-- the same id.
local function echo(action, run, n, fingerprint, lane, type, id)
  local state, known, its_lane, its_type, settled = record(run, n)
  if known ~= fingerprint then return 'l' end
  if state == 'q' or state == 'x' then
    if action ~= 'N' then return 'l' end
    local r = redis.call('XRANGE', stream_key(its_lane, its_type), settled, settled)
    return r[1] and fields(r[1][2]).p == claim_name(lane, id, type) and 's' or 'l'
  end
  if settled ~= id or its_type ~= type then return 'l' end
  if state == 'd' then return 's' end
  if state ~= 'f' and state ~= 't' and state ~= 'a' then return 'l' end
  return (action == 'R' or action == 'B' or action == 'N') and 'c' or 's'
end

for i = 5, #ARGV, 14 do
  local action, lost_by, type, lane, id, run, wave = unpack(ARGV, i, i + 6)
  local n, fingerprint, body, delay, m, l, h = unpack(ARGV, i + 7, i + 13)
  n = tonumber(n)
  local stream, reply = stream_key(lane, type), 's'
  local guarded = lost_by ~= '' and tonumber(redis.call('ZSCORE', LEASES, lost_by) or 0) > now
  -- An abandoned run's handlers were told to stop. What they say then is no outcome: the
  -- task is parked, and runs again if the run asks after all.
  local stopped = action == 'F' and delay ~= '1' and string.sub(body, 1, 1) ~= completed
    and redis.call('HEXISTS', run_key(run), 'z') == 1
  local flat
  if not guarded and ((action ~= 'F' and action ~= 'N') or stopped) then
    local r = redis.call('XRANGE', stream, id, id)
    flat = r[1] and r[1][2]
  end
  if guarded then
    reply = 'g'
  elseif redis.call('XACK', stream, GROUP, id) == 0 then
    reply = echo(action, run, n, fingerprint, lane, type, id)
  else
    redis.call('XDEL', stream, id)
    local claim = claim_name(lane, id, type)
    if cancels then redis.call('HDEL', CANCELS, claim) end
    if heartbeats then redis.call('HDEL', HEARTBEATS, claim) end
    local state, known, _, _, current = record(run, n)
    if action == 'D' and flat then
      local common = redis.call('HGET', run_key(run), 'w' .. wave) or ''
      redis.call('XADD', DEAD, 'MAXLEN', '~', dead_kept, '*', 'type', type, 'c', common, unpack(flat))
      count('dead', 1)
    end
    if known ~= fingerprint or current ~= id or (state ~= 'q' and state ~= 'x') then
      reply = 'd'
    elseif not stopped and (action == 'F' or action == 'D' or (state == 'x' and body ~= '')) then
      if lost_by ~= '' then write(run, n, 'q', fingerprint, lane, type) end -- without its entry
      finish(run, n, fingerprint, wave, body)
      count('finished', 1)
      finished[#replies + 1] = run
      if action == 'R' or action == 'B' or action == 'N' then reply = 'c' end
    else
      local entry = flat and fields(flat) or {}
      local e = entry.e or ''
      if action == 'N' then
        type, e, m, l = m, l, '', ''
        id = string.format('%.0f-0', now) -- scheduled now, should it be parked
      end
      if stopped then m, l, h = entry.m or '', entry.l or '', entry.h or '' end
      if redis.call('HEXISTS', run_key(run), 'z') == 1 then
        local purge = redis.call('ZSCORE', DUE, 'p' .. run)
        park(run, n, fingerprint, lane, type, id, wave, e, m, l, h, purge or now)
      elseif action == 'R' then
        local name = task_name(run, n)
        redis.call('HSET', DELAYED, name, pack(type, wave, e, m, l, h))
        write(run, n, 'd', fingerprint, lane, type, lost_by == '' and id)
        add_due(now + tonumber(delay), 'd' .. name)
        count('retried', 1)
      elseif action == 'N' then
        advance(run, n, fingerprint, type, wave, e, claim)
        advanced, types[#types + 1] = advanced + 1, not types[type] and type or nil
        types[type] = true
      else
        requeue(run, n, fingerprint, type, wave, e, m, l, h)
        rung = rung + 1
      end
    end
  end
  replies[#replies + 1] = reply
end
flush()
tell(inbox_prefix)
for i, run in pairs(finished) do
  if replies[i] == 's' and windows[run] then replies[i] = 'w' end
end
if rung > 0 then redis.call('PUBLISH', BELL, rung) end
if advanced > 0 then ring(advanced, types, pool_bell, slot) end
return table.concat(replies)
