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
    partitions = 1,
}

-- Names in the hash `config` that are no numbers: made once, or "1" once something is so.
local FLAGS = { paused = true, has_lanes = true, is_fair = true, has_affinity = true, has_holds = true,
    has_schedules = true }

-- The settings that a text of `config` says (the field `effective`), and what is remembered of such texts: reading one
-- field and looking it up here costs a third of reading ten.
local known, known_count = {}, 0

-- Every setting with the value that holds, as the fallback of a queue.
local function settings_of(fields)
    local settings = {}
    for name, value in pairs(sw.DEFAULTS) do settings[name] = value end
    for name in pairs(FLAGS) do settings[name] = false end
    for name, value in pairs(fields) do
        if FLAGS[name] then
            settings[name] = value == '1'
        elseif sw.DEFAULTS[name] then
            settings[name] = tonumber(value)
        end
    end
    settings.instance = fields.instance
    return { __index = settings }
end

-- The fields of `config` as they are.
local function read_config(prefix)
    local pairs_, fields = redis.call('HGETALL', prefix .. 'config'), {}
    for i = 1, #pairs_, 2 do fields[pairs_[i]] = pairs_[i + 1] end
    return fields
end

local function parse_effective(text)
    local fields = {}
    for name, value in string.gmatch(text, '([a-z_]+)=([^ ]+)') do fields[name] = value end
    if known_count == 1000 then known, known_count = {}, 0 end
    known[text] = settings_of(fields)
    known_count = known_count + 1
    return known[text]
end

-- Writes fields of `config`, as pairs, and the line `effective` that says all of them.
function sw.set_config(q, ...)
    redis.call('HSET', q.prefix .. 'config', ...)
    local fields, words = read_config(q.prefix), {}
    for name, value in pairs(fields) do
        if name == 'instance' or FLAGS[name] or sw.DEFAULTS[name] then words[#words + 1] = name .. '=' .. value end
    end
    table.sort(words)
    redis.call('HSET', q.prefix .. 'config', 'effective', table.concat(words, ' '))
    q.is_compiled = true
end

-- Answers the queue, or nil and an error reply. Every setting is a field of it, a number; and so is what the queue uses:
-- paused, has_lanes (requirements, resources, labels), is_fair, has_affinity, has_holds (limits, dependencies, unique keys,
-- staged batches), has_schedules.
function sw.open(keys)
    local prefix, name, partition = keys[1], nil, nil
    if #keys == 1 then name, partition = string.match(prefix, '^switchyard:{([A-Za-z0-9._:-]+)(/?%d*)}:$') end
    if not name or #name > 200 or (partition ~= '' and not string.find(partition, '^/[1-9]%d?$')) then
        return nil, sw.bad('key: expected one, the prefix of a queue such as switchyard:{default}:, found '
            .. #keys .. (prefix and ': ' .. sw.shown(prefix) or ''))
    end
    local time = redis.call('TIME')
    local now_us = tonumber(time[1]) * 1000000 + tonumber(time[2])
    local now = math.floor(now_us / 1000)
    local effective = redis.call('HGET', prefix .. 'config', 'effective')
    local settings = effective and (known[effective] or parse_effective(effective))
        or settings_of(read_config(prefix))
    return setmetatable({ name = name, prefix = prefix, now_us = now_us, now = now,
        now_text = string.format('%.0f', now), is_compiled = effective ~= false }, settings)
end

-- The queue's instance id, made once. That it is gone or another means that Redis lost the queue's data.
function sw.ensure_instance(q)
    if q.instance and q.is_compiled then return end
    if not q.instance then q.instance = string.format('%.0f', q.now_us) end
    sw.set_config(q, 'instance', q.instance)
    redis.call('HSETNX', q.prefix .. 'config', 'created_at', q.now_text)
end

-- From now on the queue uses something that a plain one does not pay for: one of FLAGS.
local function ensure(q, flag)
    if q[flag] then return end
    q[flag] = true
    sw.set_config(q, flag, '1')
end

-- Requirements, resources or labels: the queue has lanes and classes.
function sw.ensure_lanes(q) ensure(q, 'has_lanes') end

-- Limits, dependencies, unique keys or staged batches.
function sw.ensure_holds(q) ensure(q, 'has_holds') end

-- Tenants: its places are tags.
function sw.ensure_fairness(q) ensure(q, 'is_fair') end

function sw.ensure_affinity(q) ensure(q, 'has_affinity') end

function sw.ensure_schedules(q) ensure(q, 'has_schedules') end

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
