-- task.lua: tells all about one task. Reads only.
-- KEYS[1] slot prefix
-- ARGV 1 run  2 number
-- Reply {} if the number is unknown, else { number, fingerprint(8), state, executor, type,
--   kind (all as in tasks.lua), entry id, due ms, claimed for ms, wave's common data,
--   e, m, l, h }
--   due is when a delayed task is queued again, or a parked one given up; '' for others;
--   e, m, l, h are '' once the task has ended
local run, n = ARGV[1], tonumber(ARGV[2])
local state, fingerprint, lane, type, id = record(run, n)
if not state then return {} end
local executor, kind, due, held, f = '', '', '', 0, {}
if state == 'q' or state == 'x' then
  local p = redis.pcall('XPENDING', stream_key(lane, type), GROUP, id, id, 1)
  if p and not p.err and p[1] then executor, held = p[1][2], p[1][3] end
  local r = redis.call('XRANGE', stream_key(lane, type), id, id)
  if r[1] then f = fields(r[1][2]) end
elseif state == 'd' or state == 'z' then
  local packed = redis.call('HGET', DELAYED, task_name(run, n))
  if packed then
    local u = unpack_fields(packed)
    f = { w = u[2], e = u[3], m = u[4], l = u[5], h = u[6] }
  end
  due = redis.call('ZSCORE', DUE, 'd' .. task_name(run, n)) or ''
else
  kind = lane
end
local common = f.w and redis.call('HGET', run_key(run), 'w' .. f.w) or ''
return { n, fingerprint, state, executor, type or '', kind, id, due, held, common, f.e or '', f.m or '', f.l or '', f.h or '' }
