-- Takes records that have expired out of the sums, and returns how many and the bytes that are left.
-- KEYS: sorted set of expiries, hash of sums.
-- ARGV: records at most.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local expired = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[1])
for _, member in ipairs(expired) do
  local owner, bytes = string.match(member, '^(%x+):(%d+):')
  redis.call('ZREM', KEYS[1], member)
  if owner then
    for _, sum in ipairs({owner, 'all'}) do
      if redis.call('HINCRBY', KEYS[2], sum, -bytes) <= 0 then
        redis.call('HDEL', KEYS[2], sum)
      end
    end
  end
end
return {#expired, tonumber(redis.call('HGET', KEYS[2], 'all') or '0')}
