-- ask.lua: says what the queue knows about open calls of a run.
-- Guarantee: a task that is reported as open will have an outcome; an abandoned task is
-- queued again at once under its old identity; the run that asks hears of its outcomes
-- from now on. Finished outcomes are pulled by take.lua, in the same pipeline.
-- KEYS[1] slot prefix
-- ARGV 1 run  2 delivery address ('' keep)
--      then number, fingerprint(8) per call
-- Reply { codes, outcome... }: q open, d taken before (outcome follows), n not here
local run, address = ARGV[1], ARGV[2]
local key, now, codes, reply, rung = run_key(run), now_ms(), {}, { '' }, 0
local known_run = redis.call('EXISTS', key) == 1
if redis.call('HEXISTS', key, 'z') == 1 then revive(run, now) end
if known_run and address ~= '' then redis.call('HSET', key, 'A', address) end

for i = 3, #ARGV, 2 do
  local n, fingerprint = tonumber(ARGV[i]), ARGV[i + 1]
  local state, known, lane, type, id = record(run, n)
  local code = 'n'
  if state and known == fingerprint then
    if state == 'q' or state == 'x' or state == 'd' or state == 'f' then
      code = 'q'
      -- A record that outlived its task (lost group, deleted stream) must not hold the
      -- call for ever.
      if state == 'q' and #redis.call('XRANGE', stream_key(lane, type), id, id) == 0 then
        code = 'n'
        set_state(run, n, 'a')
        add_open(run, -1)
      end
    elseif state == 't' then
      local outcome = redis.call('HGET', taken_key(run), ARGV[i])
      if outcome then
        code = 'd'
        reply[#reply + 1] = outcome
      end
    elseif state == 'z' then
      local parked = redis.call('HGET', DELAYED, task_name(run, n))
      if parked then
        local f = unpack_fields(parked)
        drop_delayed(run, n)
        requeue(run, n, fingerprint, f[1], f[2], f[3], f[4], f[5], f[6])
        add_open(run, 1)
        rung, code = rung + 1, 'q'
      end
    end
  end
  codes[#codes + 1] = code
end
reply[1] = table.concat(codes)
flush()
if rung > 0 then redis.call('PUBLISH', BELL, rung) end
return reply
