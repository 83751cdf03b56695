-- Claims a queue's next job for a lease. Returns its id, or false.
-- KEYS: ready set of the queue.
-- ARGV: lease ms, '1' to take over lapsed claims, then the ids that are not to be claimed.
-- The ready set has the unfinished jobs, each with the time at which it may be claimed: 0 for one
-- that nobody has claimed, else the end of its lease. Ids sort in the order of submission.
if redis.call('EXISTS', KEYS[1]) == 0 then
  return false
end
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local until_ms = now + tonumber(ARGV[1])
local excluded = {}
for i = 3, #ARGV do
  excluded[ARGV[i]] = true
end
local ranges = { { '0', '0' } }
if ARGV[2] == '1' then
  -- Lapsed leases first, then leases from before the clock was set back, then unclaimed jobs.
  table.insert(ranges, 1, { '(0', string.format('%.0f', now) })
  table.insert(ranges, 2, { string.format('(%.0f', until_ms + 60000), '+inf' })
end
for _, range in ipairs(ranges) do
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], range[1], range[2], 'LIMIT', 0, #ARGV)) do
    if not excluded[id] then
      redis.call('ZADD', KEYS[1], string.format('%.0f', until_ms), id)
      return id
    end
  end
end
return false
