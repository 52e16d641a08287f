-- redrive.lua: gives a dead letter a new life, or drops it.
-- Guarantee: the letter leaves the list in the same step; the task starts with attempt 1
-- and no losses. Its outcome reaches whoever asks under its identity.
-- KEYS[1] slot prefix
-- ARGV 1 id of the letter  2 verb: redrive | drop
-- Reply 1 done | 0 no such letter
local r = redis.call('XRANGE', DEAD, ARGV[1], ARGV[1])
if not r[1] then return 0 end
redis.call('XDEL', DEAD, ARGV[1])
if ARGV[2] == 'drop' then return 1 end
local f = fields(r[1][2])
if not (f.type and f.r and f.n and f.e) then return 1 end
local n = tonumber(f.n)
local _, fingerprint = record(f.r, n)
fingerprint = fingerprint or string.sub(f.e, 1, 8)
local id = add_entry('f', f.type, 'r', f.r, 'w', f.w or '', 'n', f.n, 'e', f.e, 'm', '', 'l', '', 'h', '')
write(f.r, n, 'q', fingerprint, 'f', f.type, id)
add_open(f.r, 1)
flush()
redis.call('PUBLISH', BELL, 1)
return 1
