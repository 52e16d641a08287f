-- enqueue.lua: adds one chunk of a wave to the run's slot.
-- Guarantee: a task (run, number, fingerprint) is added at most once while its record
-- lives, however often this is repeated; a number that comes with another fingerprint
-- supersedes the old task, whose outcome can no longer reach the run.
-- A run that begins with one task is folded: see state.lua.
-- The only script that Redis refuses when memory is full.
-- KEYS[1] slot prefix
-- ARGV 1 run  2 held below  3 retention ms  4 wave of the window ('' none)  5 window ms
--      6 inbox  7 common digest (8 bytes)  8 common data  9 last number of the chunk
--      10 pool bell channel  11 slot  12 executor bell prefix
--      13 bytes that delivery adds to each outcome
--      14 r: the caller is sure that delivered outcomes of these numbers are lost
--      15 T  then T type names
--      D  then D times: ms that the tasks of the numbers from .. to may wait, from, to
--      then for each task: number, type (index into the T names; with e behind it the
--      caller holds the outcome), entry, which begins with the fingerprint (8 bytes)
-- Reply { codes, outcome... }: one code per task: q queued, d done (its outcome follows,
-- in order), e early
local run, held, retention = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local wave, window, inbox = ARGV[4], tonumber(ARGV[5]), ARGV[6]
local common_id, common, last = ARGV[7], ARGV[8], tonumber(ARGV[9])
local pool_bell, slot, executor_bell, overhead = ARGV[10], ARGV[11], ARGV[12], ARGV[13]
local key, now = run_key(run), now_ms()
local EARLY = 101 -- "e"

local sure_lost, at = ARGV[14] == 'r', 15
local types, type_of = {}, {}
for i = 1, tonumber(ARGV[at]) do
  types[i] = ARGV[at + i]
  type_of[tostring(i)], type_of[i .. 'e'] = types[i], types[i]
  make_stream(stream_key('r', types[i]))
end
at = at + 1 + #types
local deadlines = {}
for i = 1, tonumber(ARGV[at]) do
  local d = at + 1 + (i - 1) * 3
  deadlines[i] = { ms = tonumber(ARGV[d]), from = tonumber(ARGV[d + 1]), to = tonumber(ARGV[d + 2]) }
end
at = at + 1 + #deadlines * 3

local head = redis.call('HMGET', key, 'z', 'W', 'L', 'D', 'ttl', 'V')
if head[1] then revive(run, now) end

-- An old task under this number must never answer the new call.
local function supersede(n, state, lane, type, id)
  if state == 'q' or state == 'x' then
    local consumer = is_claimed(lane, type, id)
    if consumer then
      redis.call('HSET', CANCELS, claim_name(lane, id, type), consumer)
      redis.call('PUBLISH', executor_bell .. consumer, slot .. ' ' .. lane .. ' ' .. id .. ' ' .. type)
    else
      redis.call('XDEL', stream_key(lane, type), id)
    end
    add_open(run, -1)
  elseif state == 'd' or state == 'z' then
    drop_delayed(run, n)
    if state == 'd' then add_open(run, -1) end
  elseif state == 't' then
    redis.call('HDEL', taken_key(run), n)
  elseif state == 'f' then
    -- the outcome in the box carries the old fingerprint and is dropped by whoever takes it
    add_open(run, -1)
  end
end

-- say writes a field of the record, which has none for the default.
local function say(field, value, before)
  if value then
    redis.call('HSET', key, field, value)
  elseif before then
    redis.call('HDEL', key, field)
  end
end

-- The run's first and only task, for which there is nothing to wait and nothing to trim.
local alone = #ARGV - at == 2 and #deadlines == 0 and wave == '' and held <= 1 and can_fold(run)
-- Names cost more than they save where few entries share them.
local shared = #ARGV - at >= 11 and '@' .. common_id .. run

