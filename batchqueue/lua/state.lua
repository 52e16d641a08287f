-- state.lua: the run record's table of tasks. What a script uses of it is put before the
-- script (scripts.go); not a transition itself.
--
-- A run record is the hash run:<run>:
--   t<k>  table chunk: 32 records of 22 bytes for the numbers 32k+1 .. 32k+32
--   w<c>  common data of waves, by digest(8); W  digest(8) .. last number that needs it ";"
--   o     open tasks: added, outcome not yet delivered or taken
--   k     window tokens "wave=expiry=inbox;"   h  since when outcomes wait for a token
--   H     longest such wait, ms                b  size of the fixed batch, if any
--   g     rate gate "tokens|ms"                N  1: never push, the run asks
--   B     batches fixed so far                 A  delivery address that an ask gave
--   z     1: abandoned                         L  lowest chunk that is kept
--   ttl   retention, ms, if it is not RETENTION
--   V     bytes that delivery adds to each outcome
--   D     first-last chunk whose tasks may wait in DUE; none once nothing is open
-- A run whose first wave was one task, which may wait for ever, has no record at first: it
-- is folded. The hash fold:<number, from its sum> holds the place of its entry, and the entry
-- all that the record would say. Who needs the record unfolds it: run_key does.
-- A table record is state, fingerprint, lane, and the place: type index, entry id:
--   q  in a stream, waiting or claimed    d  delayed           x  claimed, cancel asked
--   f  finished, outcome in the box       t  outcome taken     a  outcome acknowledged
--   z  parked: its run was abandoned before it was claimed
-- Once it is finished, the lane is the kind of its outcome.
-- DUE is the sorted set of what happens at a time:
--   d<run>/<n>  a delayed task is due, or a    t<run>  a window may be over
--               parked one given up
--   w<run>/<k>  a task of chunk k that waits   p<run>  a run that is parked is purged
--               may have run out of time, not before

local WIDTH, PER = 22, 32
local RETENTION = 120000 -- ms: what enqueue.go asks for where a wave says nothing
local BLANK = string.rep('\0', WIDTH)

-- A script is one moment.
local moment
local function now_ms()
  if not moment then
    local t = redis.call('TIME')
    moment = t[1] * 1000 + math.floor(t[2] / 1000)
  end
  return moment
end

local floor = math.floor
local sub, byte, char, find = string.sub, string.byte, string.char, string.find

-- extend_lease gives an executor its lease on the slot. The set of leases goes with the last
-- of them, should nobody be left to clear it.
local function extend_lease(executor, lease)
  redis.call('ZADD', LEASES, now_ms() + lease, executor)
  if redis.call('PTTL', LEASES) < lease then redis.call('PEXPIRE', LEASES, lease) end
end

-- Big-endian unsigned integers; the struct library is not everywhere.
local function unpack_place(r, from)
  local i1, i2, a, b, c, d, e, f, g, h, i, j = string.byte(r, from, from + 11)
  return i1 * 256 + i2,
    ((((a * 256 + b) * 256 + c) * 256 + d) * 256 + e) * 256 + f,
    ((g * 256 + h) * 256 + i) * 256 + j
end

-- Types are numbered per slot, in the order they were first seen.
local type_list, type_at
local function load_types()
  if type_list then return end
  type_list, type_at = redis.call('LRANGE', TYPES, 0, -1), {}
  for i, t in ipairs(type_list) do type_at[t] = i end
end

local function type_index(name)
  load_types()
  local i = type_at[name]
  if not i then
    redis.call('RPUSH', TYPES, name)
    i = #type_list + 1
    type_list[i], type_at[name] = name, i
  end
  return i
end

local function type_name(index)
  load_types()
  return type_list[index]
end

