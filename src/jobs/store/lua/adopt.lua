-- Makes jobs claimable that are not in the ready set: an earlier version stored them.
-- KEYS: waiting, running and ready set of the queue.
for i = 1, 2 do
  for _, id in ipairs(redis.call('SMEMBERS', KEYS[i])) do
    redis.call('ZADD', KEYS[3], 'NX', 0, id)
  end
end
return 0