local codes, reply, added = {}, { '' }, 0
for i = at, #ARGV, 3 do
  local number, tag, entry = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local n, type, fingerprint = tonumber(number), type_of[tag], sub(entry, 1, 8)
  local state, old, lane, old_type, id = record(run, n)
  local code = 'q'
  if state and old ~= fingerprint then
    supersede(n, state, lane, old_type, id)
    write(run, n, 'a', fingerprint, 'r', type) -- nothing is expected under it yet
    state = nil
  end
  if byte(tag, -1) == EARLY then
    code = 'e'
  elseif state == 'q' or state == 'd' or state == 'x' or state == 'f' or (state == 'a' and not sure_lost) then
    -- a: Temporal has the signal, and may hold it back until this workflow task ends
    code = 'q'
  else
    local outcome = state == 't' and redis.call('HGET', taken_key(run), n)
    if outcome then
      code = 'd'
      reply[#reply + 1] = outcome
    else
      if state == 'z' then drop_delayed(run, n) end
      if alone then
        fold(run, type, number, entry, common, retention, overhead)
      else
        local stream = stream_key('r', type)
        local id = shared and redis.call('XADD', stream, '*', shared, number, 'e', entry)
          or redis.call('XADD', stream, '*', 'r', run, 'w', common_id, 'n', number, 'e', entry)
        write(run, n, 'q', fingerprint, 'r', type, id)
        add_open(run, 1)
      end
      added = added + 1
    end
  end
  codes[#codes + 1] = code
end
reply[1] = table.concat(codes)

count('enqueued', added)
local recorded = added > 0 and not alone
if recorded then
  redis.call('HSET', key, 'w' .. common_id, common)
  say('ttl', retention ~= RETENTION and retention, head[5])
  say('V', overhead ~= '0' and overhead, head[6])
  for _, d in ipairs(deadlines) do
    for c = floor((d.from - 1) / PER), floor((d.to - 1) / PER) do add_wait(run, c, now + d.ms) end
  end
end

-- Below the watermark everything is settled for good: records, taken outcomes and
-- common data go. Bounded per call; the next one goes on.
if held > 1 then
  local low, high = tonumber(head[3] or 0), math.floor((held - 1) / PER)
  high = math.min(high, low + 500)
  for c = low, high - 1 do
    local numbers = {}
    for n = c * PER + 1, (c + 1) * PER do
      numbers[#numbers + 1] = n
      -- A task that its caller gave up may still be here; nobody will count it out later.
      local state = record(run, n)
      if state == 'q' or state == 'x' or state == 'd' or state == 'f' then add_open(run, -1) end
      if state == 'd' or state == 'z' then drop_delayed(run, n) end
    end
    if head[4] then redis.call('ZREM', DUE, chunk_name(run, c)) end
    drop_chunk(run, c)
    redis.call('HDEL', key, 't' .. c)
    redis.call('HDEL', taken_key(run), unpack(numbers))
  end
  if high > low then redis.call('HSET', key, 'L', high) end
end
if recorded then
  local keep, found = {}, false
  for digest, upto in string.gmatch(head[2] or '', '(........)(%d+);') do
    upto = tonumber(upto)
    if digest == common_id then
      found, upto = true, math.max(upto, last)
    end
    if upto >= held or digest == common_id then
      keep[#keep + 1] = digest .. string.format('%.0f', upto) .. ';'
    else
      redis.call('HDEL', key, 'w' .. digest)
    end
  end
  if not found then keep[#keep + 1] = common_id .. string.format('%.0f', last) .. ';' end
  redis.call('HSET', key, 'W', table.concat(keep))
end

if wave ~= '' then
  local live, known = live_tokens(run, now), false
  for _, t in ipairs(live) do
    if t.wave == wave then known, t.expiry = true, now + window + 1000 end
  end
  if not known then live[#live + 1] = { wave = wave, expiry = now + window + 1000, inbox = inbox } end
  save_tokens(run, live)
  -- a wave that is dispatched anew is not answered with its former closing
  redis.call('DEL', closed_key(run .. ':' .. wave))
  redis.call('HSET', key, 'H', 2 * window)
  redis.call('ZADD', DUE, 'NX', now + window + 1000, 't' .. run)
end
-- What was written though nothing was added goes in time.
if added == 0 and redis.call('EXISTS', key) == 1 then add_open(run, 0) end
flush()

if added > 0 then ring(added, types, pool_bell, slot) end
return reply
