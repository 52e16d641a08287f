-- claim.lua: gives an executor tasks of the types it handles.
-- Guarantee: a task that is returned is in the pending list of this executor and of
-- nobody else, and the executor has a lease on the slot. Bounded by count and by bytes;
-- one task is always taken, and the sizes of entries are learnt while reading, so that
-- the byte bound is passed by at most a few entries. The front lane gives at most half
-- while ready streams have tasks; no type starves another.
-- KEYS[1] slot prefix
-- ARGV 1 executor  2 lease ms  3 count  4 bytes  5 outbox limit
--      6 7 8 budgets for suspects of level 1, 2 and 3 (level 3 is claimed alone)
--      then type names
-- Reply { flag, commons, entries }: flag 1 more may wait, 0 no, -1 blocked by the outbox
--   commons: run, digest, data, ...  entries: { type, lane, id, fields, '', '', 0 }
local executor, lease, want, room = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
if tonumber(redis.call('HGET', COUNTERS, 'outbox') or 0) >= tonumber(ARGV[5]) then
  return { -1, {}, {} }
end
local entries, bytes, more = {}, 0, false

-- A worker may have many types; what this slot never saw costs nothing.
load_types()
local types = {}
for i = 9, #ARGV do
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
  if r and r.err then
    redis.call('XGROUP', 'CREATE', stream, GROUP, '0')
    r = redis.call('XREADGROUP', 'GROUP', GROUP, executor, 'COUNT', n, 'STREAMS', stream, '>')
  end
  return r and r[1][2] or {}
end

-- read takes up to n entries of a lane and says whether the lane was emptied
local function read(lane, type, n)
  while n > 0 and #entries < want and (bytes < room or #entries == 0) do
    local guess = #entries > 0 and math.max(1, bytes / #entries) or math.max(1, room / 4)
    local ask = math.max(1, math.min(n, want - #entries, math.floor((room - bytes) / guess), 256))
    local got = read_group(lane, type, ask)
    for _, e in ipairs(got) do
      local size = 0
      for i = 2, #e[2], 2 do size = size + #e[2][i] end
      bytes = bytes + size
      entries[#entries + 1] = { type = type, lane = lane, id = e[1], flat = e[2] }
    end
    if #got < ask then return true end
    n = n - #got
  end
  return false
end

local levels = { tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8]) }
for _, type in ipairs(types) do
  if #entries == 0 then read('3', type, math.min(1, levels[3])) end
end
if #entries == 0 then
  for level = 1, 2 do
    for _, type in ipairs(types) do
      local before = #entries
      read(tostring(level), type, levels[level])
      levels[level] = levels[level] - (#entries - before)
    end
  end
  local empty, half = {}, math.ceil((want - #entries) / 2)
  for _, type in ipairs(types) do
    local before = #entries
    empty['f' .. type] = read('f', type, half)
    half = half - (#entries - before)
  end
  for i, type in ipairs(types) do
    empty['r' .. type] = read('r', type, math.ceil((want - #entries) / (#types - i + 1)))
  end
  for _, type in ipairs(types) do
    for _, lane in ipairs({ 'r', 'f' }) do
      local name = lane .. type
      if not empty[name] then empty[name] = read(lane, type, want - #entries) end
      if not empty[name] then more = true end
    end
  end
end
if #entries > 0 then redis.call('ZADD', LEASES, now_ms() + lease, executor) end
local commons, out = entries_reply(entries)
return { more and 1 or 0, commons, out }
