-- switchyard_configure: changes settings of the queue, for all replicas and workers at once.
--
-- Keys        1: the queue's prefix, 2: its config
-- Arguments   any of: max_queue_length, default_timeout_ms, default_max_retries, lease_ms, heartbeat_ms,
--             assign_timeout_ms, max_deliveries, retry_delay_ms, retry_delay_max_ms, retry_jitter_percent,
--             retention_ms, max_finished (the maximum number of ended tasks that are kept; 0: no limit),
--             cleanup_interval_ms, log_max_entries, log_budget_bytes (of all logs; 0: a quarter of maxmemory, or
--             1 GiB), reserve_after_ms, replicas_to_wait (how many Redis replicas a submission waits for, which
--             its client does with WAIT), aging_ms (the waiting time that is worth one
--             level; 0: strict levels), draining (1: no new tasks), paused (0 or 1), partitions (1 to 64: how many
--             the queue has; can change only while this one has no task and no schedule), database (the number of the
--             Redis database that the queue is in: it is part of the names of its channels)
-- Reply       pairs: each setting with its present value
-- Errors      BADREQUEST (also for an unknown setting); nothing is written
local RANGE = {
    max_queue_length = { 1, 100000000 }, default_timeout_ms = { 1, 2592000000 }, default_max_retries = { 0, 100 },
    lease_ms = { 100, 3600000 }, heartbeat_ms = { 20, 3600000 }, assign_timeout_ms = { 100, 3600000 },
    max_deliveries = { 1, 1000 }, retry_delay_ms = { 0, 86400000 }, retry_delay_max_ms = { 0, 86400000 },
    retry_jitter_percent = { 0, 100 }, retention_ms = { 0, 31536000000 }, max_finished = { 0, 100000000 },
    cleanup_interval_ms = { 0, 86400000 },
    log_max_entries = { 1, 1000000 }, log_budget_bytes = { 0, 17592186044416 },
    reserve_after_ms = { 0, 86400000 }, replicas_to_wait = { 0, 100 }, aging_ms = { 0, 604800000 },
    draining = { 0, 1 }, paused = { 0, 1 },
    partitions = { 1, 64 }, database = { 0, 2147483647 },
}

-- Returns how many tasks have not ended.
local function unended(q)
    return sw.length(q) + call('ZCARD', q.leases_key)
end

local function configure(keys, args)
    local names = {}
    for name in pairs(sw.DEFAULTS) do names[#names + 1] = name end
    table.sort(names)
    local q, failure = sw.enter_checked(keys)
    if not q then return failure end
    local head, tasks = sw.parse(args)
    if not head then return tasks end
    if #tasks > 0 then return sw.bad('setting: there is none named "task"') end
    -- q stays unchanged until all values are checked.
    local set, new = {}, setmetatable({}, { __index = q })
    for name, value in pairs(head) do
        if not RANGE[name] then return sw.bad('setting: there is none named ' .. sw.shown(name)) end
        local problem = sw.check_integer(name, value, RANGE[name][1], RANGE[name][2])
        if problem then return sw.bad(problem) end
        set[#set + 1] = name
        set[#set + 1] = value
        new[name] = tonumber(value)
    end
    if head.paused == '0' and q.paused then
        -- Times of schedules before this one were missed.
        set[#set + 1], set[#set + 2] = 'resumed_at', q.now_text
    end
    if new.heartbeat_ms * 2 > new.lease_ms then
        return sw.bad('heartbeat_ms: at most half of lease_ms (' .. sw.digits(new.lease_ms) .. '), so that one may be '
            .. 'lost, found ' .. sw.digits(new.heartbeat_ms))
    end
    if head.partitions and new.partitions ~= q.partitions then
        local tasks_kept = unended(q) + call('ZCARD', q.prefix .. 'finished')
        local schedules = call('ZCARD', q.prefix .. 'schedules')
        if tasks_kept + schedules > 0 then
            return sw.bad('partitions: queue ' .. q.name .. ' has ' .. sw.digits(q.partitions) .. ', and here '
                .. tasks_kept .. ' tasks, ended ones included, and ' .. schedules .. ' schedules; it can have '
                .. head.partitions .. ' only once these are gone')
        end
    end
    if head.aging_ms and new.aging_ms ~= q.aging_ms and unended(q) > 0 then
        return sw.bad('aging_ms: it can only be changed while no task is pending or running, for it is part of their '
            .. 'positions in line')
    end
    local c = sw.changes(q)
    -- Reading the settings of a queue does not create it.
    if #set > 0 then
        sw.ensure_instance(q)
        sw.set_config(q, unpack(set))
        if head.paused == '0' then sw.plan_wake_for_work(c) end
    end
    sw.commit(c)
    local reply = { 'paused', q.paused and '1' or '0', 'instance', q.instance or '' }
    for _, name in ipairs(names) do
        reply[#reply + 1] = name
        reply[#reply + 1] = sw.digits(q[name])
    end
    return reply
end

redis.register_function{ function_name = 'switchyard_configure', flags = { 'allow-oom' }, callback = configure }