-- place_at is the place of an entry in a record. The entries of one script seldom have more
-- than a few times, and packing is most of the work.
local packed_types, packed_times = {}, {}
local function place_at(type, id)
  local index = packed_types[type]
  if not index then
    local i = type_index(type)
    index = char(floor(i / 256) % 256, i % 256)
    packed_types[type] = index
  end
  local dash = find(id, '-', 1, true)
  local text, seq = sub(id, 1, dash - 1), tonumber(sub(id, dash + 1))
  local time = packed_times[text]
  if not time then
    local ms = tonumber(text)
    time = char(floor(ms / 1099511627776) % 256, floor(ms / 4294967296) % 256, floor(ms / 16777216) % 256,
      floor(ms / 65536) % 256, floor(ms / 256) % 256, ms % 256)
    packed_times[text] = time
  end
  if seq < 65536 then return index .. time .. char(0, 0, floor(seq / 256), seq % 256) end
  return index .. time .. char(floor(seq / 16777216) % 256, floor(seq / 65536) % 256, floor(seq / 256) % 256, seq % 256)
end

-- fields turns a flat list into a table. A stream entry holds
--   r run  w digest of the common data  n number  e what codec.go encodes
--   m l h  attempts, last failure and heartbeat of a task that was claimed before
--   p  of a next step, the claim that completed the step before
-- Entries of a wave have "@" w r for the name of n: Redis keeps the names of neighbours
-- once, and values always. The entry of a folded run has no w, but
--   c  the common data itself  k  ttl of the record  v  V of the record
local FIRST = string.rep('\0', 8) -- the digest's place for common data that came in an entry
local SHARED = 64 -- "@"
local function fields(flat)
  local out = {}
  for i = 1, #flat, 2 do
    local name, value = flat[i], flat[i + 1]
    if string.byte(name) == SHARED then
      out.w, out.r, out.n = string.sub(name, 2, 9), string.sub(name, 10), value
    else
      out[name] = value
    end
  end
  if out.c then out.w = FIRST end
  return out
end

-- A thousand hashes: with a million runs they are still short enough to be listpacks.
local function fold_of(run)
  local sum = redis.sha1hex(run)
  return fold_key(tonumber(string.sub(sum, 1, 3), 16) % 1024), string.sub(sum, 4, 11)
end

-- can_fold: nothing is known of the run, and no other lies where it would.
local function can_fold(run)
  return redis.call('EXISTS', record_key(run)) == 0 and redis.call('HEXISTS', fold_of(run)) == 0
end

