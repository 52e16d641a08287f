-- extend.lua: keeps an executor's lease on the slot and its handlers' heartbeats.
-- Guarantee: until the new expiry no Reclaimer touches the executor's claims.
-- KEYS[1] slot prefix
-- ARGV 1 executor  2 lease ms  then claim, heartbeat details
-- Reply: the executor's claims that are to stop
local executor = ARGV[1]
extend_lease(executor, tonumber(ARGV[2]))
for i = 3, #ARGV, 2 do
  -- A claim that was settled meanwhile must leave nothing behind.
  local id, type = string.match(ARGV[i], '^.([^/]*)/(.*)$')
  if is_claimed(string.sub(ARGV[i], 1, 1), type, id) == executor then
    redis.call('HSET', HEARTBEATS, ARGV[i], ARGV[i + 1])
  end
end
local reply, all = {}, redis.call('HGETALL', CANCELS)
for i = 1, #all, 2 do
  if all[i + 1] == executor then reply[#reply + 1] = all[i] end
end
return reply
