-- Reading a task's hash. What a transition needs is read in one call; absent counters are 0, and a limit that was not
-- given is the queue's default of the day.

-- Answers the task, or nil when there is none.
function sw.read(q, id)
    local v = call('HMGET', q.prefix .. 'task:' .. id, 'state', 'attempt', 'worker', 'place', 'retry_count',
        'max_retries', 'timeout_ms', 'started_at', 'assigned_at', 'deliveries', 'batch', 'held_by', 'lane', 'priority',
        'uses', 'deps_left', 'run_anyway', 'run_at', 'broken')
    if not v[1] then return nil end
    local task = {
        id = id, state = v[1], attempt = tonumber(v[2] or 0), worker = v[3] or '', place = v[4],
        retry_count = tonumber(v[5] or 0), max_retries = tonumber(v[6] or q.default_max_retries),
        timeout_ms = tonumber(v[7] or q.default_timeout_ms),
        started_at = v[8], assigned_at = v[9], deliveries = tonumber(v[10] or 0), batch = v[11], held_by = v[12],
        lane = v[13], priority = v[14], uses = v[15] or nil, deps_left = tonumber(v[16] or 0), run_anyway = v[17] == '1',
        run_at = tonumber(v[18] or nil), broken = v[19] or nil,
    }
    if task.uses == '1' then sw.read_limits(q, task) end
    return task
end

-- The field `uses` of a task says that its end concerns more than itself: "1" if it has limits or a unique key,
-- "dependencies" if it only depends on others, or others on it.

-- Adds what a task has that uses limits or a unique key.
function sw.read_limits(q, task)
    local v = call('HMGET', q.prefix .. 'task:' .. task.id, 'concurrency_key', 'concurrency_limit', 'rate_key',
        'rate_per_second', 'rate_burst', 'rate_granted', 'unique_key', 'unique_for_ms')
    task.concurrency_key, task.concurrency_limit = v[1] or nil, v[2] or nil
    task.rate_key, task.rate_per_second, task.rate_burst = v[3] or nil, v[4] or nil, v[5] or nil
    task.rate_granted = v[6] or nil
    task.unique_key, task.unique_for_ms = v[7] or nil, v[8] or nil
end

-- What a worker is given to run a task, besides task, attempt, deadline_at and lease_ms.
sw.DEFINITION = {
    priority = true, timeout_ms = true, max_retries = true, retry_count = true, submitted_at = true,
    repo = true, target = true, args = true, mr = true, labels = true, command = true, env = true, cwd = true,
    payload = true, traceparent = true, batch = true, requires = true, cpu = true, memory_mb = true, resources = true,
    depends_on = true, affinity_key = true, fairness_key = true, concurrency_key = true, group_key = true, uses = true,
}

-- An assignment, as pairs: what a worker needs to run the attempt. `attempt` and `deadline_at` (nil while not started)
-- are texts; `fields` is the reply of HGETALL.
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

-- A lease in attempts:<worker>: its attempt, its deadline in ms (0: not started), a mark if its end concerns more than itself ("+"
-- if only perhaps tasks that depend on it), its batch after "@", its lane after a space.
function sw.lease_entry(attempt, deadline, uses, batch, lane)
    return attempt .. ':' .. deadline .. (uses == 'dependencies' and '+' or uses and '*' or '') .. (batch and '@' .. batch or '')
        .. (lane and ' ' .. lane or '')
end

-- What such an entry says: attempt and deadline as texts, whether it is marked, the lane and the batch (nil: none).
function sw.lease_of(entry)
    local attempt, deadline, mark, batch, lane = string.match(entry or '', '^(%d+):(%d+)([*+]?)@?([^ ]*) ?(.*)$')
    return attempt, deadline, mark ~= '', lane ~= '' and lane or nil, batch ~= '' and batch or nil
end

-- What the entries of attempts:<worker> say, for those of plain tasks that run: many are equal, for they have the same
-- attempt and the same deadline.
local attempts, batches, marks, count = {}, {}, {}, 0

-- The attempt, the batch ('': none), and the mark ('' or "+"), of a plain task's lease; or nil.
function sw.plain_lease(entry)
    local attempt = attempts[entry]
    if attempt then return attempt, batches[entry], marks[entry] end
    local batch, mark
    attempt, mark, batch = match(entry, '^(%d+):[1-9]%d*([*+]?)@?([^ ]*)')
    if not attempt or mark == '*' then return nil end
    if count == 1000 then attempts, batches, marks, count = {}, {}, {}, 0 end
    attempts[entry], batches[entry], marks[entry], count = attempt, batch, mark, count + 1
    return attempt, batch, mark
end

-- Whether other tasks wait for the end of this one.
function sw.has_dependents(q, id)
    return call('EXISTS', q.prefix .. 'dependents:' .. id) == 1
end

-- From now on the end of this live task concerns more than itself.
function sw.mark_lease(q, worker, id)
    local key = q.attempts_prefix .. worker
    local attempt, deadline, marked, lane, batch = sw.lease_of(call('HGET', key, id))
    if attempt and not marked then call('HSET', key, id, sw.lease_entry(attempt, deadline, 'dependencies', batch, lane)) end
end

-- Whether `worker` holds the live lease of `attempt`. Answers the task, or nil, an error reply and the task.
function sw.holds(q, worker, t)
    local task = sw.read(q, t.task)
    if not task then return nil, sw.not_found(t.task) end
    if not sw.LIVE[task.state] or task.attempt ~= t.attempt or task.worker ~= worker then
        return nil, sw.lease_lost(t.task, worker, t.attempt, task), task
    end
    return task
end
