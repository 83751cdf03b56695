-- Extends claims. Returns the numbers, from 1, of those that are lost.
-- KEYS: for each claim the job and the ready set of its queue. ARGV: lease ms, then for each claim
-- the job's id and the token.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local until_ms = string.format('%.0f', now + tonumber(ARGV[1]))
local lost = {}
for i = 1, #KEYS / 2 do
  local job, ready, id, token = KEYS[2 * i - 1], KEYS[2 * i], ARGV[2 * i], ARGV[2 * i + 1]
  if redis.call('HGET', job, 'token') == token then
    redis.call('HSET', job, 'leased_until', until_ms)
    redis.call('ZADD', ready, until_ms, id)
  else
    table.insert(lost, i)
  end
end
return lost
