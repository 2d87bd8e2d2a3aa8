-- switchyard_submit: adds tasks to the queue, all or none, and wakes workers for them.
--
-- Transition  none → pending (held_by schedule while delayed)
-- Keys        1: the queue's prefix
-- Arguments   of the call: batch (id: the tasks are followed as one), stage ("1": a part of a batch that
--             switchyard_open_batch will open), on_complete (a task that runs once when the batch has ended: a JSON list of
--             names and values), if_no_workers ("reject"), position ("1")
--             of each task: task (id), priority (critical|high|normal|low), priority_reason, timeout_ms,
--             max_retries, delay_ms, run_at (ms since 1970), request (a token: a submission that is repeated with
--             the same token, because its reply was lost, is answered like the first), and opaque bytes:
--             repo, target, args, mr, labels, command, env, cwd, payload, traceparent; what its worker must have:
--             requires (label, label=value, label=one|other, label!=value, separated by commas), cpu (cores),
--             memory_mb, resources (name=amount, …); when it may run: depends_on (ids, separated by commas),
--             run_anyway ("1": also if a dependency fails), concurrency_key with concurrency_limit, rate_key with
--             rate_per_second and rate_burst; in which order: fairness_key with fairness_weight, affinity_key,
--             group_key; and unique_key with unique_for_ms
-- Reply       for each task, in order: {id, state, "woken" or "queued", position in line from 0 or -1,
--             "new", "repeated" or "unique": then the id is that of the equal task that was there before}
-- Errors      BADREQUEST, TASKEXISTS, QUEUEFULL (names the limit), NOWORKERS; nothing is written, except that
--             QUEUEFULL is counted

