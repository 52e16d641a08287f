-- settle.lua: ends claims: finish, retry later, release, or go on to the next step.
-- Guarantee: only the delivery that the run's record names changes anything, and it names
-- no other from then on (whoever takes a claim away gives the task a new entry, and an
-- entry id is never delivered twice); an outcome is recorded before anything else happens
-- to it; a task that was superseded, or whose run is unknown, leaves no trace. A step that
-- completed and the one after it change places in one: the task is in the queue all the
-- time, and never twice.
-- KEYS[1] slot prefix
-- ARGV 1 inbox prefix  2 dead letters kept  3 pool bell channel  4 slot
--      then groups of claims: action, lost_by, type, lane, run, wave, once (1: a task may
--      start only once), claims; and for each claim: id, number, fingerprint, outcome body,
--      unless the action is F also delay ms, m, l, h
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
local COMPLETED = 1 -- the first byte of a completed outcome's body
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

local abandoned = {}
local function is_abandoned(run)
  if abandoned[run] == nil then abandoned[run] = redis.call('HEXISTS', run_key(run), 'z') == 1 end
  return abandoned[run]
end

-- A forged entry may have more values than a script can hand over; its first ones are kept.
local BURIED_VALUES = 1000

local function bury(run, wave, type, flat)
  local common = redis.call('HGET', run_key(run), 'w' .. wave) or ''
  redis.call('XADD', DEAD, 'MAXLEN', '~', dead_kept, '*', 'type', type, 'common', common, unpack(flat, 1, math.min(#flat, BURIED_VALUES)))
  count('dead', 1)
end

-- leave takes settled entries out of their stream.
local function leave(stream, lane, type, ids)
  for i = 1, #ids, 500 do
    local upto = math.min(i + 499, #ids)
    redis.call('XACK', stream, GROUP, unpack(ids, i, upto))
    redis.call('XDEL', stream, unpack(ids, i, upto))
  end
  for _, id in ipairs((cancels or heartbeats) and ids or {}) do
    local claim = claim_name(lane, id, type)
    if cancels then redis.call('HDEL', CANCELS, claim) end
    if heartbeats then redis.call('HDEL', HEARTBEATS, claim) end
  end
end

local at = 5
while ARGV[at] do
  local action, lost_by, type, lane, run, wave, once, claims = unpack(ARGV, at, at + 7)
  local from, width = at + 8, action == 'F' and 4 or 8
  at = from + claims * width
  local stream, gone = stream_key(lane, type), {}
  run_key(run) -- the entry of a folded run is needed to unfold it
  local guarded = lost_by ~= '' and tonumber(redis.call('ZSCORE', LEASES, lost_by) or 0) > now
  local again = action == 'R' or action == 'B' or action == 'N'

  for i = from, at - 1, width do
    local id, number, fingerprint, body = unpack(ARGV, i, i + 3)
    local n, reply = tonumber(number), 's'
    local here = stored(run, n)
    local place = here and fingerprint .. lane .. place_at(type, id)
    local asked = here and here == 'x' .. place
    local mine = asked or here and here == 'q' .. place
    -- An abandoned run's handlers were told to stop. What they say then is no outcome: the
    -- task is parked, and runs again if the run asks after all.
    local stopped = action == 'F' and once ~= '1' and byte(body, 1, 1) ~= COMPLETED and is_abandoned(run)
    local flat
    if not guarded and (action ~= 'F' and action ~= 'N' or stopped) then
      local r = redis.call('XRANGE', stream, id, id)
      flat = r[1] and r[1][2]
    end
    if guarded then
      reply = 'g'
    elseif not mine then
      if redis.call('XACK', stream, GROUP, id) == 1 then
        reply = 'd'
        if action == 'D' and flat then bury(run, wave, type, flat) end
        leave(stream, lane, type, { id })
      else
        reply = echo(action, run, n, fingerprint, lane, type, id)
      end
    else
      gone[#gone + 1] = id
      if action == 'D' and flat then bury(run, wave, type, flat) end
      if not stopped and (not again or (asked and body ~= '')) then
        if lost_by ~= '' then write(run, n, 'q', fingerprint, lane, type) end -- without its entry
        finish(run, n, fingerprint, wave, body, number)
        count('finished', 1)
        finished[#replies + 1] = run
        if again then reply = 'c' end
      else
        local delay, m, l, h = '', '', '', ''
        if again then delay, m, l, h = unpack(ARGV, i + 4, i + 7) end
        local its_type, its_id, entry = type, id, flat and fields(flat) or {}
        local e = entry.e or ''
        if action == 'N' then
          its_type, e, m, l = m, l, '', ''
          its_id = string.format('%.0f-0', now) -- scheduled now, should it be parked
        end
        if stopped then m, l, h = entry.m or '', entry.l or '', entry.h or '' end
        if is_abandoned(run) then
          local purge = redis.call('ZSCORE', DUE, 'p' .. run)
          park(run, n, fingerprint, lane, its_type, its_id, wave, e, m, l, h, purge or now)
        elseif action == 'R' then
          local name = task_name(run, n)
          redis.call('HSET', DELAYED, name, pack(its_type, wave, e, m, l, h))
          write(run, n, 'd', fingerprint, lane, its_type, lost_by == '' and id)
          add_due(now + tonumber(delay), 'd' .. name)
          count('retried', 1)
        elseif action == 'N' then
          advance(run, n, fingerprint, its_type, wave, e, claim_name(lane, id, type))
          advanced, types[#types + 1] = advanced + 1, not types[its_type] and its_type or nil
          types[its_type] = true
        else
          requeue(run, n, fingerprint, its_type, wave, e, m, l, h)
          rung = rung + 1
        end
      end
    end
    replies[#replies + 1] = reply
  end
  leave(stream, lane, type, gone)
end
flush()
tell(inbox_prefix)
for i, run in pairs(finished) do
  if replies[i] == 's' and windows[run] then replies[i] = 'w' end
end
if rung > 0 then redis.call('PUBLISH', BELL, rung) end
if advanced > 0 then ring(advanced, types, pool_bell, slot) end
return table.concat(replies)
