-- Removes a record. 1: it was there, 0: not.
-- KEYS: record, sorted set of expiries, hash of sums.
-- ARGV: name, owner.
local bytes = redis.call('STRLEN', KEYS[1])
if bytes == 0 then
  return 0
end
redis.call('DEL', KEYS[1])
if redis.call('ZREM', KEYS[2], ARGV[2] .. ':' .. bytes .. ':' .. ARGV[1]) == 1 then
  for _, owner in ipairs({ARGV[2], 'all'}) do
    if redis.call('HINCRBY', KEYS[3], owner, -bytes) <= 0 then
      redis.call('HDEL', KEYS[3], owner)
    end
  end
end
return 1
