-- One exchange of a replica with the ledger: `Entry::exchange` of ledger.rs, step by step, for each
-- entry that it names. Time is the server's own. Numbers go in and out as text, since Redis cuts
-- those of Lua to whole ones.
--
-- KEYS  members, cooldowns, then the entries
-- ARGV  replica, its time to live, whether this is a heartbeat, how far ahead may be booked, time to
--       live of a lease (times in microseconds), then 14 values for each entry
if redis.replicate_commands then redis.replicate_commands() end

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local replica, member_ttl = ARGV[1], tonumber(ARGV[2])
local ahead_time, lease_ttl = tonumber(ARGV[4]), tonumber(ARGV[5])
local MINUTE = 60000000

local function text(number) return string.format('%.17g', number) end

if ARGV[3] == '1' then
  redis.call('ZADD', KEYS[1], text(now + member_ttl), replica)
  redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', text(now))
  redis.call('PEXPIRE', KEYS[1], math.ceil(member_ttl / 1000))
end
local replicas = math.max(1, redis.call('ZCARD', KEYS[1]))
local cooldowns = redis.call('HGET', KEYS[2], 'version') or '0'

local answer = { text(now), tostring(replicas), cooldowns }
local at = 5
for i = 3, #KEYS do
  local key = KEYS[i]
  local lessee = 'h:' .. ARGV[at + 1]
  local per_minute, capacity = tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
  local held, credit = tonumber(ARGV[at + 4]), tonumber(ARGV[at + 5])
  local acknowledged, received = tonumber(ARGV[at + 6]), tonumber(ARGV[at + 7])
  local used = tonumber(ARGV[at + 8])
  local need, want = tonumber(ARGV[at + 9]), tonumber(ARGV[at + 10])
  local seen_level, seen_at = tonumber(ARGV[at + 11]), tonumber(ARGV[at + 12])
  local based_on, proposal = tonumber(ARGV[at + 13]), tonumber(ARGV[at + 14])
  at = at + 14

  local entry = redis.call('HMGET', key,
    'level', 'at', 'born', 'held', 'window', 'used', 'used_before', 'version', 'figure', lessee)
  local fields = {}

  local window = tonumber(entry[5] or '0')
  local used_now, used_before = tonumber(entry[6] or '0'), tonumber(entry[7] or '0')
  if now - window >= 2 * MINUTE then
    window, used_now, used_before = now, 0, 0
  elseif now - window >= MINUTE then
    window, used_now, used_before = window + MINUTE, 0, used_now
  end
  used_now = math.max(0, used_now + used)
  local in_a_minute = used_now + used_before * math.max(0, 1 - (now - window) / MINUTE)

  local version, figure = tonumber(entry[8] or '0'), tonumber(entry[9] or '')
  local is_lowered, is_forgotten = false, false
  if based_on and based_on == version then
    is_lowered = (proposal or math.huge) < (figure or math.huge)
    is_forgotten = figure and not proposal
    version, figure = version + 1, proposal
    fields[#fields + 1] = 'version'
    fields[#fields + 1] = text(version)
    fields[#fields + 1] = 'figure'
    fields[#fields + 1] = figure and text(figure) or ''
  end

  local granted_now, granted_later, due, level = 0, 0, 0, 0
  if per_minute then
    local rate = per_minute / MINUTE
    local level_at = tonumber(entry[2] or '')
    local born = tonumber(entry[3] or '')
    local is_new = not level_at
    if is_new then
      level, level_at, born = capacity, now, now
    else
      level = tonumber(entry[1]) + math.max(0, now - level_at) * rate
    end
    if seen_at and (is_new or level_at < seen_at or born > seen_at) then
      level = math.min(level, seen_level + math.max(0, now - seen_at) * rate)
    end

    local total = tonumber(entry[4] or '0')
    -- Two leases at random are looked at in each exchange, so that those of replicas that are gone
    -- are found soon, whatever their number.
    local some = redis.call('HRANDFIELD', key, 4, 'WITHVALUES')
    for j = 1, #some, 2 do
      if string.sub(some[j], 1, 2) == 'h:' and some[j] ~= lessee then
        local its, until_time = string.match(some[j + 1], '^(%S+) %S+ %S+ (%S+)$')
        if tonumber(until_time) <= now then
          total = total - tonumber(its)
          redis.call('HDEL', key, some[j])
        end
      end
    end

    local its_held, its_credit, its_granted = 0, acknowledged, received
    if entry[10] then
      local h, c, g, u = string.match(entry[10], '^(%S+) (%S+) (%S+) (%S+)$')
      its_held = tonumber(h)
      if tonumber(u) > now then its_credit, its_granted = tonumber(c), tonumber(g) end
    end
    -- With what the last answer had granted, if it did not arrive.
    level = level + credit - its_credit + math.max(0, its_granted - received)
    total = math.max(0, total + held - its_held)
    level = math.max(math.min(level, capacity - total), -per_minute)
    if is_lowered then level = math.min(level, 0) end
    if is_forgotten then level = math.max(level, capacity - total - in_a_minute) end

    local ahead = ahead_time * rate
    if want > 0 and level > -ahead then
      local share = math.max(level, 0) + ahead / replicas
      local granted = math.max(math.min(want, share), math.min(need, want))
      granted_now = math.min(granted, math.max(level, 0))
      granted_later = granted - granted_now
      level = level - granted
      if granted_later > 0 then due = math.ceil(-level / rate) end
    end
    held = held + granted_now + granted_later
    total = total + granted_now + granted_later
    if held > 0 or want > 0 or credit ~= acknowledged then
      fields[#fields + 1] = lessee
      fields[#fields + 1] = table.concat({ text(held), text(credit),
        text(received + granted_now + granted_later), text(now + lease_ttl) }, ' ')
    elseif entry[10] then
      redis.call('HDEL', key, lessee)
    end
    redis.call('HSET', key, 'level', text(level), 'at', text(math.max(now, level_at)),
      'born', text(born), 'held', text(total))
  end

  redis.call('HSET', key, 'window', text(window), 'used', text(used_now),
    'used_before', text(used_before), unpack(fields))
  redis.call('PEXPIRE', key, 3600000)
  answer[#answer + 1] = table.concat({ text(granted_now), text(granted_later), text(due),
    text(level), text(now), text(in_a_minute), text(version), figure and text(figure) or '-' }, ' ')
end
return answer
