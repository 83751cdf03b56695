-- Ends a job that has not ended. 1: ended, 0: it had, or the claim is lost.
-- KEYS: job, waiting, reserved, running and ready set of the queue.
-- ARGV: id, token ('' for a cancellation), state, 'result', 'error' or '', its text, ttl ms.
local job = redis.call('HMGET', KEYS[1], 'token', 'state')
local state = job[2]
if not state or state == 'done' or state == 'failed' or state == 'cancelled' then
  return 0
end
if ARGV[2] ~= '' and job[1] ~= ARGV[2] then
  return 0
end
redis.call('SREM', KEYS[2], ARGV[1])
redis.call('SREM', KEYS[3], ARGV[1])
redis.call('SREM', KEYS[4], ARGV[1])
redis.call('ZREM', KEYS[5], ARGV[1])
redis.call('HDEL', KEYS[1], 'payload', 'token', 'error')
redis.call('HSET', KEYS[1], 'state', ARGV[3])
if ARGV[4] ~= '' then
  redis.call('HSET', KEYS[1], ARGV[4], ARGV[5])
end
redis.call('PEXPIRE', KEYS[1], ARGV[6])
return 1
