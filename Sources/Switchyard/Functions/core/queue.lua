-- The queue of a call: its key prefix, Redis's clock, and its configuration. The clock is read once in each call,
-- because Redis does not freeze TIME inside a function.

-- Microseconds from 1970 to 2024-01-01, the epoch of the tags of tasks.
local EPOCH_2024_US = 1704067200000000

-- Width of a priority level in a score. 2^50 µs are 35.7 years, so four levels and the time since 2024 fit the 53
-- bits of a double until 2059.
local BAND = 1125899906842624

sw.PRIORITIES = { 'critical', 'high', 'normal', 'low' }
local LEVEL = { critical = 0, high = 1, normal = 2, low = 3 }
sw.LEVEL = LEVEL

-- The settings in the hash `config`, with their defaults for absent fields. The names contain the units.
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
    max_finished = 0,
    cleanup_interval_ms = 300000,
    log_max_entries = 50000,
    log_budget_bytes = 0,
    aging_ms = 0,
    draining = 0,
    reserve_after_ms = 10000,
    replicas_to_wait = 0,
    partitions = 1,
    database = 0,
}

-- Fields of `config` that are "1" while the queue uses a feature. The clean-up of a tick deletes the flags of
-- features that the queue no longer uses.
local FLAGS = { paused = true, has_lanes = true, is_fair = true, has_affinity = true, has_holds = true,
    has_schedules = true }

-- Words of the field `effective` that are neither settings nor flags.
local UNLISTED = { instance = true, layout = true, classes_version = true, run = true }

local function read_config(prefix)
    local pairs_, fields = call('HGETALL', prefix .. 'config'), {}
    for i = 1, #pairs_, 2 do fields[pairs_[i]] = pairs_[i + 1] end
    return fields
end

-- Conversion of numbers to decimal digits without string.format: a number is split into its millions and two groups
-- of three digits. A timestamp's high digits rarely change, so their text is cached.
local GROUPS, millions, millions_count = {}, {}, 0

-- The integers from 0 to 999, by their decimal digits.
sw.COUNTS = {}

-- The greatest number that is converted, and its text: 2^53.
local MOST, MOST_TEXT = 9007199254740992, '9007199254740992'

-- Makes a function that returns a number as text. The number is rounded down, and a negative number becomes 0. (Lua's
-- own conversion would print 1.7e+12.) The function caches all but the last three digits of its last number, because
-- the numbers of the tasks of one call are close together.
local function new_digits()
    local known, text
    return function(number)
        local last = number % 1000
        local high = number - last
        if high == known then
            local group = GROUPS[last]
            if group then return text .. group end
        end
        if number < 1000000 then
            if number < 0 then number = 0 end
            return string.format('%.0f', math.floor(number))
        end
        -- Infinite, or not a number: only a damaged key has that.
        if not (number <= MOST) then return MOST_TEXT end
        local below = high % 1000000
        local million = (high - below) / 1000000
        local first = millions[million]
        if not first then
            if millions_count == 1000 then millions, millions_count = {}, 0 end
            first = string.format('%.0f', million)
            millions[million] = first
            millions_count = millions_count + 1
        end
        known, text = high, first .. GROUPS[below / 1000]
        return text .. GROUPS[last - last % 1]
    end
end

local digits, score_digits = new_digits(), new_digits()
sw.digits = digits

-- Sets the fields of `q` from the text `effective` of `config`. If `effective` is false (absent), reads the fields of
-- `config` instead.
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
            q[name] = sw.whole(value, sw.DEFAULTS[name])
        end
    end
    q.effective, q.is_compiled, q.instance = effective, effective ~= false, fields.instance
    -- Only an existing queue can have an older layout. An absent field `layout` means layout 4.
    q.classes_version = sw.whole(fields.classes_version, 0)
    q.run = fields.run
    q.layout = q.instance and sw.whole(fields.layout, 4) or LAYOUT
    q.width = q.aging_ms > 0 and q.aging_ms * 1000 or BAND
    q.is_strict = not (q.is_fair or q.aging_ms > 0)
    q.lease_text, q.default_timeout_text = digits(q.lease_ms), digits(q.default_timeout_ms)
    -- Channels belong to the server and not to a database. A function cannot see in which one it runs, so clients of
    -- databases other than 0 write the number to `config`.
    q.channels = q.database == 0 and q.prefix or q.prefix .. 'db' .. digits(q.database) .. ':'
    q.results_key, q.events_key = q.channels .. 'results', q.channels .. 'events'
