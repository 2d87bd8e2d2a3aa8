-- The queue that a call is about: its key prefix, Redis's clock (read once: it is not frozen inside a
-- function), and its configuration.

-- Microseconds from 1970 to 2024-01-01, where a task's place in line counts from.
local EPOCH_2024_US = 1704067200000000

-- Width of a priority level in the score of `pending`: 2^50 µs is 35.7 years, so that four levels and the
-- time since 2024 fit the 53 bits of a double until 2059.
local BAND = 1125899906842624

sw.PRIORITIES = { 'critical', 'high', 'normal', 'low' }
sw.LEVEL = { critical = 0, high = 1, normal = 2, low = 3 }

-- Settings kept in the hash `config`, with the value that holds where a field is absent. Unit in the name.
sw.DEFAULTS = {
    max_queue_length = 500,
    default_timeout_ms = 7200000,
    default_max_retries = 2,
    lease_ms = 15000,
    heartbeat_ms = 5000,
    assign_timeout_ms = 15000,
    max_deliveries = 5,
    retry_delay_ms = 1000,
    retry_delay_max_ms = 300000,
    retry_jitter_percent = 20,
    retention_ms = 7200000,
    cleanup_interval_ms = 300000,
    log_max_entries = 1000,
    aging_ms = 0,
    draining = 0,
    reserve_after_ms = 10000,
}

-- Answers the queue, or nil and an error reply. `names` are the settings that the call will read; each is
-- then a field of the answer, as a number. `instance` and `paused` are read by everybody; and which parts of
-- scheduling the queue uses: has_lanes (requirements, resources, labels), is_fair, has_affinity,
-- has_holds (limits, dependencies, unique keys, staged batches), has_schedules, aging_ms.
function sw.open(keys, names)
    local prefix = keys[1]
    local name = #keys == 1 and string.match(prefix, '^switchyard:{([A-Za-z0-9._:-]+)}:$')
    if not name or #name > 200 then
        return nil, sw.bad('key: expected one, the prefix of a queue such as switchyard:{default}:, found '
            .. #keys .. (prefix and ': ' .. sw.shown(prefix) or ''))
    end
    local time = redis.call('TIME')
    local now_us = tonumber(time[1]) * 1000000 + tonumber(time[2])
    local now = math.floor(now_us / 1000)
    local q = { name = name, prefix = prefix, now_us = now_us, now = now, now_text = string.format('%.0f', now) }
    local values = redis.call('HMGET', prefix .. 'config', 'instance', 'paused', 'has_lanes', 'is_fair', 'aging_ms',
        'has_affinity', 'has_holds', 'has_schedules', unpack(names or {}))
    q.instance = values[1]
    q.paused = values[2] == '1'
    q.has_lanes = values[3] == '1'
    q.is_fair = values[4] == '1'
    q.aging_ms = tonumber(values[5] or 0)
    q.has_affinity = values[6] == '1'
    q.has_holds = values[7] == '1'
    q.has_schedules = values[8] == '1'
    for i, setting in ipairs(names or {}) do
        q[setting] = tonumber(values[i + 8] or sw.DEFAULTS[setting])
    end
    return q
end

-- The queue's instance id, made once. That it is gone or another means that Redis lost the queue's data.
function sw.ensure_instance(q)
    if q.instance then return end
    q.instance = string.format('%.0f', q.now_us)
    redis.call('HSET', q.prefix .. 'config', 'instance', q.instance, 'created_at', string.format('%.0f', q.now))
end

-- From now on the queue has lanes and classes. A queue that has none pays nothing for them.
function sw.ensure_lanes(q)
    if q.has_lanes then return end
    q.has_lanes = true
    redis.call('HSET', q.prefix .. 'config', 'has_lanes', '1')
end

-- From now on the queue has tasks with limits, dependencies or unique keys.
function sw.ensure_holds(q)
    if q.has_holds then return end
    q.has_holds = true
    redis.call('HSET', q.prefix .. 'config', 'has_holds', '1')
end

-- The time as it stands in a score: µs since 2024. `offset` keeps the order of tasks submitted in one call, which takes
-- longer than that many microseconds.
function sw.time_tag(q, offset)
    return q.now_us - EPOCH_2024_US + offset
end

-- What one level is worth in a score: more than any tag, or with aging so much time.
local function width(q)
    return q.aging_ms > 0 and q.aging_ms * 1000 or BAND
end

-- Where a task stands in line: its level, and its tag (when it was submitted first, or its share's turn).
function sw.place(q, priority, tag)
    return sw.digits(sw.LEVEL[priority] * width(q) + tag)
end

-- The tag in the place of a task of `priority`.
function sw.tag_of(q, place, priority)
    return tonumber(place) - sw.LEVEL[priority] * width(q)
end

-- The bounds of a level in `pending`, for ZCOUNT and ZRANGEBYSCORE; without meaning while there is aging.
function sw.band(priority)
    local low = sw.LEVEL[priority] * BAND
    return string.format('%.0f', low), string.format('(%.0f', low + BAND)
end

-- A Redis integer reply is 64 bits, but a Lua number prints as 1.7e+12: write it out.
function sw.digits(number)
    return string.format('%.0f', number)
end
