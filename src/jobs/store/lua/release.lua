-- Gives up a claim, so that another worker may have the job at once.
-- KEYS: job, reserved and ready set of the queue. ARGV: id, token.
local token = redis.call('HGET', KEYS[1], 'token')
if token == ARGV[2] then
  redis.call('HDEL', KEYS[1], 'token')
  redis.call('HSET', KEYS[1], 'leased_until', 0)
  redis.call('SREM', KEYS[2], ARGV[1])
  redis.call('ZADD', KEYS[3], 0, ARGV[1])
elseif not token then
  -- The claim was not started yet, and only a start writes the token.
  redis.call('ZADD', KEYS[3], 'XX', 0, ARGV[1])
end
return 0