end

-- Writes fields of `config`, given as pairs, and updates the field `effective`, which contains all settings in one
-- line.
function sw.set_config(q, ...)
    sw.write_config(q)
    call('HSET', q.config_key, ...)
    local fields, words = read_config(q.prefix), {}
    for name, value in pairs(fields) do
        if UNLISTED[name] or FLAGS[name] or sw.DEFAULTS[name] then
            words[#words + 1] = name .. '=' .. value
        end
    end
    table.sort(words)
    local effective = table.concat(words, ' ')
    call('HSET', q.config_key, 'effective', effective)
    apply(q, effective)
end

-- The queues of recent calls, by prefix. Each table is made once, and updated when the field `effective` changes.
local queues, queue_count = {}, 0

-- The indexes that every queue has. Their keys are made once.
local INDEXES = { 'pending', 'held', 'waiting', 'leases', 'finished', 'workers', 'idle', 'lanes', 'closed' }

local function bad_keys(keys, prefix)
    return sw.bad('key: expected the prefix of a queue such as switchyard:{default}:, and its config, found ' .. #keys
        .. (prefix and ': ' .. sw.shown(prefix) or ''))
end

-- Makes the table of a queue (or of a partition) that this library has not seen yet. Returns it, or nil and an error
-- reply.
local function meet(keys)
    local prefix, name, partition = keys[1], nil, nil
    if prefix then name, partition = string.match(prefix, '^switchyard:{([A-Za-z0-9._:-]+)(/?%d*)}:$') end
    if not name or #name > 200 or (partition ~= '' and not string.find(partition, '^/[1-9]%d?$')) then
        return nil, bad_keys(keys, prefix)
    end
    if not GROUPS[0] then
        for i = 0, 999 do
            GROUPS[i] = string.format('%03d', i)
            sw.COUNTS[string.format('%d', i)] = i
        end
    end
    if queue_count == 1000 then queues, queue_count = {}, 0 end
    local q = { name = name, prefix = prefix, task_prefix = prefix .. 'task:', attempts_prefix = prefix .. 'attempts:',
        index_keys = {} }
    for _, key in ipairs(INDEXES) do q.index_keys[key] = prefix .. key end
    for _, key in ipairs({ 'config', 'pending', 'held', 'leases', 'finished', 'idle', 'idle_pools', 'stats',
        'claims', 'lanes', 'closed' }) do
        q[key .. '_key'] = prefix .. key
    end
    queues[prefix] = q
    queue_count = queue_count + 1
    return q
end

-- Opens the queue of a call that only reads. Returns it, or nil and an error reply. Each setting is a field of the
-- queue (a number), and so is each of FLAGS (a boolean). Later calls get the same table: a call may only store what
-- stays true.
function sw.open(keys)
    local q, failure = queues[keys[1]], nil
    if not q then
        strict_call, pcall_redis = redis.call, redis.pcall
        find, match, byte, sub = string.find, string.match, string.byte, string.sub
        call = strict_call
        q, failure = meet(keys)
        if not q then return nil, failure end
    end
    if keys[2] and (keys[2] ~= q.config_key or keys[3]) then return nil, bad_keys(keys, keys[2]) end
    call = strict_call
    local time = call('TIME')
    local seconds, below = time[1], time[2] + 0
    local last = below % 1000
    local ms = (below - last) / 1000
    q.now_us = seconds * 1000000 + below
    q.now = seconds * 1000 + ms
    q.now_text = seconds .. GROUPS[ms]
    q.below_ms = last
    q.lease_end, q.timeout = nil, nil
    call_number = call_number + 1
    local effective = call('HGET', q.config_key, 'effective')
    if effective ~= q.effective or not effective or q.unwritten then
        q.unwritten = nil
        apply(q, effective)
    end
    return q
end

-- Opens the queue of a call that writes. Returns it, or nil and an error reply. The error is TRYAGAIN while the queue
-- is being converted from an older layout; each call that writes does a step of the conversion. It is NOPERM for a user
-- who may not publish: Redis grants no channel to a new user, and would refuse the message after the writes.
function sw.enter(keys)
    local q, failure = sw.open(keys)
    if q and not redis.acl_check_cmd(PUBLISH, q.events_key, '') then
        return nil, redis.error_reply('NOPERM this user may not publish to ' .. q.events_key
            .. ", and nothing was changed; allow the queue's channels: ACL SETUSER <user> &switchyard:*")
    end
    if q and q.layout < LAYOUT and not sw.upgrade(q) then
        return nil, redis.error_reply('TRYAGAIN queue ' .. q.name .. ' is being converted to layout ' .. LAYOUT)
    end
    return q, failure
end

-- Returns Redis's clock in µs, as text.
function sw.now_us_text(q)
    return q.now_text .. GROUPS[q.below_ms]
end

-- Notes fields of `config` that are in effect from now on in this call. sw.write_config writes them after all checks.
local function hold(q, ...)
    q.unwritten = q.unwritten or {}
    for i = 1, select('#', ...) do q.unwritten[#q.unwritten + 1] = (select(i, ...)) end
end

-- Gives the queue an instance id if it has none. If a queue's instance id is absent or changed, Redis lost the
-- queue's data.
function sw.ensure_instance(q)
    if q.instance and q.is_compiled then return end
    if not q.instance then q.instance = string.format('%.0f', q.now_us) end
    q.layout, q.is_compiled = LAYOUT, true
    hold(q, 'instance', q.instance, 'layout', LAYOUT)
end

-- Notes which run of the library adds groups of lanes from now on (lane_groups.lua).
function sw.claim_run(q, run)
    if q.run == run then return end
    q.run = run
    hold(q, 'run', run)
end

-- Sets one of FLAGS: from now on the queue uses a feature, and its calls pay for it.
function sw.ensure(q, flag)
    if q[flag] then return end
    q[flag] = true
    if flag == 'is_fair' then q.is_strict = false end
    hold(q, flag, '1')
end

-- Writes the fields that `hold` has noted.
function sw.write_config(q)
    local unwritten = q.unwritten
    if not unwritten then return end
    q.unwritten = nil
    sw.set_config(q, unpack(unwritten))
    sw.begin_writing()
    if call('HSETNX', q.config_key, 'created_at', q.now_text) == 1 then
        -- A new queue: from now on every replica looks after it, whoever created it. The key belongs to no queue. A
        -- user who may not write it, and a Redis Cluster with the key on another node, refuse; replicas and handles
        -- write the name too.
        pcall_redis('SADD', 'switchyard:queues', q.name)
    end
end

-- Clears a flag: no task of the queue uses the feature any more.
function sw.drop_flag(q, flag)
    call('HDEL', q.config_key, flag)
    sw.set_config(q, 'layout', LAYOUT)
end

-- Returns the present time as a tag: µs since 2024. `offset` keeps the order of the tasks of one call. A call takes
-- longer than `offset` µs, so the tags of the next call are higher.
function sw.time_tag(q, offset)
    return q.now_us - EPOCH_2024_US + offset
end

-- Returns the score of a task in its line: its level, and its tag (the time of its first submission, or its start tag
-- in a queue with fairness).
function sw.score(q, priority, tag)
    return score_digits(LEVEL[priority] * q.width + tag)
end

-- Returns the tag in the field `tag` of a task; nil if it is absent or damaged.
function sw.tag_in(text)
    local tag = sw.whole(text)
    return tag and tag < BAND and tag or nil
end

-- Returns the tag in a score that a library before version 5 wrote, with strict levels or with aging.
function sw.tag_in_score(q, score, priority)
    local number, level = sw.number(score, 0), LEVEL[priority] or 2
    if level == 0 then return number end
    if number >= level * BAND then return number - level * BAND end
    return number - level * q.aging_ms * 1000
end

-- Returns the bounds of a level in a line, for ZCOUNT and ZRANGEBYSCORE. Not meaningful with aging.
function sw.band(priority)
    local low = LEVEL[priority] * BAND
    return string.format('%.0f', low), string.format('(%.0f', low + BAND)
end

-- Returns the priority that a score belongs to, even for a task whose hash is gone. Not meaningful with aging.
function sw.level_in(score)
    return sw.PRIORITIES[math.min(4, math.floor(score / BAND) + 1)]
end
