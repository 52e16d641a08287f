-- adopt.lua: gives the data of claims that the executor holds and does not know, because
-- the reply of a claim was lost.
-- Guarantee: only claims that are the executor's are returned. Bounded by bytes; one is
-- always looked at.
-- KEYS[1] slot prefix
-- ARGV 1 executor  2 bytes  then lane, id, type per claim
-- Reply { 0, commons, entries }, commons as in claim.lua
--   entries: { type, lane, id, fields, '', '', 0 }
local entries, room = {}, tonumber(ARGV[2])
for i = 3, #ARGV, 3 do
  if room <= 0 then break end
  local lane, id, type = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  if is_claimed(lane, type, id) == ARGV[1] then
    local r = redis.call('XRANGE', stream_key(lane, type), id, id)
    if r[1] then
      entries[#entries + 1] = { type = type, lane = lane, id = id, flat = r[1][2] }
      room = room - entry_bytes(r[1][2])
    else
      redis.call('XACK', stream_key(lane, type), GROUP, id)
    end
  end
end
local out = entries_reply(entries)
return { 0, commons, out }
