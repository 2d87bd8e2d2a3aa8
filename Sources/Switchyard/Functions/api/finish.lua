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
    local v = redis.call('HMGET', q.prefix .. 'task:' .. t.task, 'attempt:' .. t.attempt, 'outcome')
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

-- The tasks that a look at attempts:<worker> is enough for: they complete, and their end concerns nothing else. By id.
local function plain_ends(q, worker, tasks)
    local ids, plain = {}, {}
    for i, t in ipairs(tasks) do ids[i] = t.task end
    local held = redis.call('HMGET', q.prefix .. 'attempts:' .. worker, unpack(ids))
    for i, t in ipairs(tasks) do
        local attempt, deadline, concerns_more, lane = sw.lease_of(held[i])
        if t.outcome == 'completed' and deadline and deadline ~= '0' and not concerns_more
            and tonumber(attempt) == t.attempt then
            plain[t.task] = { id = t.task, state = 'running', attempt = t.attempt, worker = worker, lane = lane }
        end
    end
    return plain
end

local function finish(keys, args)
    local q, failure = sw.open(keys)
    if not q then return failure end
    local head, tasks = sw.parse(args)
    if not head then return tasks end
    local worker, bad = sw.worker_of(head)
    head.max = head.pull
    bad = bad or sw.check_attempts(tasks) or sw.check_pull(head)
    if bad then return bad end
    for _, t in ipairs(tasks) do
        local problem = check(t)
        if problem then return sw.bad(problem) end
    end

    local c = sw.changes(q)
    local replies, ended = {}, 0
    local plain = plain_ends(q, worker, tasks)
    for i, t in ipairs(tasks) do
        local task, refused, found = plain[t.task], nil, nil
        if not task then task, refused, found = sw.holds(q, worker, t) end
        if not task then
            replies[i] = found and answer_again(q, worker, t, found, refused) or refused
        elseif task.state == 'assigned' then
            replies[i] = sw.invalid_state(t.task, 'assigned', 'finished before it is started')
        else
            c.ending_now[t.task] = true
            ended = ended + 1
            if t.outcome == 'completed' then
                replies[i] = complete(c, task, t)
            else
                replies[i] = sw.end_attempt(c, task, t.outcome, t)
            end
        end
    end
    if sw.has_follow_ups(c) then
        -- What the ends let run is put in line before this worker looks there.
        sw.commit(c)
        c, ended = sw.changes(q), 0
    end
    local assignments = {}
    if head.pull and head.pull ~= '0' then
        local plan, refused = sw.plan_pull(c, worker, head, ended)
        assignments = plan and plan.assignments or refused
    end
    sw.commit(c)
    return { replies, assignments }
end

redis.register_function{ function_name = 'switchyard_finish', flags = { 'allow-oom' }, callback = finish }
