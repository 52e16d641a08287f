-- runs.lua: lists the runs that have tasks in the slot which have not ended. Reads only.
-- Paged over the slot's streams, type by type, then over what is delayed or parked.
-- KEYS[1] slot prefix
-- ARGV 1 source to go on with, from 1  2 where in it ('' at its beginning)  3 entries to read
-- Reply { next source or -1, where in it, run... }: runs may be named more than once
local source, from, page = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3])
load_types()
local lanes = {}
for lane in pairs(LANES) do lanes[#lanes + 1] = lane end
table.sort(lanes)

local seen, reply = {}, { -1, '' }
local function name(run)
  if run and not seen[run] then
    seen[run] = true
    reply[#reply + 1] = run
  end
end

local last = #type_list * #lanes + 1
while page > 0 and source <= last do
  if source == last then
    local r = redis.call('HSCAN', DELAYED, from == '' and '0' or from, 'COUNT', page)
    for i = 1, #r[2], 2 do name(string.match(r[2][i], '^(.*)/%d+$')) end
    page, from = 0, r[1]
    if from == '0' then source = source + 1 end
  else
    local type, lane = type_list[math.ceil(source / #lanes)], lanes[(source - 1) % #lanes + 1]
    local entries = redis.call('XRANGE', stream_key(lane, type), from == '' and '-' or '(' .. from, '+', 'COUNT', math.min(page, 100))
    for _, e in ipairs(entries) do name(fields(e[2]).r) end
    page = page - math.max(1, #entries)
    if #entries == 0 then
      source, from = source + 1, ''
    else
      from = entries[#entries][1]
    end
  end
end
if source <= last then reply[1], reply[2] = source, from end
return reply
