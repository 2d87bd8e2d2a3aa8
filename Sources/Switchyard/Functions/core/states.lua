-- The states of a task: which may follow which, which are terminal, and the index in which a task of each state stands.

-- The table of transitions. transition.lua refuses every other edge.
sw.MAY = {
    none = { pending = true, cancelled = true },
    pending = { assigned = true, running = true, cancelled = true, pending = true },
    assigned = { running = true, pending = true, failed = true, cancelled = true },
    running = { completed = true, failed = true, timeout = true, cancelled = true, pending = true },
    -- Only on request (switchyard_retry).
    failed = { pending = true },
    timeout = { pending = true },
    cancelled = { pending = true },
    completed = {},
}

sw.TERMINAL = { completed = true, failed = true, timeout = true, cancelled = true }
sw.LIVE = { assigned = true, running = true }

-- What a pending task may wait for, if not for a worker, and the index in which it then stands.
local HELD_IN = { schedule = 'held', retry = 'held', dependencies = 'waiting' }

-- The line in which pending tasks of `lane` (nil: without a lane) stand.
function sw.line_of(lane)
    return lane and 'pending:' .. lane or 'pending'
end

-- The index in which a task stands: of `state`, held by `held_by` (nil: by nothing), in `lane`.
function sw.index_of(state, held_by, lane)
    if state == 'pending' then
        if not held_by then return sw.line_of(lane) end
        return HELD_IN[held_by] or 'held'
    end
    if sw.LIVE[state] then return 'leases' end
    return 'finished'
end

-- The second index of an ended task, or nil: most tasks complete, and those stand in `finished` only.
function sw.end_index(state)
    return sw.TERMINAL[state] and state ~= 'completed' and 'finished:' .. state or nil
end

function sw.not_found(id)
    return redis.error_reply('TASKNOTFOUND task ' .. id .. ' does not exist, or was deleted after its retention')
end

function sw.invalid_state(id, state, event)
    return redis.error_reply('INVALIDSTATE task ' .. id .. ' is ' .. state .. ': it cannot be ' .. event)
end

function sw.lease_lost(id, worker, attempt, task)
    local found = 'the task is ' .. task.state
    if task.attempt > 0 then found = found .. ', its latest attempt is ' .. task.attempt end
    if sw.LIVE[task.state] then found = found .. ' on worker ' .. task.worker end
    return redis.error_reply('LEASELOST attempt ' .. attempt .. ' of task ' .. id .. ' by worker ' .. worker
        .. ' no longer holds a lease: ' .. found .. '; stop the work and drop its result')
end