-- fold adds the only task of a run.
local function fold(run, type, n, e, common, ttl, overhead)
  local entry = { 'r', run, 'n', n, 'e', e, 'c', common }
  if ttl ~= RETENTION then entry[9], entry[10] = 'k', ttl end
  if overhead ~= '0' then entry[#entry + 1], entry[#entry + 2] = 'v', overhead end
  local id = redis.call('XADD', stream_key('r', type), '*', unpack(entry))
  local key, field = fold_of(run)
  redis.call('HSET', key, field, place_at(type, id))
end

-- unfold makes the record of a run that is folded.
local function unfold(run)
  local key, field = fold_of(run)
  local place = redis.call('HGET', key, field)
  if not place then return end
  local index, ms, seq = unpack_place(place, 1)
  local type, id = type_name(index), string.format('%.0f-%.0f', ms, seq)
  local r = type and redis.call('XRANGE', stream_key('r', type), id, id) or {}
  local f = r[1] and fields(r[1][2])
  if f and f.r ~= run then return end -- another run, whose sum begins alike
  redis.call('HDEL', key, field)
  if not f then return end -- the stream was lost, and the task with it
  local before = tonumber(f.n) - 1
  redis.call('HSET', record_key(run), 'o', 1, 'w' .. FIRST, f.c, 'W', FIRST .. f.n .. ';',
    't' .. floor(before / PER), string.rep(BLANK, before % PER) .. 'q' .. string.sub(f.e, 1, 8) .. 'r' .. place)
  if f.k then redis.call('HSET', record_key(run), 'ttl', f.k) end
  if f.v then redis.call('HSET', record_key(run), 'V', f.v) end
end

-- run_key names a run's record; from then on it is not folded.
local met = {}
local function run_key(run)
  if not met[run] then
    met[run] = true
    unfold(run)
  end
  return record_key(run)
end

-- Chunks are read once and written once per script; what changes is kept by record, because
-- a new chunk for each of them would copy it as often. Neighbours share a chunk: near is the
-- one that was met last.
local chunks, near = {}, nil

local function chunk_of(run, n)
  local index = floor((n - 1) / PER)
  if not near or near.index ~= index or near.run ~= run then
    local field = 't' .. index
    local id = run .. '\0' .. field
    near = chunks[id]
    if not near then
      near = { run = run, index = index, field = field, raw = redis.call('HGET', run_key(run), field) or '', changed = {}, top = 0 }
      chunks[id] = near
    end
  end
  return near, n - 1 - index * PER
end

-- stored gives what stands of a number, nil if it is unknown
local function stored(run, n)
  local c, i = chunk_of(run, n)
  local r = c.changed[i] or sub(c.raw, i * WIDTH + 1, (i + 1) * WIDTH)
  if r == '' or r == BLANK then return nil end
  return r
end

-- record returns state, fingerprint, lane, type, entry id; nil if the number is unknown
local function record(run, n)
  local r = stored(run, n)
  if not r then return nil end
  local index, ms, seq = unpack_place(r, 11)
  return sub(r, 1, 1), sub(r, 2, 9), sub(r, 10, 10), type_name(index), string.format('%.0f-%.0f', ms, seq)
end

-- splice changes the first bytes of a record
local function splice(run, n, bytes)
  local c, i = chunk_of(run, n)
  local rest = c.changed[i] or sub(c.raw, i * WIDTH + 1, (i + 1) * WIDTH)
  if rest == '' then rest = BLANK end
  c.changed[i] = bytes .. sub(rest, #bytes + 1)
  if i >= c.top then c.top = i + 1 end
end

local function write(run, n, state, fingerprint, lane, type, id)
  splice(run, n, state .. fingerprint .. lane .. place_at(type, id or '0-0'))
end

-- chunk_bytes is a chunk with its changes
local function chunk_bytes(c)
  local raw, out, from = c.raw, {}, 0
  if #raw < c.top * WIDTH then raw = raw .. string.rep('\0', c.top * WIDTH - #raw) end
  for i = 0, c.top - 1 do
    local r = c.changed[i]
    if r then
      if from < i then out[#out + 1] = sub(raw, from * WIDTH + 1, i * WIDTH) end
      out[#out + 1], from = r, i + 1
    end
  end
  out[#out + 1] = sub(raw, from * WIDTH + 1)
  return table.concat(out)
end

-- drop_chunk forgets what was read of a chunk that is being deleted
local function drop_chunk(run, c) chunks[run .. '\0t' .. c], near = nil, nil end

-- last_chunk is the highest chunk of a run's table, -1 if it has none
local function last_chunk(run)
  local last = -1
  for _, field in ipairs(redis.call('HKEYS', run_key(run))) do
    local c = string.match(field, '^t(%d+)$')
    if c then last = math.max(last, tonumber(c)) end
  end
  return last
end

-- task_name names a task in the due set and among the delayed, chunk_name a chunk there
local function task_name(run, n) return run .. '/' .. string.format('%.0f', n) end
local function chunk_name(run, c) return 'w' .. run .. '/' .. string.format('%.0f', c) end

-- set_state changes the state and nothing else
local function set_state(run, n, state) splice(run, n, state) end

local opened = {}
local function add_open(run, delta) opened[run] = (opened[run] or 0) + delta end

-- add_due sets a time, if there is no earlier one yet.
local dues = {}
local function add_due(at, member) dues[member] = math.min(at, dues[member] or at) end

-- add_wait sets a time for the waiting tasks of a chunk. One member serves them all: when
-- it is due, each task's own entry says how long it may wait.
local waiting = {}
local function add_wait(run, c, at)
  add_due(at, chunk_name(run, c))
  local w = waiting[run] or { first = c, last = c }
  w.first, w.last = math.min(w.first, c), math.max(w.last, c)
  waiting[run] = w
end

-- waiting_chunks gives the first and last chunk that may be in the due set, nil for none
local function waiting_chunks(run)
  local head = redis.call('HMGET', run_key(run), 'D', 'L')
  if not head[1] then return nil end
  local first, last = string.match(head[1], '(%d+)-(%d+)')
  return math.max(tonumber(first), tonumber(head[2] or 0)), tonumber(last)
end

-- drop_waits takes a run's chunks out of the due set
local function drop_waits(run)
  local first, last = waiting_chunks(run)
  if not first then return end
  for c = first, last do redis.call('ZREM', DUE, chunk_name(run, c)) end
  redis.call('HDEL', run_key(run), 'D')
end

local counts = {}
local function count(name, delta) counts[name] = (counts[name] or 0) + delta end

-- drop_box removes a run's undelivered outcomes and takes them off the counts
local function drop_box(run)
  local bytes, box = 0, redis.call('LRANGE', box_key(run), 0, -1)
  for _, e in ipairs(box) do bytes = bytes + #e end
  count('outbox', -#box)
  count('outbox_bytes', -bytes)
  redis.call('DEL', box_key(run))
end

-- Window tokens.
local function live_tokens(run, now)
  local live, raw = {}, redis.call('HGET', run_key(run), 'k')
  if raw then
    for wave, expiry, inbox in string.gmatch(raw, '([^=;]+)=(%d+)=([^;]*);') do
      if tonumber(expiry) > now then
        live[#live + 1] = { wave = wave, expiry = tonumber(expiry), inbox = inbox }
      end
    end
  end
  return live
end

local function save_tokens(run, live)
  local out = {}
  for i, t in ipairs(live) do out[i] = t.wave .. '=' .. string.format('%.0f', t.expiry) .. '=' .. t.inbox .. ';' end
  if #out > 0 then
    redis.call('HSET', run_key(run), 'k', table.concat(out))
  else
    redis.call('HDEL', run_key(run), 'k')
  end
end

-- make_deliverable puts the run's outcomes before the Deliverer, unless the run takes no
-- pushes. A run that is there already (waiting, or with a batch under way) stays as it is.
local function make_deliverable(run, at)
  local flags = redis.call('HMGET', run_key(run), 'z', 'N')
  if flags[1] or flags[2] then return end
  if redis.call('ZADD', DELIVERABLE, 'NX', at, run) == 1 then
    redis.call('PUBLISH', DELIVER_BELL, '')
  end
end

-- An outcome in a box is "<number>:" fingerprint(8) wave(8) body.
local function parse_outcome(e)
  local colon = find(e, ':', 1, true)
  return tonumber(sub(e, 1, colon - 1)), sub(e, colon + 1, colon + 8), sub(e, colon + 9, colon + 16)
end

-- finish records an outcome: the transition to f. The caller has checked the record.
-- Outcomes of a run are appended together, by flush.
local boxes = {}
local EXPIRED = { s = '\4', c = '\5', S = '\4', C = '\5' } -- what due.lua writes, as Go's kinds
local IN_STEP = 16 -- added to a kind where the number of a step follows it

-- kind_of gives the kind of an outcome, as it stands in records
local function kind_of(body)
  local code = byte(body, 1, 1)
  if code and code > IN_STEP and code < 2 * IN_STEP then return char(code - IN_STEP) end
  local kind = sub(body, 1, 1)
  return EXPIRED[kind] or kind
end

-- number is n as text, for who has it at hand
local function finish(run, n, fingerprint, wave, body, number)
  splice(run, n, 'f' .. fingerprint .. kind_of(body))
  local b = boxes[run]
  if not b then
    b = { outcomes = {}, numbers = {}, bytes = 0 }
    boxes[run] = b
  end
  number = number or string.format('%.0f', n)
  local e = number .. ':' .. fingerprint .. wave .. body
  b.outcomes[#b.outcomes + 1], b.numbers[#b.numbers + 1], b.bytes = e, number, b.bytes + #e
end

local told = {}
local windows = {} -- runs whose outcomes a window waits for
local function fill_boxes()
  local now = now_ms()
  for run, b in pairs(boxes) do
    local box = box_key(run)
    for i = 1, #b.outcomes, 500 do
      redis.call('RPUSH', box, unpack(b.outcomes, i, math.min(i + 499, #b.outcomes)))
    end
    count('outbox', #b.outcomes)
    count('outbox_bytes', b.bytes)
    local tokens = live_tokens(run, now)
    if #tokens == 0 then
      make_deliverable(run, now)
    else
      windows[run] = true
      redis.call('HSETNX', run_key(run), 'h', string.format('%.0f', now))
      for _, t in ipairs(tokens) do
        if t.inbox ~= '' then told[#told + 1] = { t.inbox, run .. ' ' .. table.concat(b.numbers, ',') } end
      end
    end
  end
  boxes = {}
end

-- fill_due writes what add_due and add_wait gathered, and tells the slot's leader when
-- something of it became the first thing due.
local function fill_due()
  if not next(dues) then return end
  for member, at in pairs(dues) do redis.call('ZADD', DUE, 'LT', at, member) end
  if dues[redis.call('ZRANGE', DUE, 0, 0)[1]] then redis.call('PUBLISH', DELIVER_BELL, 'due') end
  for run, w in pairs(waiting) do
    local first, last = waiting_chunks(run)
    redis.call('HSET', run_key(run), 'D',
      string.format('%.0f-%.0f', math.min(w.first, first or w.first), math.max(w.last, last or w.last)))
  end
  dues, waiting = {}, {}
end

-- flush writes what set_state, write, finish, add_open, add_due, add_wait and count
-- gathered; every script that changes records ends with it. A run without open tasks waits
-- for nothing and lives for its retention.
local function flush()
  fill_boxes()
  fill_due()
  for _, c in pairs(chunks) do
    if c.top > 0 then redis.call('HSET', run_key(c.run), c.field, chunk_bytes(c)) end
  end
  for run, delta in pairs(opened) do
    local key = run_key(run)
    local open = redis.call('HINCRBY', key, 'o', delta)
    if open <= 0 then
      local head = redis.call('HMGET', key, 'z', 'ttl', 'D')
      if head[3] then drop_waits(run) end
      if not head[1] then redis.call('PEXPIRE', key, head[2] or RETENTION) end
    elseif delta > 0 then
      redis.call('PERSIST', key)
    end
  end
  for name, delta in pairs(counts) do
    if delta ~= 0 then redis.call('HINCRBY', COUNTERS, name, delta) end
  end
  chunks, near, opened, counts = {}, nil, {}, {}
end

-- tell wakes the processes that wait in a window, once per run
local function tell(inbox_prefix)
  for _, t in ipairs(told) do redis.call('PUBLISH', inbox_prefix .. t[1], t[2]) end
end

-- Entries outside a stream are netstrings.
local function pack(...)
  local out = {}
  for i, s in ipairs({ ... }) do out[i] = #s .. ':' .. s end
  return table.concat(out)
end

local function unpack_fields(s)
  local out, at = {}, 1
  while at <= #s do
    local colon = string.find(s, ':', at, true)
    local len = tonumber(string.sub(s, at, colon - 1))
    out[#out + 1] = string.sub(s, colon + 1, colon + len)
    at = colon + len + 1
  end
  return out
end

local function claim_name(lane, id, type) return lane .. id .. '/' .. type end

-- is_claimed asks the pending list, the only place that knows
local function is_claimed(lane, type, id)
  local p = redis.pcall('XPENDING', stream_key(lane, type), GROUP, id, id, 1)
  if p and not p.err and p[1] then return p[1][2] end
  return nil
end

-- make_stream makes a stream with its group. A group that somebody destroyed is made
-- again by claim.
local function make_stream(stream)
  if redis.call('EXISTS', stream) == 0 then
    redis.call('XGROUP', 'CREATE', stream, GROUP, '0', 'MKSTREAM')
  end
end

local function add_entry(lane, type, ...)
  local stream = stream_key(lane, type)
  make_stream(stream)
  return redis.call('XADD', stream, '*', ...)
end

-- How long tasks may wait stands in the common data of their waves, in the formats of
-- codec.go. Waves are read once per script.
local function uvarint(s, at)
  local v, unit, b = 0, 1
  repeat
    b = string.byte(s, at) or 0
    v, unit, at = v + b % 128 * unit, unit * 128, at + 1
  until b < 128
  return v, at
end

-- place_of gives the index of an entry's options and the number of its step, nil for an
-- entry that only newer code knows
local function place_of(e)
  local version = string.byte(e, 9)
  if version ~= 1 and version ~= 2 then return nil end
  local option, at = uvarint(e, 10)
  if version == 1 then return option, 0 end
  local _, plan_end = uvarint(e, at)
  return option, (uvarint(e, plan_end))
end

-- in_step puts the number of an entry's step into the body of an outcome, as Go writes it
local function in_step(body, e)
  local _, step = place_of(e)
  if not step or step == 0 then return body end
  local out = char(string.byte(body, 1) + IN_STEP)
  while step >= 128 do
    out = out .. char(step % 128 + 128)
    step = floor(step / 128)
  end
  return out .. char(step) .. string.sub(body, 2)
end

local waits = {}
local function options_of(run, wave)
  local id = run .. '\0' .. wave
  if not waits[id] then
    local common, all = redis.call('HGET', run_key(run), 'w' .. wave) or '', {}
    local known, at = uvarint(common, 2)
    local version = string.byte(common, 1)
    for i = 1, (version == 1 or version == 2) and known or 0 do
      local o = {}
      for j = 1, 8 do o[j], at = uvarint(common, at) end -- six durations, the attempts, final time-outs
      local coefficient, text = uvarint(common, at) -- its length, where it begins
      at = text + coefficient
      all[i] = { start = math.ceil(o[1] / 1e6), close = math.ceil(o[2] / 1e6) }
    end
    waits[id] = all
  end
  return waits[id]
end

-- waits_until gives the time when a waiting task has waited too long, and for what: s to
-- be started, since its entry was added, or c to be closed, since it was first scheduled.
-- nil: it may wait for ever. m = "attempt:losses:alone:scheduled_ms", '' at first
local function waits_until(run, wave, e, m, id)
  local option = place_of(e)
  local o = option and options_of(run, wave)[option + 1]
  if not o then return nil end
  local added = tonumber(string.match(id, '^%d+'))
  local scheduled = tonumber(string.match(m, '^%d+:%d+:%d+:(%d+)') or added)
  if o.close > 0 and (o.start == 0 or scheduled + o.close < added + o.start) then return scheduled + o.close, 'c' end
  if o.start > 0 then return added + o.start, 's' end
end

-- requeue puts a task that was claimed before in front again: the front lane, or the lane
-- of its level for one that was lost with its executor twice or more.
local function requeue(run, n, fingerprint, type, wave, e, m, l, h)
  local losses = tonumber(string.match(m, '^[^:]*:(%d+)') or 0)
  local lane = losses < 2 and 'f' or string.format('%d', math.min(losses, 4) - 1)
  local id = add_entry(lane, type, 'r', run, 'w', wave, 'n', string.format('%.0f', n), 'e', e, 'm', m, 'l', l, 'h', h)
  write(run, n, 'q', fingerprint, lane, type, id)
  local at = waits_until(run, wave, e, m, id)
  if at then add_wait(run, floor((n - 1) / PER), at) end
end

-- advance puts the next step of a task, whose entry is e, behind all that waits for its
-- type. Attempts, losses and deadlines begin anew. by: the claim that completed the step
-- before, by which its executor is known again
local function advance(run, n, fingerprint, type, wave, e, by)
  local id = add_entry('r', type, 'r', run, 'w', wave, 'n', string.format('%.0f', n), 'e', e, 'p', by)
  write(run, n, 'q', fingerprint, 'r', type, id)
  local at = waits_until(run, wave, e, '', id)
  if at then add_wait(run, floor((n - 1) / PER), at) end
end

-- ring tells executors of added tasks of these types: those at home in the slot, and all
-- others too where it is more than the home executors have permits for
local function ring(added, types, pool_bell, slot)
  redis.call('PUBLISH', BELL, added)
  local permits, depth, now = 0, 0, now_ms()
  for _, said in ipairs(redis.call('HVALS', PERMITS)) do
    local n, expiry = string.match(said, '(%d+)|(%d+)')
    if tonumber(expiry) > now then permits = permits + n end
  end
  for _, type in ipairs(types) do depth = depth + redis.call('XLEN', stream_key('r', type)) end
  if depth > permits then redis.call('PUBLISH', pool_bell, slot) end
end

-- drop_delayed takes a task from the delayed and the parked ones
local function drop_delayed(run, n)
  local name = task_name(run, n)
  redis.call('ZREM', DUE, 'd' .. name)
  redis.call('HDEL', DELAYED, name)
end

-- park keeps a task that its run may ask for. It has its own time in the due set, so that
-- it goes whatever becomes of the run.
local function park(run, n, fingerprint, lane, type, id, wave, e, m, l, h, until_ms)
  local name = task_name(run, n)
  if m == '' then m = '1:0:0:' .. string.match(id, '^%d+') end -- its first entry said when it was scheduled
  redis.call('HSET', DELAYED, name, pack(type, wave, e, m, l, h))
  redis.call('ZADD', DUE, until_ms, 'd' .. name)
  write(run, n, 'z', fingerprint, lane, type)
  add_open(run, -1)
end

-- revive takes back that a run was abandoned: it speaks, so it exists. Parked tasks stay
-- parked until it asks for them.
local function revive(run, now)
  redis.call('HDEL', run_key(run), 'z')
  redis.call('ZREM', DUE, 'p' .. run)
  redis.call('PERSIST', run_key(run))
  add_open(run, 0) -- flush gives the record its retention back if nothing is open
  if redis.call('LLEN', box_key(run)) > 0 then make_deliverable(run, now) end
end

local function entry_bytes(flat)
  local bytes = 0
  for i = 2, #flat, 2 do bytes = bytes + #flat[i] end
  return bytes
end

-- refer gathers the common data that an entry refers to, once for all that do: run, digest
-- and data, one after the other. It does not unfold: the entry of a folded run refers to
-- nothing.
local commons, referred = {}, {}
local function refer(flat)
  local name = flat[1]
  if referred[name] then return end -- the rule, where a wave is wide
  local f = fields(flat)
  if not f.r or not f.w or f.c then return end
  local key = '@' .. f.w .. f.r
  if referred[key] then return end
  referred[key] = true
  commons[#commons + 1] = f.r
  commons[#commons + 1] = f.w
  commons[#commons + 1] = redis.call('HGET', record_key(f.r), 'w' .. f.w) or ''
end

-- entries_reply gives claimed entries, and what is known of who has them
local function entries_reply(entries)
  local out = {}
  for i, e in ipairs(entries) do
    refer(e.flat)
    out[i] = { e.type, e.lane, e.id, e.flat, e.executor or '', e.heartbeat or '', e.held or 0 }
  end
  return out
end
