-- take.lua: hands finished outcomes of a run to a dispatch or reconcile of that run, and
-- closes a window.
-- Guarantee: an outcome is taken once; what is taken stays readable until its retention
-- ends or the run's watermark passes it; what is not taken is before the Deliverer when
-- no window is open; a repeated closing call gets the same answer. Outcomes in a batch
-- that is under way are left to it.
-- KEYS[1] slot prefix
-- ARGV 1 run  2 wave ('' for a reconcile)  3 bytes  4 closing answer kept ms
--      5 1: one outcome that is larger is taken alone
-- Reply: outcomes
local run, wave, room, kept, larger = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5] == '1'
local key, box, taken, now = run_key(run), box_key(run), taken_key(run), now_ms()
local reply = {}

if wave ~= '' then
  local again = redis.call('GET', closed_key(run .. ':' .. wave))
  if again then
    for n in string.gmatch(again, '%d+') do
      reply[#reply + 1] = redis.call('HGET', taken, n) or nil
    end
    return reply
  end
end

local fixed, bytes, numbers = tonumber(redis.call('HGET', key, 'b') or 0), 0, {}
local left = redis.call('LLEN', box)
while left > fixed do
  local e = redis.call('LINDEX', box, -1)
  if bytes + #e > room and not (larger and bytes == 0) then break end
  redis.call('RPOP', box)
  left = left - 1
  count('outbox', -1)
  count('outbox_bytes', -#e)
  local n, fingerprint = parse_outcome(e)
  local here = stored(run, n)
  if here and sub(here, 1, 9) == 'f' .. fingerprint then
    bytes = bytes + #e
    local number = string.format('%.0f', n)
    set_state(run, n, 't')
    add_open(run, -1)
    redis.call('HSET', taken, number, e)
    numbers[#numbers + 1] = number
    reply[#reply + 1] = e
  end
end
if #numbers > 0 then
  redis.call('PEXPIRE', taken, redis.call('HGET', key, 'ttl') or RETENTION)
  count('taken', #numbers)
end
if left == fixed then redis.call('HDEL', key, 'h') end
if wave ~= '' then
  local live = {}
  for _, t in ipairs(live_tokens(run, now)) do
    if t.wave ~= wave then live[#live + 1] = t end
  end
  save_tokens(run, live)
  redis.call('SET', closed_key(run .. ':' .. wave), table.concat(numbers, ','), 'PX', kept)
end
if left > fixed and #live_tokens(run, now) == 0 then make_deliverable(run, now) end
flush()
return reply
