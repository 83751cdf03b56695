-- Records that a try failed and another follows. 1: recorded, 0: the claim is lost.
-- KEYS: job, waiting and running set of the queue. ARGV: id, token, error.
local job = redis.call('HMGET', KEYS[1], 'token', 'state')
if job[1] ~= ARGV[2] or job[2] ~= 'running' then
  return 0
end
redis.call('SREM', KEYS[3], ARGV[1])
redis.call('SADD', KEYS[2], ARGV[1])
redis.call('HSET', KEYS[1], 'state', 'retrying', 'error', ARGV[3])
redis.call('HINCRBY', KEYS[1], 'failures', 1)
return 1
