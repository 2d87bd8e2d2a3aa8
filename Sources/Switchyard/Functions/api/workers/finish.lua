-- switchyard_finish: a worker reports how attempts ended, and may pull the next tasks in the same call.
--
-- Transition  running → completed | failed | timeout, or → pending for a retry
-- Keys        1: the queue's prefix, 2: its config
-- Arguments   worker (id); nonce (of its process); pull (0 to 100: how many tasks it wants next), start, holding,
--             together, max_bytes: as in switchyard_pull;
--             of each task: task (id), attempt, outcome (completed|failed|timeout; ended: the process of an attempt
--             that was told to end is gone), result (opaque), error_code, error_message, exit_code (an integer),
--             retryable ("0": no retry), retry_after_ms (the delay before the retry, in place of the queue's backoff: 0
--             to 30 days)
-- Reply       two lists. 1: for each task, in order: its new state (pending: it will be retried; "ended": the attempt
--             occupies nothing any more), or an error. 2: assignments as in switchyard_pull, or an error. A repeated
--             report gets the same reply.
-- Errors      BADREQUEST, WORKERNOTFOUND by the nonce (the whole call); for each task: TASKNOTFOUND, LEASELOST,
--             INVALIDSTATE (never started; ended, and was not told to end); for the pull: WORKERNOTFOUND

local function check(t)
    if t.outcome ~= 'completed' and t.outcome ~= 'failed' and t.outcome ~= 'timeout' and t.outcome ~= 'ended' then
        return 'outcome of task ' .. t.task .. ': expected completed, failed, timeout or ended, found '
            .. sw.shown(t.outcome or '')
    end
    if t.exit_code and not find(t.exit_code, '^-?%d%d?%d?%d?%d?$') then
        return 'exit_code of task ' .. t.task .. ': expected an integer of up to five digits, found '
            .. sw.shown(t.exit_code)
    end
    local problem = t.retry_after_ms and sw.check_integer('retry_after_ms', t.retry_after_ms, 0, 2592000000)
    if problem then return problem end
    local bytes = #(t.result or '') + #(t.error_message or '') + #(t.error_code or '')
    if bytes > sw.MAX_VALUE_BYTES then
        return 'result of task ' .. t.task .. ': at most ' .. sw.MAX_VALUE_BYTES .. ' bytes, found ' .. bytes
    end
end

-- Returns the reply to a report whose attempt is over: the same reply again if this is the report that ended it.
local function reply_again(q, worker, t, task, refused)
    local v = call('HMGET', q.task_prefix .. t.task, 'attempt:' .. t.attempt, 'outcome')
    if v[1] then
        local ok, record = pcall(cjson.decode, v[1])
        local is_record = ok and type(record) == 'table'
        if is_record and record.worker == worker and record.outcome == t.outcome then return 'pending' end
    elseif sw.TERMINAL[task.state] and task.attempt == t.attempt and task.worker == worker
        and (v[2] or task.state) == t.outcome then
        return task.state
    end
    return refused
end

-- Ends an attempt whose task must be read. Returns the reply for it.
local function finish_one(c, worker, t)
    local q = c.q
    local task, refused, found = sw.holds(q, worker, t)
    if not task then
        -- Whatever the report says, the process is gone.
        sw.end_ending(c, t.task, worker, t.attempt)
        if t.outcome == 'ended' then return 'ended' end
        return found and reply_again(q, worker, t, found, refused) or refused
    end
    if t.outcome == 'ended' then
        return sw.invalid_state(t.task, task.state, 'reported as ended: it was not told to end')
    end
    if task.state == 'assigned' then return sw.invalid_state(t.task, 'assigned', 'finished before it is started') end
    if t.outcome == 'completed' then
        local fields = { 'finished_at', q.now_text }
        if t.result then fields[3], fields[4] = 'result', t.result end
        if t.exit_code then fields[#fields + 1], fields[#fields + 2] = 'exit_code', t.exit_code end
        sw.move(c, task, 'completed', fields)
        return 'completed'
    end
    return sw.end_attempt(c, task, t.outcome, t)
end

-- Returns the worker's @state and its leases of the tasks.
local function look(q, worker, tasks)
    local key = q.attempts_prefix .. worker
    if #tasks == 1 then return call('HMGET', key, '@state', tasks[1].task) end
    local names = { '@state' }
    for i = 1, #tasks do names[i + 1] = tasks[i].task end
    return call('HMGET', key, unpack(names))
end

-- For each report: whether the lease shows that the task completes and that this concerns nothing else (`alone`),
-- and the batch and the lane of the task (or false). All calls share these lists.
local alone, batches, lanes = {}, {}, {}

local function finish(keys, args)
    local q, failure = sw.enter(keys)
    if not q then return failure end
    local held
    if FAST and q.is_strict and not q.paused and not q.has_affinity and #args <= 22 and #args % 2 == 0 then
        local reply
        reply, held = sw.finish_one(q, args)
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
    local state, refused = sw.registered(worker, held[1], head.nonce)
    if not state and held[1] then return refused end

    -- All reports are checked before an attempt ends.
    local has_others = false
    for i = 1, n do
        local t = tasks[i]
        local attempt, deadline, mark, batch, lane = sw.lease_of(held[i + 1])
        local is_alone = attempt and attempt == t.attempt and deadline ~= '0' and t.outcome == 'completed'
            and (mark == '' or mark == '+' and not sw.has_dependents(q, t.task))
        alone[i], batches[i], lanes[i] = is_alone, batch, lane
        if not is_alone then
            has_others = true
            bad = sw.check_id(t.task) or sw.check_attempt(t)
            if bad then return bad end
        end
        local code, result = t.exit_code, t.result
        if not is_alone or code and not sw.COUNTS[code] or result and #result > 1024 then
            local problem = check(t)
            if problem then return sw.bad(problem) end
        end
    end

    local c = sw.changes(q)
    local replies = {}
    for i = 1, n do
        local t = tasks[i]
        if alone[i] then
            sw.complete(c, worker, t.task, t.attempt, t.result, t.exit_code, batches[i], lanes[i])
            replies[i] = 'completed'
        else
            replies[i] = finish_one(c, worker, t)
        end
    end
    local assignments
    if not (pull and head.max > 0) and state and state.asleep == 1 and state.class ~= '' then
        -- The worker sleeps in the pool of the room that it had before these ends.
        c.lost_lease[worker] = true
    end
    if pull and head.max > 0 then
        if state then
            if has_others or sw.has(c, 'freed') then
                -- Tasks that these ends release enter their lines before this worker pulls.
                sw.commit(c)
                c = sw.mark_vanished(c, tasks, replies)
            end
            assignments = sw.plan_pull(c, worker, state, head).assignments
        else
            assignments = refused
        end
    end
    sw.commit(c)
    sw.mark_vanished(c, tasks, replies)
    return { replies, assignments or {} }
end

-- If the hash of a task was gone when it was written, replaces the reply to its report by an error. Returns an empty
-- change-set.
function sw.mark_vanished(c, tasks, replies)
    if sw.has(c, 'vanished') then
        for i, t in ipairs(tasks) do
            if c.vanished[t.task] then replies[i] = sw.not_found(t.task) end
        end
    end
    return sw.changes(c.q)
end

redis.register_function{ function_name = 'switchyard_finish', flags = { 'allow-oom' }, callback = finish }
