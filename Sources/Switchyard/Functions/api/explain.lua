-- switchyard_explain: why a task does not run, with the numbers.
--
-- Keys        1: the queue's prefix
-- Arguments   task (id)
-- Reply       the task's state, and then for each reason its pairs: code, message, and the numbers. Codes: position,
--             schedule, backoff, dependencies, paused, concurrency_limit, rate_limit, no_worker_matches, workers_busy,
--             insufficient_resources, reserved. No reason: it runs, has ended, or is about to be pulled.
-- Errors      BADREQUEST, TASKNOTFOUND
local SHOWN = 20

local function tasks_in_words(n) return n == 1 and '1 task' or n .. ' tasks' end

local function why_held(q, task, held_by)
    local key = q.prefix .. 'task:' .. task.id
    local due = tonumber(call('HGET', key, 'due_at') or nil)
    local seconds = due and math.max(0, math.ceil((due - q.now) / 1000))
    if held_by == 'schedule' then
        return { 'code', 'schedule', 'message', 'its run_at is in ' .. seconds .. ' s', 'due_at', sw.digits(due) }
    elseif held_by == 'retry' then
        return { 'code', 'backoff', 'message', 'attempt ' .. task.attempt .. ' did not succeed; retry ' .. task.retry_count
            .. ' of ' .. task.max_retries .. ' is in ' .. seconds .. ' s', 'due_at', sw.digits(due), 'retry_count',
            task.retry_count, 'max_retries', task.max_retries }
    elseif held_by == 'rate_limit' then
        return { 'code', 'rate_limit', 'message', 'tasks of rate_key ' .. task.rate_key .. ' start '
            .. (task.rate_per_second or 1) .. ' times a second; its turn is in ' .. seconds .. ' s', 'key', task.rate_key,
            'due_at', sw.digits(due) }
    elseif held_by == 'concurrency_limit' then
        local running = call('SCARD', q.prefix .. 'running:' .. task.concurrency_key)
        local rank = call('ZRANK', q.prefix .. 'blocked:' .. task.concurrency_key, task.id) or 0
        return { 'code', 'concurrency_limit', 'message', tasks_in_words(running) .. ' of concurrency_key '
            .. task.concurrency_key .. (running == 1 and ' runs' or ' run') .. ', and its limit is ' .. (task.concurrency_limit or 1) .. '; ' .. rank
            .. ' others wait before it', 'key', task.concurrency_key, 'running', running, 'limit',
            task.concurrency_limit or '1', 'ahead', rank }
    elseif held_by == 'dependencies' then
        local open, n = {}, 0
        for id in string.gmatch(call('HGET', key, 'depends_on') or '', '[^,]+') do
            local state = call('HGET', q.prefix .. 'task:' .. id, 'state')
            if state ~= 'completed' then
                n = n + 1
                if n <= SHOWN then open[n] = id .. ' (' .. (state or 'gone') .. ')' end
            end
        end
        return { 'code', 'dependencies', 'message', 'it waits for ' .. tasks_in_words(n) .. ': ' .. table.concat(open, ', ')
            .. (n > SHOWN and ', …' or ''), 'count', n }
    end
end

-- The requirements of a lane that no class has.
local function missing_in(classes, lane)
    local missing = {}
    for token in string.gmatch(lane, '[^,]+') do
        local served = false
        for i = 1, #classes, 2 do served = served or sw.serves(classes[i], token) end
        if not served then missing[#missing + 1] = token end
    end
    return missing
end

-- What the workers that serve its lane are doing.
local function why_no_worker(q, task, reasons)
    local workers = call('ZRANGE', q.prefix .. 'workers', 0, 999)
    if #workers == 0 then
        reasons[#reasons + 1] = { 'code', 'no_worker_matches', 'message', 'no worker is registered; start one', 'workers', 0 }
        return
    end
    local lane = task.lane or ''
    local matching, busy, small, reserved, draining = 0, 0, 0, 0, 0
    local reservations = q.has_lanes and call('HGETALL', q.prefix .. 'reserved') or {}
    local reserved_for = {}
    for i = 1, #reservations, 2 do reserved_for[reservations[i + 1]] = reservations[i] end
    for _, worker in ipairs(workers) do
        local class = q.has_lanes and call('HGET', q.prefix .. 'class', worker) or ''
        if sw.serves(class, lane) then
            matching = matching + 1
            local v = call('HMGET', q.prefix .. 'worker:' .. worker, 'slots', 'draining')
            local held, lanes = sw.leases_of(q, worker), {}
            for j = 2, #held, 2 do lanes[#lanes + 1] = select(4, sw.lease_of(held[j])) end
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
        local missing = missing_in(sw.classes(q), lane)
        add('no_worker_matches', 'none of ' .. #workers .. ' workers serves what it needs (' .. lane .. ')'
            .. (#missing > 0 and '; none has ' .. table.concat(missing, ', ') or '; none has all of it')
            .. '; register one that does', #workers)
        return
    end
    add('workers_busy', busy .. ' of ' .. matching .. ' workers that serve it have all slots taken', busy)
    add('insufficient_resources', small .. ' of ' .. matching .. ' workers that serve it have a slot, but not enough left of '
        .. 'what it needs (' .. lane .. ')', small)
    add('reserved', reserved .. ' of ' .. matching .. ' workers that serve it are reserved for a bigger task', reserved)
    add('workers_busy', draining .. ' of ' .. matching .. ' workers that serve it are draining', draining)
end

local function explain(keys, args)
    local q, failure = sw.open(keys)
    if not q then return failure end
    local head, tasks = sw.parse(args)
    if not head then return tasks end
    if #tasks ~= 1 then return sw.bad('task: expected one, found ' .. #tasks) end
    local task = sw.read(q, tasks[1].task)
    if not task or task.held_by == 'batch' then return sw.not_found(tasks[1].task) end
    local reasons = {}
    if task.state == 'pending' then
        if q.paused then
            reasons[1] = { 'code', 'paused', 'message', 'the queue is paused; resume it' }
        end
        if task.held_by then
            reasons[#reasons + 1] = why_held(q, task, task.held_by)
        else
            local line = sw.line_of(task.lane)
            local rank = call('ZRANK', q.prefix .. line, task.id) or 0
            reasons[#reasons + 1] = { 'code', 'position', 'message', rank == 0 and 'it is first in its line'
                or tasks_in_words(rank) .. (rank == 1 and ' stands' or ' stand') .. ' before it in its line', 'ahead', rank, 'priority', task.priority }
            why_no_worker(q, task, reasons)
        end
    end
    local reply = { task.state }
    for _, reason in ipairs(reasons) do reply[#reply + 1] = reason end
    return reply
end

redis.register_function{ function_name = 'switchyard_explain', flags = { 'no-writes' }, callback = explain }
