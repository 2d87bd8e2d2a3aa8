-- switchyard_finish: a worker reports how attempts ended, and may pull the next in the same call.
--
-- Transition  running → completed | failed | timeout, or → pending for a retry
-- Keys        1: the queue's prefix
-- Arguments   worker (id); pull (0 to 100: how many tasks it wants next), start, holding: as in switchyard_pull;
--             of each task: task (id), attempt, outcome (completed|failed|timeout), result (opaque), error_code,
--             error_message, exit_code (an integer), retryable ("0": no retry)
-- Reply       two lists. 1: for each task, in order: its new state (pending: it will be retried), or an error.
--             2: assignments as in switchyard_pull, or an error. Repeating a report is answered like the first.
-- Errors      BADREQUEST (the whole call); for each task: TASKNOTFOUND, LEASELOST, INVALIDSTATE (never started);
--             for the pull: WORKERNOTFOUND

local function check(t)
    if t.outcome ~= 'completed' and t.outcome ~= 'failed' and t.outcome ~= 'timeout' then
        return 'outcome of task ' .. t.task .. ': expected completed, failed or timeout, found '
            .. sw.shown(t.outcome or '')
    end
    if t.exit_code and not string.find(t.exit_code, '^-?%d%d?%d?%d?%d?$') then
        return 'exit_code of task ' .. t.task .. ': expected an integer, found ' .. sw.shown(t.exit_code)
    end
    local bytes = #(t.result or '') + #(t.error_message or '') + #(t.error_code or '')
    if bytes > sw.MAX_VALUE_BYTES then
        return 'result of task ' .. t.task .. ': at most ' .. sw.MAX_VALUE_BYTES .. ' bytes, found ' .. bytes
    end
end

-- The answer to a report whose attempt is over: the same again when it is the very report that ended it.
local function answer_again(q, worker, t, task, refused)
    local v = call('HMGET', q.prefix .. 'task:' .. t.task, 'attempt:' .. t.attempt, 'outcome')
    if v[1] then
        local record = cjson.decode(v[1])
        if record.worker == worker and record.outcome == t.outcome then return 'pending' end
    elseif sw.TERMINAL[task.state] and task.attempt == t.attempt and task.worker == worker
        and (v[2] or task.state) == t.outcome then
        return task.state
    end
    return refused
end

