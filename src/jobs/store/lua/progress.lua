-- Records the progress of a running job. KEYS: job. ARGV: token, percent.
local job = redis.call('HMGET', KEYS[1], 'token', 'state')
if job[1] == ARGV[1] and job[2] == 'running' then
  redis.call('HSET', KEYS[1], 'progress', ARGV[2])
end
return 0
