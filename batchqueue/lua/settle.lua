-- settle.lua: ends claims: finish, retry later, or release.
-- Guarantee: only the delivery that holds the claim changes anything (the entry leaves
-- the pending list in the same step, and an entry id is never delivered twice); an
-- outcome is recorded before anything else happens to it; a task that was superseded,
-- or whose run is unknown, leaves no trace.
-- KEYS[1] slot prefix
-- ARGV 1 inbox prefix  2 dead letters kept
--      then 14 per claim: action, lost_by, type, lane, id, run, wave, number, fingerprint,
--      outcome body, delay ms (for F and D: 1 the task may start only once), m, l, h
--   action F finish | D finish and keep as dead letter | R retry after delay | B release
--   lost_by: the executor that must have no lease ('' no such condition)
-- Reply: one letter per claim: s settled | c a cancel made it final | l not this
-- delivery's claim | d out of the queue, nobody waits | g lost_by is back
-- Sent again it changes nothing, and answers the same while the task is where it was put.
local inbox_prefix, dead_kept = ARGV[1], ARGV[2]
local now, replies, rung = now_ms(), {}, 0
local completed = '\1' -- the first byte of a completed outcome's body
local cancels, heartbeats = redis.call('EXISTS', CANCELS) == 1, redis.call('EXISTS', HEARTBEATS) == 1

-- The record keeps the entry that a delivery settled itself, until the task is queued
-- again: so its own words come back to it, and what the Reclaimer did meanwhile is a loss.
local function echo(action, run, n, fingerprint, id)
  local state, known, _, _, settled = record(run, n)
  if known ~= fingerprint or settled ~= id then return 'l' end
  if state == 'd' then return 's' end
  if state ~= 'f' and state ~= 't' and state ~= 'a' then return 'l' end
  return (action == 'R' or action == 'B') and 'c' or 's'
end

for i = 3, #ARGV, 14 do
  local action, lost_by, type, lane, id, run, wave = unpack(ARGV, i, i + 6)
  local n, fingerprint, body, delay, m, l, h = unpack(ARGV, i + 7, i + 13)
  n = tonumber(n)
  run_key(run) -- the entry of a folded run is needed to unfold it
  local stream, reply = stream_key(lane, type), 's'
  local guarded = lost_by ~= '' and tonumber(redis.call('ZSCORE', LEASES, lost_by) or 0) > now
  -- An abandoned run's handlers were told to stop. What they say then is no outcome: the
  -- task is parked, and runs again if the run asks after all.
  local stopped = action == 'F' and delay ~= '1' and string.sub(body, 1, 1) ~= completed
    and redis.call('HEXISTS', run_key(run), 'z') == 1
  local flat
  if not guarded and (action ~= 'F' or stopped) then
    local r = redis.call('XRANGE', stream, id, id)
    flat = r[1] and r[1][2]
  end
  if guarded then
    reply = 'g'
  elseif redis.call('XACK', stream, GROUP, id) == 0 then
    reply = echo(action, run, n, fingerprint, id)
  else
    redis.call('XDEL', stream, id)
    local claim = claim_name(lane, id, type)
    if cancels then redis.call('HDEL', CANCELS, claim) end
    if heartbeats then redis.call('HDEL', HEARTBEATS, claim) end
    local state, known, _, _, current = record(run, n)
    if action == 'D' and flat then
      redis.call('XADD', DEAD, 'MAXLEN', '~', dead_kept, '*', 'type', type, unpack(flat))
      count('dead', 1)
    end
    if known ~= fingerprint or current ~= id or (state ~= 'q' and state ~= 'x') then
      reply = 'd'
    elseif not stopped and (action == 'F' or action == 'D' or (state == 'x' and body ~= '')) then
      if lost_by ~= '' then write(run, n, 'q', fingerprint, lane, type) end -- without its entry
      finish(run, n, fingerprint, wave, body)
      count('finished', 1)
      if action == 'R' or action == 'B' then reply = 'c' end
    else
      local entry = flat and fields(flat) or {}
      local e = entry.e or ''
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
if rung > 0 then redis.call('PUBLISH', BELL, rung) end
return table.concat(replies)
