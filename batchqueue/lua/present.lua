-- present.lua: says that an executor is alive, and learns who else is, and what time it is.
-- Guarantee: it is listed, and counts as alive for the time to live. It runs when memory is
-- full too: who cannot say that it lives cannot finish what it holds.
-- KEYS[1] pool prefix
-- ARGV 1 executor  2 key of a presence, as a suffix before the executor's name
--      3 key of the list, as a suffix  4 what it says  5 ttl ms  6 when it started, ms
--      7 ttl of the list, ms
-- Reply { seconds, microseconds, what each executor alive says... }
local list, at = KEYS[1] .. ARGV[3], redis.call('TIME')
redis.call('SET', KEYS[1] .. ARGV[2] .. ARGV[1], ARGV[4], 'PX', ARGV[5])
local listed, keys, known = redis.call('ZRANGE', list, 0, -1), {}, false
for i, executor in ipairs(listed) do
  keys[i], known = KEYS[1] .. ARGV[2] .. executor, known or executor == ARGV[1]
end
if not known then
  redis.call('ZADD', list, ARGV[6], ARGV[1])
  at[3] = ARGV[4]
end
redis.call('PEXPIRE', list, ARGV[7])
for from = 1, #keys, 1000 do
  for i, said in ipairs(redis.call('MGET', unpack(keys, from, math.min(#keys, from + 999)))) do
    if said then at[#at + 1] = said else redis.call('ZREM', list, listed[from + i - 1]) end
  end
end
return at
