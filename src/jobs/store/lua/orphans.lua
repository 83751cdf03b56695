-- Finds waiting jobs that apalis has no ticket for: their submission broke off half-way.
-- KEYS: waiting set of the queue, apalis's task data. ARGV: prefix of job keys, grace in seconds.
local time = redis.call('TIME')
local orphans = {}
for _, id in ipairs(redis.call('SMEMBERS', KEYS[1])) do
  local submitted = redis.call('HGET', ARGV[1] .. id, 'submitted')
  if not submitted then
    redis.call('SREM', KEYS[1], id)
  elseif tonumber(time[1]) - tonumber(submitted) >= tonumber(ARGV[2])
    and redis.call('HEXISTS', KEYS[2], id) == 0 then
    table.insert(orphans, id)
  end
end
return orphans
