-- forget.lua: removes a run that is closed and committed, whole: nobody asks for it again.
-- Guarantee: a run with tasks that are open or parked is left alone.
-- KEYS[1] slot prefix
-- ARGV 1 run
-- Reply 1 removed | 0 kept
local run = ARGV[1]
local head = redis.call('HMGET', run_key(run), 'o', 'z')
if tonumber(head[1] or 0) > 0 or head[2] then return 0 end
drop_box(run)
redis.call('DEL', run_key(run), taken_key(run))
redis.call('ZREM', DELIVERABLE, run)
redis.call('ZREM', DUE, 't' .. run)
flush()
return 1
