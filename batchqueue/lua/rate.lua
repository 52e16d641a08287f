-- rate.lua: a pool's rate of starts, shared by its executors. A token bucket that holds
-- one second's worth.
-- Guarantee: over any second not more than twice the rate is granted, over any longer
-- time the rate.
-- KEYS[1] rate key
-- ARGV 1 per second  2 wanted
-- Reply { granted, ms until the next }
local t = redis.call('TIME')
local now, rate, want = t[1] * 1000 + math.floor(t[2] / 1000), tonumber(ARGV[1]), tonumber(ARGV[2])
local burst = math.max(1, rate)
local have, since = string.match(redis.call('GET', KEYS[1]) or '', '([^|]+)|(%d+)')
have = math.min(burst, (tonumber(have) or burst) + math.max(0, now - (tonumber(since) or now)) * rate / 1000)
local granted = math.min(want, math.floor(have))
have = have - granted
redis.call('SET', KEYS[1], string.format('%.6f|%.0f', have, now), 'PX', 60000)
return { granted, granted < want and math.ceil((1 - math.min(have, 1)) * 1000 / rate) or 0 }
