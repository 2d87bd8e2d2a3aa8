-- switchyard_stats: returns the statistics of the queue, at the cost of a few index sizes.
--
-- Keys        1: the queue's prefix, 2: its config
-- Arguments   none
-- Reply       pairs: pending (in line and not blocked), held, waiting (for dependencies, or to enter the queue with
--             its batch), blocked (by a limit), assigned, running, completed, failed, timeout, cancelled (tasks by
--             their latest end, including deleted ones), finished (ended and not yet deleted), workers, idle_workers
--             (asleep with a free slot), cordoned (workers, also those that are not registered now), slots,
--             unroutable (in line, and no registered worker could run it; counted in up to 2000 lanes),
--             queue_full_errors, retries, lost, repaired, oldest_pending_at (ms since 1970, or 0), pending_critical,
--             pending_high, pending_normal, pending_low (in line), log_bytes (of all logs), log_budget_bytes
--             (their limit), logs_removed (because of that limit), paused, instance, now
-- Errors      BADREQUEST

-- Limit on the unserved lanes, and on the pools of idle workers, that are added up; unserved lanes are read PIECE at
-- a time.
local LOOKED_AT, PIECE = 2000, 500

-- The counters of `stats` that the reply contains even if they have never been written.
local COUNTERS = { 'assigned', 'completed', 'failed', 'timeout', 'cancelled', 'slots', 'queue_full_errors', 'retries',
    'lost', 'repaired', 'log_bytes', 'logs_removed' }

-- Returns when task `id`, the first of a line, was submitted.
local function submitted_at(q, id)
    return id and sw.whole(call('HGET', q.task_prefix .. id, 'submitted_at'))
end

local function sooner(left, right)
    if left and right then return math.min(left, right) end
    return left or right
end

-- Returns when the older of two tasks of a level was submitted: the first in `pending`, and the first in the most
-- urgent lane.
local function oldest_of(q, low, high)
    local first = call('ZRANGEBYSCORE', q.pending_key, low, high, 'LIMIT', 0, 1)[1]
    local oldest = submitted_at(q, first)
    for _, index in ipairs(q.has_lanes and { 'lanes' } or {}) do
        local lane = call('ZRANGEBYSCORE', q.prefix .. index, low, high, 'LIMIT', 0, 1)[1]
        if lane then
            oldest = sooner(oldest, submitted_at(q, call('ZRANGE', q.prefix .. sw.line_of(lane), 0, 0)[1]))
        end
    end
    return oldest
end

-- Returns how many tasks in line no registered worker could run.
local function unroutable(q, pending)
    if call('ZCARD', q.prefix .. 'workers') == 0 then return pending end
    local found = q.has_lanes and not sw.is_served(q, '') and call('ZCARD', q.pending_key) or 0
    for from = 0, LOOKED_AT - 1, PIECE do
        local lanes = call('ZRANGE', q.prefix .. 'unserved', from, from + PIECE - 1)
        local bounds = lanes[1] and call('ZMSCORE', q.lanes_key, unpack(lanes)) or {}
        for i = 1, #lanes do
            -- A closed lane has no bound: it waits for its gate.
            if bounds[i] then found = found + call('ZCARD', q.prefix .. sw.line_of(lanes[i])) end
        end
        if #lanes < PIECE then break end
    end
    return found
end

local function count_idle(q)
    local count = call('ZCARD', q.idle_key)
    for _, pool in ipairs(call('ZRANGE', q.idle_pools_key, 0, LOOKED_AT - 1)) do
        count = count + call('ZCARD', q.prefix .. 'idle:' .. pool)
    end
    return count
end

local function stats(keys, args)
    local q, failure = sw.open(keys)
    if not q then return failure end
    local reply, counters = {}, {}
    local pairs_ = call('HGETALL', q.stats_key)
    local function add(name, value)
        reply[#reply + 1] = name
        reply[#reply + 1] = value
    end
    for i = 1, #pairs_, 2 do counters[pairs_[i]] = sw.number(pairs_[i + 1], 0) end
    for _, name in ipairs(COUNTERS) do
        if not counters[name] then add(name, '0') end
    end
    for i = 1, #pairs_, 2 do
        if pairs_[i] ~= 'blocked' then add(pairs_[i], pairs_[i + 1]) end
    end
    local oldest, in_line = nil, 0
    for _, priority in ipairs(sw.PRIORITIES) do
        local low, high = sw.band(priority)
        -- With aging, the levels overlap in `pending`, and the counters include its tasks.
        local count = counters['in_lanes_' .. priority] or 0
        if q.aging_ms == 0 then count = count + call('ZCOUNT', q.pending_key, low, high) end
        in_line = in_line + count
        add('pending_' .. priority, count)
        oldest = sooner(oldest, oldest_of(q, low, high))
    end
    local blocked = math.max(0, counters.blocked or 0)
    local pending = math.max(0, in_line - blocked)
    add('pending', pending)
    add('blocked', blocked)
    add('unroutable', unroutable(q, pending))
    add('waiting', call('ZCARD', q.prefix .. 'waiting') + (counters.opening or 0))
    for _, index in ipairs({ 'held', 'finished', 'workers' }) do add(index, call('ZCARD', q.prefix .. index)) end
    add('running', call('ZCARD', q.leases_key) - (counters.assigned or 0))
    add('idle_workers', count_idle(q))
    add('cordoned', call('HLEN', q.prefix .. 'cordoned'))
    add('oldest_pending_at', sw.digits(oldest or 0))
    add('log_budget_bytes', sw.digits(sw.log_budget(q)))
    add('paused', q.paused and '1' or '0')
    add('instance', q.instance or '')
    add('now', q.now_text)
    return reply
end

redis.register_function{ function_name = 'switchyard_stats', flags = { 'no-writes' }, callback = stats }
