-- Reads a task's hash. One call reads everything that a transition needs. Absent counters are 0, and an absent limit
-- is the queue's present default.

-- Whether a hash with this state belongs to a task. A purged task leaves a tombstone, so that a new task with its id
-- continues its attempt numbers (retention.lua).
function sw.is_task(state)
    return state and state ~= 'purged'
end

-- Whether a text is one of the states of a task.
function sw.is_state(text)
    return sw.MAY[text] ~= nil and text ~= 'none'
end

-- Returns the state of a task whose hash has none of the states, because something else has written to it: the state
-- whose index contains the task. Returns nil if no index does.
function sw.state_by_index(q, id, held_by, lane)
    if call('ZSCORE', q.leases_key, id) then
        local _, deadline = sw.lease_of(call('HGET', q.attempts_prefix .. (call('HGET', q.task_prefix .. id, 'worker')
            or ''), id) or nil)
        return deadline == '0' and 'assigned' or 'running'
    end
    if call('ZSCORE', q.finished_key, id) then
        for _, state in ipairs({ 'failed', 'timeout', 'cancelled' }) do
            if call('ZSCORE', q.prefix .. 'finished:' .. state, id) then return state end
        end
        return 'completed'
    end
    return call('ZSCORE', q.prefix .. sw.index_of('pending', held_by, lane), id) and 'pending' or nil
end

-- Returns the task, or nil if there is none. A field whose value is damaged counts as absent, and a damaged state as
-- the state whose index contains the task.
function sw.read(q, id)
    local v = call('HMGET', q.task_prefix .. id, 'state', 'attempt', 'worker', 'tag', 'retry_count',
        'max_retries', 'timeout_ms', 'started_at', 'assigned_at', 'deliveries', 'batch', 'held_by', 'lane', 'priority',
        'uses', 'deps_left', 'run_anyway', 'run_at', 'place', 'due_at', 'grace_ms', 'ending')
    local state = v[1]
    if not state or state == 'purged' then return nil end
    if not sw.is_state(state) then state = sw.state_by_index(q, id, v[12], v[13]) or 'pending' end
    local priority = sw.LEVEL[v[14]] and v[14] or 'normal'
    local task = {
        id = id, state = state, attempt = sw.attempt_in(q, v[2]), worker = v[3] or '',
        tag = sw.tag_in(v[4]) or sw.tag_in_score(q, v[19], priority),
        retry_count = sw.whole(v[5], 0), max_retries = sw.whole(v[6], q.default_max_retries),
        timeout_ms = sw.whole(v[7], q.default_timeout_ms),
        started_at = sw.whole(v[8]) and v[8], assigned_at = sw.whole(v[9]) and v[9], deliveries = sw.whole(v[10], 0),
        batch = v[11], held_by = v[12], lane = v[13], priority = priority, uses = v[15] or nil,
        deps_left = sw.whole(v[16], 0), run_anyway = v[17] == '1', run_at = sw.whole(v[18]), due_at = v[20],
        grace_ms = sw.whole(v[21]), ending = v[22] or nil,
    }
    if task.uses == '1' then sw.read_unique(q, task) end
    return task
end

-- A task's field `uses` says that its end concerns other tasks or keys: "1" if it has a unique key, "dependencies" if
-- it depends on tasks or tasks depend on it. Libraries before version 5 also wrote "1" for limits.

-- Adds the unique key of a task with uses "1". If a library before version 5 wrote the task and it has limits, also
-- sets the lane that its limits now select.
function sw.read_unique(q, task)
    local v = call('HMGET', q.task_prefix .. task.id, 'unique_key', 'unique_for_ms', 'concurrency_key', 'rate_key')
    task.unique_key = v[1] or nil
    task.unique_for_ms = v[2] and sw.is_short_number(v[2]) and v[2] or nil
    if (v[3] or v[4]) and not sw.has_gates(task.lane) then
        local names = { 'requires', 'cpu', 'memory_mb', 'resources', 'concurrency_key', 'concurrency_limit', 'rate_key',
            'rate_per_second', 'rate_burst' }
        local values, fields = call('HMGET', q.task_prefix .. task.id, unpack(names)), {}
        for i, name in ipairs(names) do fields[name] = values[i] or nil end
        local lane = sw.lane_of(fields)
        if lane then task.old_lane, task.new_lane = task.lane, lane end
    end
end

-- The fields that a worker receives to run a task, besides task, attempt and deadline_at.
sw.DEFINITION = {
    priority = true, timeout_ms = true, max_retries = true, retry_count = true, submitted_at = true,
    repo = true, target = true, args = true, mr = true, labels = true, command = true, env = true, cwd = true,
    payload = true, traceparent = true, kind = true, batch = true, requires = true, cpu = true, memory_mb = true,
    resources = true, depends_on = true, affinity_key = true, fairness_key = true, concurrency_key = true,
    group_key = true, grace_ms = true,
    uses = true,
}

-- Returns an assignment, as pairs: what a worker needs to run the attempt. `attempt` and `deadline_at` (nil if not
-- started) are texts; `fields` is the reply of HGETALL.
function sw.assignment(q, id, attempt, deadline_at, fields)
    local out = { 'task', id, 'attempt', attempt }
    local n, has_timeout, wanted = 4, false, sw.DEFINITION
    if deadline_at then
        out[5], out[6] = 'deadline_at', deadline_at
        n = 6
    end
    sw.join_payload(fields)
    for i = 1, #fields, 2 do
        local name = fields[i]
        local value = fields[i + 1]
        if wanted[name] then
            if name == 'timeout_ms' then
                has_timeout = true
                if not sw.is_short_number(value) then value = q.default_timeout_text end
            end
            out[n + 1], out[n + 2] = name, value
            n = n + 2
        end
    end
    if not has_timeout then out[n + 1], out[n + 2] = 'timeout_ms', q.default_timeout_text end
    return out
end

-- Returns the total bytes of a list of strings.
function sw.bytes_of(list)
    local bytes = 0
    for i = 1, #list do bytes = bytes + #list[i] end
    return bytes
end

-- Checks that `worker` has the lease of this attempt. Returns the task; or nil, an error reply, and the task if it
-- exists.
function sw.holds(q, worker, t)
    local task = sw.read(q, t.task)
    if not task then return nil, sw.not_found(t.task) end
    if not sw.LIVE[task.state] or task.attempt ~= t.attempt or task.worker ~= worker then
        return nil, sw.lease_lost(t.task, worker, t.attempt, task), task
    end
    return task
end