local function complete(c, task, t)
    local fields = { 'finished_at', c.q.now_text }
    if t.result then
        fields[3] = 'result'
        fields[4] = t.result
    end
    if t.exit_code then
        fields[#fields + 1] = 'exit_code'
        fields[#fields + 1] = t.exit_code
    end
    sw.move(c, task, 'completed', c.q.now_text, fields)
    return 'completed'
end

-- Ends an attempt that needs a look at its task. Answers the reply for it, and whether it ended one.
local function finish_one(c, worker, t)
    local q = c.q
    local task, refused, found = sw.holds(q, worker, t)
    if not task then return found and answer_again(q, worker, t, found, refused) or refused, false end
    if task.state == 'assigned' then
        return sw.invalid_state(t.task, 'assigned', 'finished before it is started'), false
    end
    c.ending_now[t.task] = true
    if t.outcome == 'completed' then return complete(c, task, t), true end
    return sw.end_attempt(c, task, t.outcome, t), true
end

-- What the worker's leases say of the tasks, after its @state.
local function look(q, worker, tasks)
    local key = q.attempts_prefix .. worker
    if #tasks == 1 then return call('HMGET', key, '@state', tasks[1].task) end
    local names = { '@state' }
    for i, t in ipairs(tasks) do names[i + 1] = t.task end
    return call('HMGET', key, unpack(names))
end

-- One plain task completes, and its worker takes the next, plain too: what a busy worker without batches calls for each task.
-- The same changes as below without their tables, which cost more than the commands. Answers nil, having written nothing,
-- when anything is not as plain as that; and then what it has read of the leases, if it came so far.
local function finish_one_plain(q, args)
    local worker, pull, start, holding, id, attempt, outcome, result
    for i = 1, #args, 2 do
        local name, value = args[i], args[i + 1]
        if name == 'task' then
            if id then return nil end
            id = value
        elseif name == 'attempt' then attempt = value
        elseif name == 'outcome' then outcome = value
        elseif name == 'result' then result = value
        elseif name == 'worker' then worker = value
        elseif name == 'pull' then pull = value
        elseif name == 'start' then start = value
        elseif name == 'holding' then holding = sw.COUNTS[value] or 0
        elseif name ~= 'together' or value ~= '0' then return nil
        end
    end
    if outcome ~= 'completed' or pull ~= '1' or start ~= '1' or not id or not worker
        or result and #result > sw.MAX_VALUE_BYTES then
        return nil
    end
    local attempts_key = q.attempts_prefix .. worker
    local held = call('HMGET', attempts_key, '@state', id)
    local state, entry = held[1], held[2]
    if not state or not entry then return nil, held end
    local live, batch, mark = sw.plain_lease(entry)
    if live ~= attempt or mark == '+' and sw.has_dependents(q, id) then return nil, held end
    local w = sw.worker_state(state)
    local used = call('HLEN', attempts_key) - 3
    if w.draining == 1 or w.unstarted > 0 or w.asleep == 1 or used >= w.slots or holding and used > holding then
        return nil, held
    end
    local next_id = call('ZRANGE', q.pending_key, 0, 0)[1]
    if not next_id then return nil, held end
    local task_key = q.task_prefix .. next_id
    local fields = call('HGETALL', task_key)
    local deadline, lease, in_batch, _, _, uses = sw.assign_plain(q, next_id, fields)
    if not deadline then return nil, held end

    local now = q.now_text
    call('ZREM', q.leases_key, id)
    call('ZADD', q.finished_key, now, id)
    call('ZREM', q.pending_key, next_id)
    call('ZADD', q.leases_key, lease, next_id)
    call('HDEL', attempts_key, id)
    call('HSET', attempts_key, next_id, sw.lease_entry('1', deadline, uses, in_batch), '@last', sw.now_us_text(q))
    if result then
        call('HSET', q.task_prefix .. id, 'state', 'completed', 'finished_at', now, 'result', result)
    else
        call('HSET', q.task_prefix .. id, 'state', 'completed', 'finished_at', now)
    end
    call('HSET', task_key, 'state', 'running', 'attempt', '1', 'worker', worker, 'started_at', now)
    call('HINCRBY', q.stats_key, 'completed', 1)
    call('PUBLISH', q.results_key, id .. ' completed ' .. attempt)
    call('PUBLISH', q.events_key, next_id .. ' running 1')
    if batch ~= '' or in_batch then
        local c = sw.changes(q)
        if batch ~= '' then sw.count_in_batch(c, batch, 'running', 'completed') end
        if in_batch then sw.count_in_batch(c, in_batch, 'pending', 'running') end
        sw.commit(c)
    end
    return { { 'completed' }, { fields } }
end

local function finish(keys, args)
    local q, failure = sw.open(keys)
    if not q then return failure end
    local held
    if q.is_plain and not q.has_lanes and not q.paused and not q.has_affinity and #args <= 16 and #args % 2 == 0 then
        local reply
        reply, held = finish_one_plain(q, args)
        if reply then return reply end
    end
    local head, tasks = sw.parse(args, true)
    if not head then return tasks end
    local worker, n = head.worker, #tasks
    if n == 0 then return sw.bad('task: missing') end
    if not worker then return sw.bad('worker: missing') end
    local pull = head.pull
    head.max = pull
    local bad = sw.check_pull(head)
    if bad then return bad end
    held = held or look(q, worker, tasks)
    if not held[1] and not sw.is_name(worker) then return sw.bad_worker(worker) end

    -- Everything is checked before anything ends: finish_one notes ends of which the next may depend.
    local others, plain = false, {}
    for i = 1, n do
        local t, entry = tasks[i], held[i + 1]
        -- A lease that agrees with the report is enough to see that a plain task completes, whose end concerns nothing else.
        local attempt, batch, mark
        if entry then attempt, batch, mark = sw.plain_lease(entry) end
        if attempt and attempt == t.attempt and t.outcome == 'completed'
            and not (mark == '+' and sw.has_dependents(q, t.task)) then
            plain[i] = batch
        else
            plain[i] = false
            others = true
            bad = sw.check_id(t.task) or sw.check_attempt(t)
            if bad then return bad end
        end
        if not plain[i] or t.exit_code or t.result and #t.result > 1024 then
            local problem = check(t)
            if problem then return sw.bad(problem) end
        end
    end

    local c = sw.changes(q)
    local replies, ended = {}, 0
    for i = 1, n do
        local t, did_end = tasks[i], true
        local batch = plain[i]
        if batch then
            sw.complete_plain(c, worker, t.task, t.attempt, t.result, t.exit_code, batch ~= '' and batch)
            replies[i] = 'completed'
        else
            replies[i], did_end = finish_one(c, worker, t)
        end
        if did_end then ended = ended + 1 end
    end
    if others and sw.has_follow_ups(c) then
        -- What the ends let run is put in line before this worker looks there.
        sw.commit(c)
        c, ended = sw.changes(q), 0
    end
    local assignments
    if pull and head.max > 0 then
        local plan, refused = sw.plan_pull(c, worker, held[1], head, ended)
        assignments = plan and plan.assignments or refused
    end
    sw.commit(c)
    return { replies, assignments or {} }
end

redis.register_function{ function_name = 'switchyard_finish', flags = { 'allow-oom' }, callback = finish }
