-- One sync of a replica with the ledger: `Entry::sync` of ledger.rs, step by step, for each entry that the
-- replica names. The clock is the server's. Numbers go in and out as text, since Redis cuts those of Lua to
-- whole ones. The names of the hash's fields and the order of the arguments are shared by all versions that
-- run in one fleet.
--
-- KEYS  members, cooldowns, then the entries
-- ARGV  replica, its time to live, whether this is a heartbeat, how far ahead units can be booked, time to
--       live of a lease (times in microseconds), then 14 values for each entry
if redis.replicate_commands then redis.replicate_commands() end

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local replica, member_ttl = ARGV[1], tonumber(ARGV[2])
local lease_ahead, lease_ttl = tonumber(ARGV[4]), tonumber(ARGV[5])
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
  local holder = 'h:' .. ARGV[at + 1]
  local per_minute, capacity = tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
  local held, returned_total = tonumber(ARGV[at + 4]), tonumber(ARGV[at + 5])
  local returned_acknowledged, granted_total = tonumber(ARGV[at + 6]), tonumber(ARGV[at + 7])
  local used = tonumber(ARGV[at + 8])
  local minimum, wanted = tonumber(ARGV[at + 9]), tonumber(ARGV[at + 10])
  local seen_level, seen_at = tonumber(ARGV[at + 11]), tonumber(ARGV[at + 12])
  local based_on, proposal = tonumber(ARGV[at + 13]), tonumber(ARGV[at + 14])
  at = at + 14

  local entry = redis.call('HMGET', key,
    'level', 'at', 'born', 'held', 'window', 'used', 'used_before', 'version', 'figure', holder, 'net')
  local fields = {}

  -- Entry::count_use
  local window_start = tonumber(entry[5] or '0')
  local used_now, used_before = tonumber(entry[6] or '0'), tonumber(entry[7] or '0')
  if now - window_start >= 2 * MINUTE then
    window_start, used_now, used_before = now, 0, 0
  elseif now - window_start >= MINUTE then
    window_start, used_now, used_before = window_start + MINUTE, 0, used_now
  end
  used_now = math.max(0, used_now + used)
  local used_in_a_minute = used_now + used_before * math.max(0, 1 - (now - window_start) / MINUTE)

  -- Entry::accept_proposal
  local version, learned = tonumber(entry[8] or '0'), tonumber(entry[9] or '')
  local is_lowered, is_forgotten = false, false
  if based_on and based_on == version then
    is_lowered = (proposal or math.huge) < (learned or math.huge)
    is_forgotten = learned and not proposal
    version, learned = version + 1, proposal
    fields[#fields + 1] = 'version'
    fields[#fields + 1] = text(version)
    fields[#fields + 1] = 'figure'
    fields[#fields + 1] = learned and text(learned) or ''
  end

  local granted_now, granted_later, due_in, level = 0, 0, 0, 0
  if per_minute then
    local rate = per_minute / MINUTE
    local level_at = tonumber(entry[2] or '')
    local created_at = tonumber(entry[3] or '')
    -- Units returned less units granted since the entry was created.
    local net = tonumber(entry[11] or '0')
    local is_new = not level_at
    if is_new then
      level, level_at, created_at, net = capacity, now, now, 0
    else
      level = tonumber(entry[1]) + math.max(0, now - level_at) * rate
    end
    -- The entry was lost or set back since: what the replica saw counts, if it is less, with what was
    -- returned and granted since a loss.
    if seen_at and (is_new or level_at < seen_at or created_at > seen_at) then
      local since = 0
      if created_at > seen_at then since = net end
      level = math.min(level, seen_level + math.max(0, now - seen_at) * rate + since)
    end

    -- Entry::drop_expired, by sample: each sync looks at four fields at random, so that leases of replicas
    -- that are gone are found soon, whatever their number.
    local total = tonumber(entry[4] or '0')
    local sample = redis.call('HRANDFIELD', key, 4, 'WITHVALUES')
    for j = 1, #sample, 2 do
      if string.sub(sample[j], 1, 2) == 'h:' and sample[j] ~= holder then
        local its_held, expires_at = string.match(sample[j + 1], '^(%S+) %S+ %S+ (%S+)$')
        if tonumber(expires_at) <= now then
          total = total - tonumber(its_held)
          redis.call('HDEL', key, sample[j])
        end
      end
    end

    local stored_held, stored_returned, stored_granted = 0, returned_acknowledged, granted_total
    if entry[10] then
      local h, r, g, e = string.match(entry[10], '^(%S+) (%S+) (%S+) (%S+)$')
      stored_held = tonumber(h)
      if tonumber(e) > now then stored_returned, stored_granted = tonumber(r), tonumber(g) end
    end
    -- Units of the last grant come back if its answer was lost.
    local returned = returned_total - stored_returned + math.max(0, stored_granted - granted_total)
    level = level + returned
    net = net + returned
    total = math.max(0, total + held - stored_held)
    level = math.max(math.min(level, capacity - total), -per_minute)
    if is_lowered then level = math.min(level, 0) end
    if is_forgotten then level = math.max(level, capacity - total - used_in_a_minute) end

    local ahead = lease_ahead * rate
    if wanted > 0 and level > -ahead then
      local share = math.max(level, 0) + ahead / replicas
      local granted = math.max(math.min(wanted, share), math.min(minimum, wanted))
      granted_now = math.min(granted, math.max(level, 0))
      granted_later = granted - granted_now
      level = level - granted
      net = net - granted
      if granted_later > 0 then due_in = math.ceil(-level / rate) end
    end
    held = held + granted_now + granted_later
    total = total + granted_now + granted_later
    -- Kept until the replica knows that what it returned was counted.
    if held > 0 or wanted > 0 or returned_total ~= returned_acknowledged then
      fields[#fields + 1] = holder
      fields[#fields + 1] = table.concat({ text(held), text(returned_total),
        text(granted_total + granted_now + granted_later), text(now + lease_ttl) }, ' ')
    elseif entry[10] then
      redis.call('HDEL', key, holder)
    end
    redis.call('HSET', key, 'level', text(level), 'at', text(math.max(now, level_at)),
      'born', text(created_at), 'held', text(total), 'net', text(net))
  end

  redis.call('HSET', key, 'window', text(window_start), 'used', text(used_now),
    'used_before', text(used_before), unpack(fields))
  redis.call('PEXPIRE', key, 3600000)
  answer[#answer + 1] = table.concat({ text(granted_now), text(granted_later), text(due_in),
    text(level), text(now), text(used_in_a_minute), text(version), learned and text(learned) or '-' }, ' ')
end
return answer
