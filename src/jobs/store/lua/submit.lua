-- Stores a job unless too many of its queue wait. 1: stored, 0: full. One that is there stays as it is:
-- its submitter has given it up meanwhile.
-- KEYS: job, waiting and ready set of the queue.
-- ARGV: id, queue, owner ('' without one), subject, payload, max waiting.
if redis.call('EXISTS', KEYS[1]) == 1 then
  return 1
end
if redis.call('SCARD', KEYS[2]) >= tonumber(ARGV[6]) then
  return 0
end
local time = redis.call('TIME')
redis.call('HSET', KEYS[1],
  'queue', ARGV[2], 'state', 'waiting', 'owner', ARGV[3], 'subject', ARGV[4], 'payload', ARGV[5],
  'progress', 0, 'starts', 0, 'failures', 0, 'leased_until', 0, 'submitted', time[1])
redis.call('SADD', KEYS[2], ARGV[1])
redis.call('ZADD', KEYS[3], 0, ARGV[1])
return 1
