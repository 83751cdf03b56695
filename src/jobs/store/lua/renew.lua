-- Makes holds last. Returns the numbers, from 1, of those that are lost.
-- KEYS: jobs. ARGV: lease ms, then the token of each.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local lost = {}
for i, key in ipairs(KEYS) do
  if redis.call('HGET', key, 'token') == ARGV[i + 1] then
    redis.call('HSET', key, 'leased_until', string.format('%.0f', now + tonumber(ARGV[1])))
  else
    table.insert(lost, i)
  end
end
return lost
