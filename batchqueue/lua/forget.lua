-- forget.lua: removes a run that is closed and committed, whole: nobody asks for it again.
-- Guarantee: a run with tasks that are still open is left alone; so is one that was
-- abandoned, whose parked tasks are purged when their time is over.
-- KEYS[1] slot prefix
-- ARGV 1 run
-- Reply 1 removed, or abandoned before | 0 kept, its tasks are open
local run = ARGV[1]
local head = redis.call('HMGET', run_key(run), 'o', 'z')
if head[2] then return 1 end
if tonumber(head[1] or 0) > 0 then return 0 end
drop_box(run)
redis.call('DEL', run_key(run), taken_key(run))
redis.call('ZREM', DELIVERABLE, run)
redis.call('ZREM', DUE, 't' .. run)
flush()
return 1
