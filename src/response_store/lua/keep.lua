-- Stores a record unless there would be too much: 'stored', 'client_full' or 'store_full'.
-- KEYS: record, sorted set of expiries, hash of sums.
-- ARGV: name, owner, time to live in ms, most bytes of the owner, most bytes in all, expired records to
-- remove from the sums at most, the record.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function forget(owner, bytes)
  if redis.call('HINCRBY', KEYS[3], owner, -bytes) <= 0 then
    redis.call('HDEL', KEYS[3], owner)
  end
end
for _, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, ARGV[6])) do
  local owner, bytes = string.match(member, '^(%x+):(%d+):')
  redis.call('ZREM', KEYS[2], member)
  if owner then
    forget(owner, bytes)
    forget('all', bytes)
  end
end
if redis.call('EXISTS', KEYS[1]) == 1 then
  return 'stored'
end
local bytes = string.len(ARGV[7])
local own = tonumber(redis.call('HGET', KEYS[3], ARGV[2]) or '0')
local all = tonumber(redis.call('HGET', KEYS[3], 'all') or '0')
if own + bytes > tonumber(ARGV[4]) then
  return 'client_full'
end
if all + bytes > tonumber(ARGV[5]) then
  return 'store_full'
end
redis.call('SET', KEYS[1], ARGV[7], 'PX', ARGV[3])
redis.call('ZADD', KEYS[2], string.format('%.0f', now + tonumber(ARGV[3])),
  ARGV[2] .. ':' .. bytes .. ':' .. ARGV[1])
redis.call('HINCRBY', KEYS[3], ARGV[2], bytes)
redis.call('HINCRBY', KEYS[3], 'all', bytes)
return 'stored'
