-- claim.lua: gives an executor tasks of the types it handles.
-- Guarantee: a task that is returned is in the pending list of this executor and of
-- nobody else, and the executor has a lease on the slot. Bounded by count and by bytes;
-- one task is always taken, and the sizes of entries are learnt while reading, so that
-- the byte bound is passed by at most a few entries. The front lane gives at most half
-- while ready streams have tasks; no type starves another.
-- KEYS[1] slot prefix
-- ARGV 1 executor  2 lease ms  3 count  4 bytes  5 outbox limit  6 the same in bytes, 0 none
--      7 8 9 budgets for suspects of level 1, 2 and 3 (level 3 is claimed alone)
--      then type names
-- Reply { flag, commons, parts }: flag 1 more may wait, 0 no, -1 blocked by the outbox
--   commons: run, digest, data, ...  parts: { type, lane, { { id, fields }, ... } }
local executor, lease, want, room = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local outbox, most = redis.call('HMGET', COUNTERS, 'outbox', 'outbox_bytes'), tonumber(ARGV[6])
if tonumber(outbox[1] or 0) >= tonumber(ARGV[5]) or (most > 0 and tonumber(outbox[2] or 0) >= most) then
  return { -1, {}, {} }
end
local parts, taken, bytes, more = {}, 0, 0, false

-- A worker may have many types; what this slot never saw costs nothing.
load_types()
local types = {}
for i = 10, #ARGV do
  if type_at[ARGV[i]] then types[#types + 1] = ARGV[i] end
end
-- Lanes other than the ready streams are seldom there: one look at each for all types.
local present = { r = true }
for _, lane in ipairs({ '1', '2', '3', 'f' }) do
  local streams = {}
  for i, type in ipairs(types) do streams[i] = stream_key(lane, type) end
  present[lane] = #types > 0 and redis.call('EXISTS', unpack(streams)) > 0
end

local function read_group(lane, type, n)
  local stream = stream_key(lane, type)
  if not present[lane] or redis.call('EXISTS', stream) == 0 then return {} end
  local r = redis.pcall('XREADGROUP', 'GROUP', GROUP, executor, 'COUNT', n, 'STREAMS', stream, '>')
  if r and r.err then -- no group; anything else is an error of the second call too
    if string.find(r.err, 'NOGROUP', 1, true) then redis.call('XGROUP', 'CREATE', stream, GROUP, '0') end
    r = redis.call('XREADGROUP', 'GROUP', GROUP, executor, 'COUNT', n, 'STREAMS', stream, '>')
  end
  return r and r[1][2] or {}
end

-- read takes up to n entries of a lane and says whether the lane was emptied
local function read(lane, type, n)
  while n > 0 and taken < want and (bytes < room or taken == 0) do
    local guess = taken > 0 and math.max(1, bytes / taken) or math.max(1, room) -- one, to see
    local ask = math.max(1, math.min(n, want - taken, math.floor((room - bytes) / guess), 256))
    local got = read_group(lane, type, ask)
    for _, e in ipairs(got) do
      bytes = bytes + entry_bytes(e[2])
      refer(e[2])
    end
    if #got > 0 then parts[#parts + 1] = { type, lane, got } end
    taken = taken + #got
    if #got < ask then return true end
    n = n - #got
  end
  return false
end

local levels = { tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9]) }
for _, type in ipairs(types) do
  if taken == 0 then read('3', type, math.min(1, levels[3])) end
end
if taken == 0 then
  for level = 1, 2 do
    for _, type in ipairs(types) do
      local before = taken
      read(tostring(level), type, levels[level])
      levels[level] = levels[level] - (taken - before)
    end
  end
  local empty, half = {}, math.ceil((want - taken) / 2)
  for _, type in ipairs(types) do
    local before = taken
    empty['f' .. type] = read('f', type, half)
    half = half - (taken - before)
  end
  for i, type in ipairs(types) do
    empty['r' .. type] = read('r', type, math.ceil((want - taken) / (#types - i + 1)))
  end
  for _, type in ipairs(types) do
    for _, lane in ipairs({ 'r', 'f' }) do
      local name = lane .. type
      if not empty[name] then empty[name] = read(lane, type, want - taken) end
      if not empty[name] then more = true end
    end
  end
end
if taken > 0 then extend_lease(executor, lease) end
return { more and 1 or 0, commons, parts }
