-- rights.lua: tells what the user may not do.
-- KEYS[1] pool prefix
-- ARGV 1 a channel  2 the number of commands that take a channel  then the names of these
--      and of the others
-- Reply: the commands that are not allowed, of a server that can tell
local denied = {}
if not redis.acl_check_cmd then return denied end
local channels = tonumber(ARGV[2])
for i = 3, #ARGV do
  local words = {}
  for word in string.gmatch(ARGV[i], '%S+') do words[#words + 1] = word end
  words[#words + 1] = i < 3 + channels and ARGV[1] or KEYS[1] .. 'check'
  if not redis.acl_check_cmd(unpack(words)) then denied[#denied + 1] = ARGV[i] end
end
return denied
