-- audit.lua: lists what the slot's pending lists hold for an executor. Reads only.
-- KEYS[1] slot prefix
-- ARGV 1 executor
-- Reply: claims, as "<lane><id>/<type>"
local reply = {}
for _, type in ipairs(redis.call('LRANGE', TYPES, 0, -1)) do
  for lane in pairs(LANES) do
    local from = '-'
    while true do
      local page = redis.pcall('XPENDING', stream_key(lane, type), GROUP, from, '+', 500, ARGV[1])
      if not page or page.err or #page == 0 then break end
      for _, p in ipairs(page) do reply[#reply + 1] = claim_name(lane, p[1], type) end
      if #page < 500 then break end
      from = '(' .. page[#page][1]
    end
  end
end
return reply
