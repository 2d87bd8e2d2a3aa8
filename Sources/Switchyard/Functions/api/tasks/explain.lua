-- switchyard_explain: returns why a task does not run, with the numbers.
--
-- Keys        1: the queue's prefix, 2: its config
-- Arguments   task (id)
-- Reply       the task's state, then for each reason its pairs: code, message, and the numbers. Codes: position,
--             schedule, backoff, dependencies, paused, concurrency_limit, rate_limit, no_worker_matches,
--             workers_busy, insufficient_resources, reserved. Without a reason, the task runs or has ended. A task
--             that no index contained is put back.
-- Errors      BADREQUEST, TASKNOTFOUND
local SHOWN = 20

-- Limit on the workers that are examined.
local LOOKED_AT = 300

local function tasks_in_words(n) return n == 1 and '1 task' or n .. ' tasks' end

local function why_held(q, task, held_by)
    local key = q.prefix .. 'task:' .. task.id
    local due = tonumber(call('HGET', key, 'due_at') or nil)
    local seconds = due and math.max(0, math.ceil((due - q.now) / 1000))
    if held_by == 'schedule' then
        return { 'code', 'schedule', 'message', 'its run_at is in ' .. seconds .. ' s', 'due_at', sw.digits(due) }
    elseif held_by == 'retry' then
        return { 'code', 'backoff', 'message', 'attempt ' .. task.attempt .. ' did not succeed; retry '
            .. task.retry_count
            .. ' of ' .. task.max_retries .. ' is in ' .. seconds .. ' s', 'due_at', sw.digits(due), 'retry_count',
            task.retry_count, 'max_retries', task.max_retries }
    elseif held_by == 'dependencies' then
        local open, n = {}, 0
        for id in string.gmatch(call('HGET', key, 'depends_on') or '', '[^,]+') do
            local state = call('HGET', q.prefix .. 'task:' .. id, 'state')
            if state ~= 'completed' then
                n = n + 1
                if n <= SHOWN then open[n] = id .. ' (' .. (state or 'gone') .. ')' end
            end
        end
        return { 'code', 'dependencies', 'message', 'it waits for ' .. tasks_in_words(n) .. ': '
            .. table.concat(open, ', ')
            .. (n > SHOWN and ', …' or ''), 'count', n }
    end
end

-- Returns the reason of a task whose lane is closed by a limit, or nil.
local function why_closed(q, task)
    local closed = task.lane and sw.has_gates(task.lane) and call('ZSCORE', q.closed_key, task.lane)
    if not closed then return nil end
    local name = sw.parse_name(task.lane)
    local rank = call('ZRANK', q.prefix .. sw.line_of(task.lane), task.id) or 0
    local ahead = rank .. (rank == 1 and ' other waits' or ' others wait') .. ' before it'
    if tonumber(closed) > 0 then
        local seconds = math.max(0, math.ceil((tonumber(closed) - q.now) / 1000))
        return { 'code', 'rate_limit', 'message', 'tasks of rate_key ' .. name.rate.key .. ' start '
            .. string.format('%.10g', 1000000 / name.rate.interval) .. ' times a second; the next turn is in '
            .. seconds
            .. ' s, and ' .. ahead, 'key', name.rate.key, 'due_at', closed, 'ahead', rank }
    end
    local key, limit = name.concurrency.key, name.concurrency.limit
    local running = call('SCARD', q.prefix .. 'running:' .. key)
    return { 'code', 'concurrency_limit', 'message', tasks_in_words(running) .. ' of concurrency_key ' .. key
        .. (running == 1 and ' runs' or ' run') .. ', and its limit is ' .. limit .. '; ' .. ahead,
        'key', key, 'running', running,
        'limit', tostring(limit), 'ahead', rank }
end

