-- The queue that a call is about: its key prefix, Redis's clock (read once: it is not frozen inside a
-- function), and its configuration.

-- Microseconds from 1970 to 2024-01-01, where a task's place in line counts from.
local EPOCH_2024_US = 1704067200000000

-- Width of a priority level in the score of `pending`: 2^50 µs is 35.7 years, so that four levels and the
-- time since 2024 fit the 53 bits of a double until 2059.
local BAND = 1125899906842624

sw.PRIORITIES = { 'critical', 'high', 'normal', 'low' }
local LEVEL = { critical = 0, high = 1, normal = 2, low = 3 }
sw.LEVEL = LEVEL

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

-- The fields of `config` as they are.
local function read_config(prefix)
    local pairs_, fields = call('HGETALL', prefix .. 'config'), {}
    for i = 1, #pairs_, 2 do fields[pairs_[i]] = pairs_[i + 1] end
    return fields
end

-- Decimal digits without the cost of formatting: a number is cut into millions and the two groups of three digits below.
-- Millions of milliseconds or microseconds change every quarter of an hour or second, so their text is mostly at hand.
local GROUPS, millions, millions_count = {}, {}, 0

-- The numbers from 0 to 999 by their decimal digits.
sw.COUNTS = {}

-- A Redis integer reply is 64 bits, but a Lua number prints as 1.7e+12: write it out. `number` is whole and not negative.
local function digits(number)
    if number < 1000000 then return string.format('%.0f', number) end
    local below = number % 1000000
    local high = (number - below) / 1000000
    local text = millions[high]
    if not text then
        if millions_count == 1000 then millions, millions_count = {}, 0 end
        text = string.format('%.0f', high)
        millions[high] = text
        millions_count = millions_count + 1
    end
    local last = below % 1000
    return text .. GROUPS[(below - last) / 1000] .. GROUPS[last]
end
sw.digits = digits

-- Takes over the settings that a text of `config` says (its field `effective`; false: the fields themselves).
local function apply(q, effective)
    for name, value in pairs(sw.DEFAULTS) do q[name] = value end
    for name in pairs(FLAGS) do q[name] = false end
    local fields = {}
    if effective then
        for name, value in string.gmatch(effective, '([a-z_]+)=([^ ]+)') do fields[name] = value end
    else
        fields = read_config(q.prefix)
    end
    for name, value in pairs(fields) do
        if FLAGS[name] then
            q[name] = value == '1'
        elseif sw.DEFAULTS[name] then
            q[name] = tonumber(value)
        end
    end
    q.effective, q.is_compiled, q.instance = effective, effective ~= false, fields.instance
    q.is_plain = not (q.is_fair or q.aging_ms > 0)
    q.lease_text, q.default_timeout_text = sw.digits(q.lease_ms), sw.digits(q.default_timeout_ms)
end

-- Writes fields of `config`, as pairs, and the line `effective` that says all of them.
function sw.set_config(q, ...)
    call('HSET', q.prefix .. 'config', ...)
    local fields, words = read_config(q.prefix), {}
    for name, value in pairs(fields) do
        if name == 'instance' or FLAGS[name] or sw.DEFAULTS[name] then words[#words + 1] = name .. '=' .. value end
    end
    table.sort(words)
    local effective = table.concat(words, ' ')
    call('HSET', q.prefix .. 'config', 'effective', effective)
    apply(q, effective)
end

-- The queues that calls were about lately, by prefix: what is known of each is made once, and made again when the line
-- `effective` of its `config` is another.
local queues, queue_count = {}, 0

-- A queue, or a partition of one, seen for the first time: its name, and the names of its keys. Or nil and an error reply.
local function meet(keys)
    local prefix, name, partition = keys[1], nil, nil
    if #keys == 1 then name, partition = string.match(prefix, '^switchyard:{([A-Za-z0-9._:-]+)(/?%d*)}:$') end
    if not name or #name > 200 or (partition ~= '' and not string.find(partition, '^/[1-9]%d?$')) then
        return nil, sw.bad('key: expected one, the prefix of a queue such as switchyard:{default}:, found '
            .. #keys .. (prefix and ': ' .. sw.shown(prefix) or ''))
    end
    if not GROUPS[0] then
        for i = 0, 999 do
            GROUPS[i] = string.format('%03d', i)
            sw.COUNTS[string.format('%d', i)] = i
        end
    end
    if queue_count == 1000 then queues, queue_count = {}, 0 end
    local q = { name = name, prefix = prefix, task_prefix = prefix .. 'task:', attempts_prefix = prefix .. 'attempts:' }
    for _, key in ipairs({ 'config', 'pending', 'held', 'leases', 'finished', 'idle', 'stats', 'results', 'events' }) do
        q[key .. '_key'] = prefix .. key
    end
    queues[prefix] = q
    queue_count = queue_count + 1
    return q
end

-- Answers the queue, or nil and an error reply. Every setting is a field of it, a number; and so is what the queue uses:
-- paused, has_lanes (requirements, resources, labels), is_fair, has_affinity, has_holds (limits, dependencies, unique keys,
-- staged batches), has_schedules. The table is the same in every call: what a call notes in it must be true for the next.
function sw.open(keys)
    local q, failure = queues[keys[1]], nil
    if not q or keys[2] then
        call, find, match = redis.call, string.find, string.match
        q, failure = meet(keys)
        if not q then return nil, failure end
    end
    local time = call('TIME')
    local seconds, below = time[1], time[2] + 0
    local last = below % 1000
    local ms = (below - last) / 1000
    q.now_us = seconds * 1000000 + below
    q.now = seconds * 1000 + ms
    q.now_text = seconds .. GROUPS[ms]
    q.below_ms = last
    q.lease_end, q.timeout = nil, nil
    local effective = call('HGET', q.config_key, 'effective')
    if effective ~= q.effective or not effective then apply(q, effective) end
    return q
end

-- Redis's clock in µs.
function sw.now_us_text(q)
    return q.now_text .. GROUPS[q.below_ms]
end

-- The queue's instance id, made once. That it is gone or another means that Redis lost the queue's data.
function sw.ensure_instance(q)
    if q.instance and q.is_compiled then return end
    if not q.instance then q.instance = string.format('%.0f', q.now_us) end
    sw.set_config(q, 'instance', q.instance)
    call('HSETNX', q.prefix .. 'config', 'created_at', q.now_text)
end

-- From now on the queue uses something that a plain one does not pay for: one of FLAGS.
local function ensure(q, flag)
    if not q[flag] then sw.set_config(q, flag, '1') end
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
    return digits(LEVEL[priority] * width(q) + tag)
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
