-- Starts a claimed job, if the queue's rate allows.
-- KEYS: job, waiting, reserved, running and ready set and starts list of the queue.
-- ARGV: id, token, starts in a window, window ms, lease ms, most starts, result ttl ms, the error of
-- a job that was started too often, '1' to take over a lapsed claim.
-- Returns {'run', payload, failures}, {'not_yet', ms}, {'held', ms} or {'settled'}.
local function leave_queue()
  redis.call('SREM', KEYS[2], ARGV[1])
  redis.call('SREM', KEYS[3], ARGV[1])
  redis.call('SREM', KEYS[4], ARGV[1])
  redis.call('ZREM', KEYS[5], ARGV[1])
end
local job = redis.call('HMGET', KEYS[1], 'state', 'token', 'leased_until', 'starts', 'failures', 'payload')
local state = job[1]
if not state or state == 'done' or state == 'failed' or state == 'cancelled' then
  leave_queue()
  return {'settled'}
end
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local leased = tonumber(job[3]) - now
-- A time further ahead is from before the clock was set back.
local ahead = 60000
local is_in_force = leased > 0 and leased <= tonumber(ARGV[5]) + ahead
if job[2] and job[2] ~= ARGV[2] and (is_in_force or ARGV[9] ~= '1') then
  redis.call('ZADD', KEYS[5], job[3], ARGV[1])
  return {'held', leased}
end
if tonumber(job[4]) >= tonumber(ARGV[6]) then
  leave_queue()
  redis.call('HDEL', KEYS[1], 'payload', 'token')
  redis.call('HSET', KEYS[1], 'state', 'failed', 'error', ARGV[8])
  redis.call('PEXPIRE', KEYS[1], ARGV[7])
  return {'settled'}
end
local until_ms = string.format('%.0f', now + tonumber(ARGV[5]))
redis.call('HSET', KEYS[1], 'token', ARGV[2], 'leased_until', until_ms)
redis.call('ZADD', KEYS[5], until_ms, ARGV[1])
local starts, window = tonumber(ARGV[3]), tonumber(ARGV[4])
local newest = redis.call('LINDEX', KEYS[6], 0)
if newest and tonumber(newest) > now + ahead then
  redis.call('DEL', KEYS[6])
end
-- The start that has to leave the window before another may follow.
local blocking = redis.call('LINDEX', KEYS[6], starts - 1)
if blocking then
  local wait = tonumber(blocking) + window - now
  if wait > 0 then
    if state == 'waiting' then
      redis.call('SADD', KEYS[3], ARGV[1])
    end
    return {'not_yet', wait}
  end
end
redis.call('LPUSH', KEYS[6], string.format('%.0f', now))
redis.call('LTRIM', KEYS[6], 0, starts - 1)
redis.call('PEXPIRE', KEYS[6], window)
redis.call('SREM', KEYS[2], ARGV[1])
redis.call('SREM', KEYS[3], ARGV[1])
redis.call('SADD', KEYS[4], ARGV[1])
redis.call('HSET', KEYS[1], 'state', 'running', 'progress', 0)
redis.call('HINCRBY', KEYS[1], 'starts', 1)
return {'run', job[6], job[5]}
