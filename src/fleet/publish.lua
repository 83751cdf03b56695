-- Publishes an event, and stores the cooldown that it begins or ends. A cooldown is extended, never
-- shortened.
--
-- KEYS  cooldowns
-- ARGV  replica, channel, verb, milliseconds, throttles, whether quota is the reason, target
if redis.replicate_commands then redis.replicate_commands() end

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local verb, target = ARGV[3], ARGV[7]
local version = '0'

if verb == 'reset' then
  version = redis.call('HGET', KEYS[1], 'version') or '0'
  redis.call('DEL', KEYS[1])
  redis.call('HSET', KEYS[1], 'version', version)
elseif verb == 'opened' or verb == 'reset_target' then
  redis.call('HDEL', KEYS[1], 't:' .. target)
elseif verb == 'cooled' then
  local all = redis.call('HGETALL', KEYS[1])
  local known = 0
  for i = 1, #all, 2 do
    if string.sub(all[i], 1, 2) == 't:' then
      local until_time = tonumber(string.match(all[i + 1], '^%d+') or '0')
      if all[i] == 't:' .. target then known = until_time end
      if until_time <= now then redis.call('HDEL', KEYS[1], all[i]) end
    end
  end
  local until_time = math.max(known, now + ARGV[4] * 1000)
  redis.call('HSET', KEYS[1], 't:' .. target,
    string.format('%.0f', until_time) .. ' ' .. ARGV[5] .. ' ' .. ARGV[6])
end
if verb ~= 'probed' then
  version = redis.call('HINCRBY', KEYS[1], 'version', 1)
  redis.call('PEXPIRE', KEYS[1], 172800000)
end
redis.call('PUBLISH', ARGV[2], table.concat(
  { ARGV[1], version, verb, ARGV[4], ARGV[5], ARGV[6], target }, ' '))
return { tostring(version), string.format('%.0f', now) }
