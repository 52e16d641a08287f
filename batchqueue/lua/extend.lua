-- extend.lua: keeps an executor's lease on the slot and its handlers' heartbeats.
-- Guarantee: until the new expiry no Reclaimer touches the executor's claims.
-- KEYS[1] slot prefix
-- ARGV 1 executor  2 lease ms  then claim, heartbeat details
-- Reply: the executor's claims that are to stop
local executor = ARGV[1]
redis.call('ZADD', LEASES, now_ms() + tonumber(ARGV[2]), executor)
for i = 3, #ARGV, 2 do redis.call('HSET', HEARTBEATS, ARGV[i], ARGV[i + 1]) end
local reply, all = {}, redis.call('HGETALL', CANCELS)
for i = 1, #all, 2 do
  if all[i + 1] == executor then reply[#reply + 1] = all[i] end
end
return reply
