-- switchyard_stats: the queue in numbers, at the cost of a few index sizes.
--
-- Keys        1: the queue's prefix
-- Arguments   none
-- Reply       pairs: pending (in line), held, waiting (for dependencies), blocked (by a concurrency limit), assigned, running, completed, failed, timeout, cancelled (tasks by their
--             latest end, also those since deleted), finished (ended and not yet deleted), workers, idle_workers, slots,
--             unroutable (in line, and no registered worker could run it), queue_full_errors, retries, lost, repaired, oldest_pending_at (ms since 1970, or 0), pending_critical,
--             pending_high, pending_normal, pending_low, paused, instance, now
-- Errors      BADREQUEST
-- When the first task of an index was submitted; of a lane, its first.
local function submitted_at(q, lane, first)
    local id = lane and call('ZRANGE', q.prefix .. sw.line_of(lane), 0, 0)[1] or first
    return id and tonumber(call('HGET', q.prefix .. 'task:' .. id, 'submitted_at') or nil)
end

local function sooner(left, right)
    if left and right then return math.min(left, right) end
    return left or right
end

-- How many tasks in line could not be run by any registered worker. Looks at 1000 lanes at most.
local function unroutable(q, pending)
    if call('ZCARD', q.prefix .. 'workers') == 0 then return pending end
    local found = 0
    for _, lane in ipairs(q.has_lanes and call('ZRANGE', q.prefix .. 'lanes', 0, 999) or {}) do
        if not sw.is_served(q, lane) then found = found + call('ZCARD', q.prefix .. sw.line_of(lane)) end
    end
    return found
end

local function stats(keys, args)
    local q, failure = sw.open(keys)
    if not q then return failure end
    local reply = call('HGETALL', q.prefix .. 'stats')
    local assigned, in_lanes, pending = 0, {}, 0
    for i = 1, #reply, 2 do
        if reply[i] == 'assigned' then assigned = tonumber(reply[i + 1]) end
        local priority = string.match(reply[i], '^in_lanes_(.*)$')
        if priority then in_lanes[priority] = tonumber(reply[i + 1]) end
    end
    local function add(name, value)
        reply[#reply + 1] = name
        reply[#reply + 1] = value
    end
    local oldest
    for _, priority in ipairs(sw.PRIORITIES) do
        local low, high = sw.band(priority)
        -- With aging the levels overlap in `pending`; then the counters have all.
        local in_line = in_lanes[priority] or 0
        if q.aging_ms == 0 then in_line = in_line + call('ZCOUNT', q.prefix .. 'pending', low, high) end
        pending = pending + in_line
        add('pending_' .. priority, in_line)
        for _, index in ipairs(q.has_lanes and { 'pending', 'lanes' } or { 'pending' }) do
            local first = call('ZRANGEBYSCORE', q.prefix .. index, low, high, 'WITHSCORES', 'LIMIT', 0, 1)
            if first[1] then oldest = sooner(oldest, submitted_at(q, index == 'lanes' and first[1] or nil, first[1])) end
        end
    end
    add('pending', pending)
    add('unroutable', unroutable(q, pending))
    for _, index in ipairs({ 'held', 'waiting', 'blocked', 'finished', 'workers' }) do
        add(index, call('ZCARD', q.prefix .. index))
    end
    add('running', call('ZCARD', q.prefix .. 'leases') - assigned)
    add('idle_workers', call('ZCARD', q.prefix .. 'idle'))
    add('oldest_pending_at', sw.digits(oldest or 0))
    add('paused', q.paused and '1' or '0')
    add('instance', q.instance or '')
    add('now', q.now_text)
    return reply
end

redis.register_function{ function_name = 'switchyard_stats', flags = { 'no-writes' }, callback = stats }
