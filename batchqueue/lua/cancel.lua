-- cancel.lua: cancels tasks of a run.
-- Guarantee: a task that was never claimed, or waits for a retry, ends as canceled at
-- once and never starts again; a claimed one is marked, its executor is told, and it is
-- not retried any more; what ended keeps its outcome.
-- KEYS[1] slot prefix
-- ARGV 1 run  2 executor bell prefix  3 inbox prefix  4 slot
--      5 body of a canceled outcome; '' discards: no outcome, and the record says that
--        nothing is expected any more
--      then number, fingerprint(8) per task; fingerprint '' matches any
-- Reply: one letter per task: c canceled | r running, asked to stop | e ended or unknown
local run, executor_bell, inbox_prefix, slot, body = unpack(ARGV, 1, 5)
local replies = {}

local function conclude(run, n, fingerprint, wave, e)
  if body == '' then
    set_state(run, n, 'a')
    add_open(run, -1)
  else
    finish(run, n, fingerprint, wave, in_step(body, e))
  end
end

for i = 6, #ARGV, 2 do
  local n, wanted = tonumber(ARGV[i]), ARGV[i + 1]
  local state, fingerprint, lane, type, id = record(run, n)
  local reply = 'e'
  if state and (wanted == '' or wanted == fingerprint) then
    if state == 'q' or state == 'x' then
      local consumer = is_claimed(lane, type, id)
      if consumer then
        reply = 'r'
        if body == '' then
          set_state(run, n, 'a')
          add_open(run, -1)
        else
          set_state(run, n, 'x')
        end
        redis.call('HSET', CANCELS, claim_name(lane, id, type), consumer)
        redis.call('PUBLISH', executor_bell .. consumer, slot .. ' ' .. lane .. ' ' .. id .. ' ' .. type)
      else
        reply = 'c'
        local r = redis.call('XRANGE', stream_key(lane, type), id, id)
        local f = r[1] and fields(r[1][2]) or {}
        redis.call('XDEL', stream_key(lane, type), id)
        conclude(run, n, fingerprint, f.w or string.rep('\0', 8), f.e or '')
      end
    elseif state == 'd' then
      reply = 'c'
      local delayed = redis.call('HGET', DELAYED, task_name(run, n))
      local f = delayed and unpack_fields(delayed) or {}
      drop_delayed(run, n)
      conclude(run, n, fingerprint, f[2] or string.rep('\0', 8), f[3] or '')
    end
  end
  replies[#replies + 1] = reply
end
flush()
tell(inbox_prefix)
return table.concat(replies)