-- Returns the requirements of a lane that no class meets.
local function missing_in(classes, lane)
    local missing = {}
    for token in string.gmatch(sw.parse_name(lane).base, '[^,]+') do
        local served = false
        for _, class in ipairs(classes) do served = served or sw.serves(class, token) end
        if not served then missing[#missing + 1] = token end
    end
    return missing
end

-- Adds reasons from the state of the workers that serve the task's lane.
local function why_no_worker(q, task, reasons)
    local workers = call('ZRANGE', q.prefix .. 'workers', 0, LOOKED_AT - 1)
    if #workers == 0 then
        reasons[#reasons + 1] = { 'code', 'no_worker_matches', 'message', 'no worker is registered; start one',
            'workers', 0 }
        return
    end
    local lane = task.lane or ''
    local matching, busy, small, reserved, draining = 0, 0, 0, 0, 0
    local reservations = q.has_lanes and call('HGETALL', q.prefix .. 'reserved') or {}
    local reserved_for = {}
    for i = 1, #reservations, 2 do reserved_for[match(reservations[i + 1], '^(.*) %d+$')] = reservations[i] end
    for _, worker in ipairs(workers) do
        local class = q.has_lanes and call('HGET', q.prefix .. 'class', worker) or ''
        if sw.serves(class, lane) then
            matching = matching + 1
            local v = call('HMGET', q.prefix .. 'worker:' .. worker, 'slots', 'draining')
            local held, lanes = sw.leases_of(q, worker), {}
            for j = 2, #held, 2 do
                local _, _, _, _, of = sw.lease_of(held[j])
                if of then lanes[#lanes + 1] = of end
            end
            if v[2] == '1' then draining = draining + 1
            elseif reserved_for[worker] and reserved_for[worker] ~= lane then reserved = reserved + 1
            elseif #held / 2 >= tonumber(v[1] or 0) then busy = busy + 1
            elseif not sw.has_room(sw.room(class, lanes), lane) then small = small + 1
            end
        end
    end
    local function add(code, message, n)
        if n > 0 then
            reasons[#reasons + 1] = { 'code', code, 'message', message, 'workers', n, 'matching', matching }
        end
    end
    if matching == 0 then
        local missing, wanted = missing_in(sw.classes_of(q), lane), sw.parse_name(lane).base
        add('no_worker_matches', 'none of ' .. #workers .. ' workers serves what it needs (' .. wanted .. ')'
            .. (#missing > 0 and '; none has ' .. table.concat(missing, ', ') or '; none has all of it')
            .. '; register one that does', #workers)
        return
    end
    add('workers_busy', busy .. ' of ' .. matching .. ' workers that serve it have all slots taken', busy)
    add('insufficient_resources', small .. ' of ' .. matching
        .. ' workers that serve it have a slot, but not enough left of '
        .. 'what it needs (' .. sw.parse_name(lane).base .. ')', small)
    add('reserved', reserved .. ' of ' .. matching .. ' workers that serve it are reserved for a bigger task', reserved)
    add('workers_busy', draining .. ' of ' .. matching .. ' workers that serve it are draining', draining)
end

local function explain(keys, args)
    local q, failure = sw.enter_checked(keys)
    if not q then return failure end
    local head, tasks = sw.parse(args)
    if not head then return tasks end
    if #tasks ~= 1 then return sw.bad('task: expected one, found ' .. #tasks) end
    local id = tasks[1].task
    -- Puts the task back if no index contains it.
    local task = sw.describe(q, id) and sw.read(q, id)
    if not task then return sw.not_found(id) end
    local reasons = {}
    if task.state == 'pending' then
        if q.paused then
            reasons[1] = { 'code', 'paused', 'message', 'the queue is paused; resume it' }
        end
        local closed = not task.held_by and why_closed(q, task)
        if task.held_by then
            reasons[#reasons + 1] = why_held(q, task, task.held_by)
        elseif closed then
            reasons[#reasons + 1] = closed
        else
            local line = sw.line_of(task.lane)
            local rank = call('ZRANK', q.prefix .. line, id) or 0
            reasons[#reasons + 1] = { 'code', 'position', 'message', rank == 0 and 'it is first in its line'
                or tasks_in_words(rank) .. (rank == 1 and ' stands' or ' stand') .. ' before it in its line',
                'ahead', rank, 'priority', task.priority }
            why_no_worker(q, task, reasons)
        end
    end
    local reply = { task.state }
    for _, reason in ipairs(reasons) do reply[#reply + 1] = reason end
    return reply
end

redis.register_function{ function_name = 'switchyard_explain', flags = { 'allow-oom' }, callback = explain }
