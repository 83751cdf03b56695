-- Keeps a job that is not stored from being stored later: its submission may be on its way still.
-- KEYS: job.
-- ARGV: queue, ttl ms.
if redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('HSET', KEYS[1],
    'queue', ARGV[1], 'state', 'cancelled', 'owner', '', 'subject', '', 'progress', 0)
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return 1
