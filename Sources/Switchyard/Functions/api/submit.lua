-- switchyard_submit: adds tasks to the queue, all or none, and wakes workers for them.
--
-- Transition  none → pending (held_by schedule while delayed)
-- Keys        1: the queue's prefix
-- Arguments   of the call: batch (id: the tasks are followed as one), if_no_workers ("reject"), position ("1")
--             of each task: task (id), priority (critical|high|normal|low), priority_reason, timeout_ms,
--             max_retries, delay_ms, run_at (ms since 1970), request (a token: a submission that is repeated with
--             the same token, because its reply was lost, is answered like the first), and opaque bytes:
--             repo, target, args, mr, labels, command, env, cwd, payload, traceparent; what its worker must have:
--             requires (label, label=value, label=one|other, label!=value, separated by commas), cpu (cores),
--             memory_mb, resources (name=amount, …)
-- Reply       for each task, in order: {id, state, "woken" or "queued", position in line from 0 or -1,
--             "new" or "repeated"}
-- Errors      BADREQUEST, TASKEXISTS, QUEUEFULL (names the limit), NOWORKERS; nothing is written, except that
--             QUEUEFULL is counted

-- Stored as they are.
local OPAQUE = { repo = true, target = true, args = true, mr = true, labels = true, command = true, env = true,
    cwd = true, payload = true, traceparent = true, priority_reason = true, request = true,
    requires = true, cpu = true, memory_mb = true, resources = true }

local INTEGERS = { timeout_ms = { 1, 2592000000 }, max_retries = { 0, 100 }, delay_ms = { 0, 31536000000 },
    run_at = { 0, 99999999999999 } }

-- Answers what is wrong with the task, or nil.
local function problem_of(t)
    if t.priority and not sw.LEVEL[t.priority] then
        return 'priority: expected critical, high, normal or low, found ' .. sw.shown(t.priority)
    end
    local bytes = 0
    for name, value in pairs(t) do
        local range = INTEGERS[name]
        if range then
            local problem = sw.check_integer(name, value, range[1], range[2])
            if problem then return problem end
        elseif OPAQUE[name] then
            bytes = bytes + #value
        end
    end
    if bytes > sw.MAX_VALUE_BYTES then
        return 'a task holds at most ' .. sw.MAX_VALUE_BYTES .. ' bytes, found ' .. bytes
    end
end

-- The existing tasks among `tasks`: nil when there are none, an error reply, or the answers to a repetition.
local function existing(q, head, tasks)
    local keys = {}
    for i, t in ipairs(tasks) do keys[i] = q.prefix .. 'task:' .. t.task end
    if redis.call('EXISTS', unpack(keys)) == 0 then return nil end
    local replies, found = {}, nil
    for i, t in ipairs(tasks) do
        local v = redis.call('HMGET', keys[i], 'state', 'request')
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
    if redis.call('ZCOUNT', q.prefix .. 'workers', q.now_text, '+inf') == 0 then
        return redis.error_reply('NOWORKERS queue ' .. q.name .. ' has no live worker')
    end
    for _, t in ipairs(tasks) do
        if t.lane and not sw.is_served(q, t.lane) then
            return redis.error_reply('NOWORKERS queue ' .. q.name .. ' has no live worker for task ' .. t.task
                .. ', which needs ' .. t.lane)
        end
    end
end

-- The hash of a new task, as pairs.
local function fields_of(q, t, place, batch)
    local fields = { 'priority', t.priority, 'place', place, 'submitted_at', q.now_text,
        'timeout_ms', t.timeout_ms or sw.digits(q.default_timeout_ms),
        'max_retries', t.max_retries or sw.digits(q.default_max_retries) }
    for name, value in pairs(t) do
        -- A token equal to the id is what a generated id needs, and is not worth its bytes.
        if OPAQUE[name] and not (name == 'request' and value == t.task) then
            fields[#fields + 1] = name
            fields[#fields + 1] = value
        end
    end
    if t.lane then
        fields[#fields + 1] = 'lane'
        fields[#fields + 1] = t.lane
    end
    if batch then
        fields[#fields + 1] = 'batch'
        fields[#fields + 1] = batch
    end
    return fields
end

local function submit(keys, args)
    local q, failure = sw.open(keys, { 'max_queue_length', 'default_timeout_ms', 'default_max_retries' })
    if not q then return failure end
    local head, tasks = sw.parse(args)
    if not head then return tasks end
    if #tasks == 0 then return sw.bad('task: missing') end
    if head.batch and not sw.is_name(head.batch) then
        return sw.bad('batch: expected 1 to 200 characters of A-Z a-z 0-9 . _ : -, found ' .. sw.shown(head.batch))
    end
    local has_lanes = false
    for _, t in ipairs(tasks) do
        local problem = problem_of(t)
        if not problem then
            t.lane, problem = sw.lane_of(t)
        end
        if problem then return sw.bad('task ' .. t.task .. ': ' .. problem) end
        if t.lane == '' then t.lane = nil end
        has_lanes = has_lanes or t.lane ~= nil
    end

    local repeated = existing(q, head, tasks)
    if repeated then return repeated end
    if head.batch and redis.call('EXISTS', q.prefix .. 'batch:' .. head.batch) == 1 then
        return redis.error_reply('TASKEXISTS batch ' .. head.batch .. ' exists already in queue ' .. q.name)
    end
    if head.if_no_workers == 'reject' then
        local refused = no_workers_for(q, tasks)
        if refused then return refused end
    end
    local length = redis.call('ZCARD', q.prefix .. 'pending') + redis.call('ZCARD', q.prefix .. 'held')
        + sw.in_lanes(q)
    if length + #tasks > q.max_queue_length then
        redis.call('HINCRBY', q.prefix .. 'stats', 'queue_full_errors', 1)
        return redis.error_reply('QUEUEFULL queue ' .. q.name .. ' holds ' .. length .. ' tasks; with ' .. #tasks
            .. ' more it would exceed its limit of ' .. sw.digits(q.max_queue_length))
    end

    if has_lanes then sw.ensure_lanes(q) end
    local c = sw.changes(q)
    local ready = 0
    for i, t in ipairs(tasks) do
        t.priority = t.priority or 'normal'
        local place = sw.place(q, t.priority, i - 1)
        local due = math.max(t.run_at and tonumber(t.run_at) or 0, t.delay_ms and q.now + tonumber(t.delay_ms) or 0)
        local fields = fields_of(q, t, place, head.batch)
        local new = { id = t.task, batch = head.batch, lane = t.lane, priority = t.priority }
        if due > q.now then
            fields[#fields + 1] = 'run_at'
            fields[#fields + 1] = sw.digits(due)
            sw.move(c, new, 'pending', sw.digits(due), fields, { held_by = 'schedule' })
        else
            ready = ready + 1
            t.ready = ready
            sw.move(c, new, 'pending', place, fields)
        end
    end
    local woken = sw.plan_wake_for_added(c)
    sw.ensure_instance(q)
    if head.batch then
        redis.call('HSET', q.prefix .. 'batch:' .. head.batch, 'total', #tasks, 'submitted_at', q.now_text)
    end
    sw.commit(c)

    local replies = {}
    for i, t in ipairs(tasks) do
        local position = t.ready and head.position == '1' and redis.call('ZRANK', q.prefix .. sw.line_of(t.lane), t.task) or -1
        replies[i] = { t.task, 'pending', t.ready and t.ready <= woken and 'woken' or 'queued', position, 'new' }
    end
    return replies
end

redis.register_function{ function_name = 'switchyard_submit', callback = submit }
