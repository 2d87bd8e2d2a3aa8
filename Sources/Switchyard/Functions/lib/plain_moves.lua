-- The moves of plain tasks that most calls make: from the line to a worker, and from there to the end. They are noted in short
-- lists of the change-set (changes.lua), and written one command for each index.

-- A plain task starts, and leaves the line of its lane.
local function leave_lane(c, id, lane, priority)
    local lines = c.left_lanes
    if not lines then
        lines = {}
        c.left_lanes, c.left_by_priority = lines, {}
    end
    local ids = lines[lane]
    if not ids then
        ids = {}
        lines[lane] = ids
    end
    ids[#ids + 1] = id
    sw.count(c.left_by_priority, priority, -1)
end

-- `worker` pulls and starts a plain task that stands in line (in that of `lane`, if it is given), its first attempt: `lease` and
-- `deadline` are texts in ms.
function sw.start_plain(c, worker, id, lease, deadline, batch, lane, priority, uses)
    local n = c.n_started
    local at = n * 2
    local leases, entries = c.leases, c.entries
    c.started[n + 1], leases[at + 1], leases[at + 2] = id, lease, id
    local entry = '1:' .. deadline
    if uses or batch or lane then entry = sw.lease_entry('1', deadline, uses, batch, lane) end
    if lane then
        leave_lane(c, id, lane, priority)
    else
        local k = c.n_left + 1
        c.left[k], c.n_left = id, k
    end
    entries[at + 1], entries[at + 2] = id, entry
    c.worker, c.n_started = worker, n + 1
    if batch then sw.count_in_batch(c, batch, 'pending', 'running') end
    sw.tell_event(c, id .. ' running 1')
end

-- `worker` completes a plain task that it runs.
function sw.complete_plain(c, worker, id, attempt, result, exit_code, batch)
    local n = c.n_completed
    local at = n * 2
    local ends, results = c.ends, c.answers
    if not results then
        results = {}
        c.answers = results
    end
    c.completed[n + 1], ends[at + 1], ends[at + 2] = id, c.q.now_text, id
    results[at + 1], results[at + 2] = result or false, exit_code or false
    c.worker, c.n_completed = worker, n + 1
    if batch then sw.count_in_batch(c, batch, 'running', 'completed') end
    sw.tell_result(c, id .. ' completed ' .. attempt)
end

-- Called by commit: writes the plain tasks that completed.
function sw.commit_completed(c, n)
    local q, ids, answers, attempts_key = c.q, c.completed, c.answers, c.q.attempts_prefix .. c.worker
    call('ZREM', q.leases_key, unpack(ids, 1, n))
    call('ZADD', q.finished_key, unpack(c.ends, 1, n * 2))
    call('HDEL', attempts_key, unpack(ids, 1, n))
    call('HINCRBY', q.stats_key, 'completed', n)
    local prefix, now = q.task_prefix, q.now_text
    for i = 1, n do
        local key, result, exit_code = prefix .. ids[i], answers[i * 2 - 1], answers[i * 2]
        if not result then
            call('HSET', key, 'state', 'completed', 'finished_at', now)
        else
            call('HSET', key, 'state', 'completed', 'finished_at', now, 'result', result)
        end
        if exit_code then call('HSET', key, 'exit_code', exit_code) end
    end
end

-- Called by commit: writes the plain tasks that started.
function sw.commit_started(c, n)
    local q, ids, worker, entries, at = c.q, c.started, c.worker, c.entries, n * 2
    entries[at + 1], entries[at + 2] = '@last', sw.now_us_text(q)
    if c.n_left > 0 then call('ZREM', q.pending_key, unpack(c.left, 1, c.n_left)) end
    if c.left_lanes then
        for lane, left in pairs(c.left_lanes) do call('ZREM', q.prefix .. sw.line_of(lane), unpack(left)) end
        sw.commit_lanes(q, c.left_lanes)
        for priority, by in pairs(c.left_by_priority) do call('HINCRBY', q.stats_key, 'in_lanes_' .. priority, by) end
    end
    call('ZADD', q.leases_key, unpack(c.leases, 1, at))
    call('HSET', q.attempts_prefix .. worker, unpack(entries, 1, at + 2))
    local prefix, now = q.task_prefix, q.now_text
    for i = 1, n do
        call('HSET', prefix .. ids[i], 'state', 'running', 'attempt', '1', 'worker', worker, 'started_at', now)
    end
end
