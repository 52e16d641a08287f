-- progress.lua: tells where some of a run's tasks stand, and in which attempt. Changes
-- nothing, but that a folded run has its record.
-- KEYS[1] slot prefix
-- ARGV 1 run, then numbers
-- Reply { { number, fingerprint(8), state, executor, type, kind (all as in tasks.lua), m }... }:
--   what is unknown is left out; m is '' in the first attempt, and '?' once the task has
--   ended, and where it was not looked for: an entry is read with its payload, and all else
--   that Redis does waits meanwhile
local run, reply, room = ARGV[1], {}, 4194304
for i = 2, #ARGV do
  local n = tonumber(ARGV[i])
  local state, fingerprint, lane, type, id = record(run, n)
  local executor, kind, m = '', '', '?'
  if state == 'q' or state == 'x' then
    executor = is_claimed(lane, type, id) or ''
    if lane == 'r' then -- what is enqueued waits there, in its first attempt
      m = ''
    elseif room > 0 then
      local r = redis.call('XRANGE', stream_key(lane, type), id, id)
      if r[1] then
        room = room - entry_bytes(r[1][2])
        m = fields(r[1][2]).m or ''
      end
    end
  elseif state == 'd' or state == 'z' then
    local packed = room > 0 and redis.call('HGET', DELAYED, task_name(run, n))
    if packed then
      room = room - #packed
      m = unpack_fields(packed)[4]
    end
  elseif state then
    kind = lane
  end
  if state then reply[#reply + 1] = { n, fingerprint, state, executor, type or '', kind, m } end
end
return reply