-- The existing tasks among `tasks`: nil when there are none, an error reply, or the answers to a repetition.
local function existing(q, head, tasks)
    local keys = {}
    for i = 1, #tasks do
        local key = q.task_prefix .. tasks[i].task
        keys[i], tasks[i].key = key, key
    end
    if call('EXISTS', unpack(keys)) == 0 then return nil end
    local replies, found = {}, nil
    for i, t in ipairs(tasks) do
        local v = call('HMGET', keys[i], 'state', 'request')
        if not v[1] or not t.request or (v[2] or t.task) ~= t.request then
            found = v[1] and t.task or found
        else
            replies[#replies + 1] = { t.task, v[1], 'queued', -1, 'repeated' }
        end
    end
    if #replies == #tasks then return replies end
    if not found then found = replies[1][1] end
    return redis.error_reply('TASKEXISTS task ' .. found .. ' exists already in queue ' .. q.name)
end

-- An error reply when one of the tasks could not be run by any registered worker.
local function no_workers_for(q, tasks)
    if call('ZCOUNT', q.prefix .. 'workers', q.now_text, '+inf') == 0 then
        return redis.error_reply('NOWORKERS queue ' .. q.name .. ' has no live worker')
    end
    for _, t in ipairs(tasks) do
        if t.lane and not sw.is_served(q, t.lane) then
            return redis.error_reply('NOWORKERS queue ' .. q.name .. ' has no live worker for task ' .. t.task
                .. ', which needs ' .. t.lane)
        end
    end
end

-- A batch is new, or the next part of a staged one; its follow-up task is one that could be submitted. Answers an error
-- reply, or nil; leaves the follow-up in head.follow_up.
local function check_batch(q, head, tasks)
    if not head.batch then
        if head.stage or head.on_complete then return sw.bad('batch: missing') end
        return nil
    end
    local v = call('HMGET', q.prefix .. 'batch:' .. head.batch, 'submitted_at', 'staged')
    if v[1] and not (head.stage == '1' and v[2] == '1') then
        return redis.error_reply('TASKEXISTS batch ' .. head.batch .. ' exists already in queue ' .. q.name)
    end
    if not head.on_complete then return nil end
    local pairs_, problem = sw.check_template('on_complete', head.on_complete)
    if not pairs_ then return sw.bad(problem) end
    local ok, follow_ups = sw.read_tasks(q, pairs_)
    if not ok then return sw.bad('on_complete: ' .. string.gsub(follow_ups.err, '^BADREQUEST ', '')) end
    local t = follow_ups[1]
    if #follow_ups > 1 then return sw.bad('on_complete: expected one task, found ' .. #follow_ups) end
    if t.depends_on or t.unique_key then return sw.bad('on_complete: depends_on and unique_key cannot be used here') end
    head.follow_up = t
end

-- Finds the tasks whose unique_key is taken: t.same_as, t.same_state. Answers how many are really to be added.
local function find_unique(q, tasks)
    local taken, fresh = {}, #tasks
    for _, t in ipairs(tasks) do
        if t.unique_key then
            t.same_as, t.same_state = taken[t.unique_key], 'pending'
            if not t.same_as then t.same_as, t.same_state = sw.holder_of_key(q, t) end
            if t.same_as then fresh = fresh - 1 else taken[t.unique_key] = t.task end
        end
    end
    return fresh
end

local function submit(keys, args)
    local q, failure = sw.open(keys)
    if not q then return failure end
    if q.is_plain and q.draining == 0 and q.instance and q.is_compiled and #args % 2 == 0 then
        local reply = sw.submit_plain(q, args)
        if reply then return reply end
    end
    local head, tasks = sw.read_tasks(q, args)
    if not head then return tasks end
    local n, has_special = #tasks, head.has_special
    if n == 0 then return sw.bad('task: missing') end
    if head.batch and not sw.is_name(head.batch) then
        return sw.bad('batch: expected 1 to 200 characters of A-Z a-z 0-9 . _ : -, found ' .. sw.shown(head.batch))
    end

    local repeated = existing(q, head, tasks)
    if repeated then return repeated end
    local refused
    if head.batch or head.stage or head.on_complete then
        refused = check_batch(q, head, tasks)
        if refused then return refused end
    end
    if q.draining == 1 then
        return redis.error_reply('QUEUEFULL queue ' .. q.name .. ' is draining: it takes no new tasks')
    end
    local fresh = n
    if has_special then
        fresh = find_unique(q, tasks)
        local wrong = sw.check_dependencies(q, tasks)
        if wrong then return sw.bad(wrong) end
    end
    if head.if_no_workers == 'reject' then
        refused = no_workers_for(q, tasks)
        if refused then return refused end
    end
    local length = sw.length(q)
    if length + fresh > q.max_queue_length and fresh > 0 then
        call('HINCRBY', q.stats_key, 'queue_full_errors', 1)
        return redis.error_reply('QUEUEFULL queue ' .. q.name .. ' holds ' .. length .. ' tasks; with ' .. fresh
            .. ' more it would exceed its limit of ' .. sw.digits(q.max_queue_length))
    end

    if has_special then
        for _, t in ipairs(tasks) do sw.ensure_uses(q, t) end
    end
    local c = sw.changes(q)
    local ready, added = 0, {}
    for i = 1, n do
        local t = tasks[i]
        if not t.same_as then
            added[#added + 1] = t.task
            if sw.plan_task(c, t, i, head.batch, head.stage == '1') then
                ready = ready + 1
                t.ready = ready
            end
        end
    end
    local woken = sw.plan_wake_for_added(c)
    if not q.instance or not q.is_compiled then sw.ensure_instance(q) end
    if head.batch then sw.write_batch(q, head, added) end
    sw.commit(c)
    if head.batch and #added == 0 and head.stage ~= '1' then sw.start_follow_up(q, head.batch) end

    local replies = {}
    for i = 1, n do
        local t = tasks[i]
        local rank = t.ready
        local position = rank and head.position == '1' and call('ZRANK', q.prefix .. sw.line_of(t.lane), t.task) or -1
        if has_special and t.same_as then
            replies[i] = sw.answer(i, t.same_as, t.same_state, 'queued', -1, 'unique')
        else
            replies[i] = sw.answer(i, t.task, has_special and t.broken and 'cancelled' or 'pending',
                rank and rank <= woken and 'woken' or 'queued', position, 'new')
        end
    end
    return replies
end

redis.register_function{ function_name = 'switchyard_submit', callback = submit }
