-- Reads a task's hash. One call reads everything that a transition needs. Absent counters are 0, and an absent limit
-- is the queue's present default.

-- Whether a hash with this state belongs to a task. A purged task leaves a tombstone, so that a new task with its id
-- continues its attempt numbers (retention.lua).
function sw.is_task(state)
    return state and state ~= 'purged'
end

-- Returns the task, or nil if there is none.
function sw.read(q, id)
    local v = call('HMGET', q.task_prefix .. id, 'state', 'attempt', 'worker', 'tag', 'retry_count',
        'max_retries', 'timeout_ms', 'started_at', 'assigned_at', 'deliveries', 'batch', 'held_by', 'lane', 'priority',
        'uses', 'deps_left', 'run_anyway', 'run_at', 'place', 'due_at', 'grace_ms', 'ending')
    local state = v[1]
    if not state or state == 'purged' then return nil end
    local task = {
        id = id, state = state, attempt = tonumber(v[2] or 0), worker = v[3] or '',
        tag = tonumber(v[4] or nil) or sw.tag_in_score(q, v[19], v[14]),
        retry_count = tonumber(v[5] or 0), max_retries = tonumber(v[6] or q.default_max_retries),
        timeout_ms = tonumber(v[7] or q.default_timeout_ms),
        started_at = v[8], assigned_at = v[9], deliveries = tonumber(v[10] or 0), batch = v[11], held_by = v[12],
        lane = v[13], priority = v[14], uses = v[15] or nil, deps_left = tonumber(v[16] or 0),
        run_anyway = v[17] == '1',
        run_at = tonumber(v[18] or nil), due_at = v[20], grace_ms = tonumber(v[21] or nil), ending = v[22] or nil,
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
    task.unique_key, task.unique_for_ms = v[1] or nil, v[2] or nil
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
        if wanted[name] then
            out[n + 1], out[n + 2] = name, fields[i + 1]
            n = n + 2
        end
        has_timeout = has_timeout or name == 'timeout_ms'
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
