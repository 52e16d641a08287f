-- resign.lua: gives up the Deliverer lease at once, for an orderly stop.
-- Guarantee: only the leader's own lease is removed.
-- KEYS[1] slot prefix
-- ARGV 1 executor
-- Reply 1 resigned | 0 did not lead
if redis.call('GET', DELIVERER) ~= ARGV[1] then return 0 end
redis.call('DEL', DELIVERER)
redis.call('PUBLISH', DELIVER_BELL, 'lead')
return 1
