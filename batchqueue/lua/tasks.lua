-- tasks.lua: lists what the run record knows of a run's tasks. Changes nothing but that a
-- folded run has its record. Paged over the run's table.
-- KEYS[1] slot prefix
-- ARGV 1 run  2 first chunk  3 chunks
-- Reply { next chunk or -1, { number, fingerprint(8), state, executor, type, kind }... }
--   executor is '' while nobody holds the task; kind is '' until it has an outcome
local run, from, page = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local last, reply = last_chunk(run), { -1 }
for c = from, math.min(last, from + page - 1) do
  for n = c * PER + 1, (c + 1) * PER do
    local state, fingerprint, lane, type, id = record(run, n)
    if state then
      local executor = (state == 'q' or state == 'x') and is_claimed(lane, type, id) or ''
      local kind = (state == 'f' or state == 'a' or state == 't') and lane or ''
      reply[#reply + 1] = { n, fingerprint, state, executor, type or '', kind }
    end
  end
end
if from + page <= last then reply[1] = from + page end
return reply
