-- redrive.lua: gives a dead letter a new life, or drops it.
-- Guarantee: the letter leaves the list in the same step; the task starts with attempt 1
-- and no losses. An outcome of it that has not left the box is taken back, so that the run
-- hears of one only. What the run asks under the number by now is never disturbed.
-- KEYS[1] slot prefix
-- ARGV 1 id of the letter  2 verb: redrive | drop
-- Reply ok: the letter is gone, the task waits or was dropped
--   none no such letter; the others keep it: superseded | delivering, try again |
--   undecodable | bare, the data of its wave are gone
local letter = redis.call('XRANGE', DEAD, ARGV[1], ARGV[1])[1]
if not letter then return 'none' end

-- withdraw takes an outcome out of the box, and says whether it could: what is in a batch
-- that is under way may have been sent.
local function withdraw(run, n, fingerprint)
  local box = box_key(run)
  local fixed = tonumber(redis.call('HGET', run_key(run), 'b') or 0)
  for i, e in ipairs(redis.call('LRANGE', box, 0, -1)) do
    local number, known = parse_outcome(e)
    if number == n and known == fingerprint then
      if i <= fixed then return false end
      redis.call('LREM', box, -1, e)
      count('outbox', -1)
      count('outbox_bytes', -#e)
    end
  end
  if redis.call('LLEN', box) == 0 then redis.call('HDEL', run_key(run), 'h') end
  return true
end

-- own_data names what a folded run's wave shared by its digest. The letter may be older
-- than the record, in which FIRST is another wave by now.
local function own_data(f)
  if f.w ~= FIRST then return end
  f.common = f.c or f.common or ''
  if f.common ~= '' then f.w = string.sub(redis.sha1hex(f.common), 1, 8) end
end

-- restore gives the run its wave's common data back, which it may have trimmed, and says
-- whether they are there. They stay for as long as the record: the run's watermark may be
-- above the task.
local NEVER = '9007199254740991' -- the largest number: no watermark passes it
local function restore(run, wave, common)
  local key = run_key(run)
  if redis.call('HEXISTS', key, 'w' .. wave) == 0 then
    if common == '' then return false end
    redis.call('HSET', key, 'w' .. wave, common)
  end
  local others = {}
  for digest, upto in string.gmatch(redis.call('HGET', key, 'W') or '', '(........)(%d+);') do
    if digest ~= wave then others[#others + 1] = digest .. upto .. ';' end
  end
  redis.call('HSET', key, 'W', table.concat(others) .. wave .. NEVER .. ';')
  return true
end

local function redrive(f)
  local n = tonumber(f.n or '')
  if not (f.type and f.r and n and f.w and f.e and #f.e >= 8) then return 'undecodable' end
  local run, wanted = f.r, string.sub(f.e, 1, 8)
  local state, fingerprint = record(run, n)
  if state and fingerprint ~= wanted then return 'superseded' end
  if state == 'q' or state == 'x' or state == 'd' then return 'ok' end -- asked for again
  own_data(f)
  if not restore(run, f.w, f.common or '') then return 'bare' end
  if state == 'f' then
    if not withdraw(run, n, wanted) then return 'delivering' end
  else
    if state == 't' then redis.call('HDEL', taken_key(run), string.format('%.0f', n)) end
    if state == 'z' then drop_delayed(run, n) end
    add_open(run, 1)
  end
  if redis.call('HEXISTS', run_key(run), 'z') == 1 then revive(run, now_ms()) end
  requeue(run, n, wanted, f.type, f.w, f.e, '', '', '')
  flush()
  redis.call('PUBLISH', BELL, 1)
  return 'ok'
end

local reply = ARGV[2] == 'drop' and 'ok' or redrive(fields(letter[2]))
if reply == 'ok' then redis.call('XDEL', DEAD, ARGV[1]) end
return reply
