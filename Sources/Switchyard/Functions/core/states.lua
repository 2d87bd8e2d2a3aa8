-- The states of a task: the transitions between them, which are terminal, and the index of each state.

-- The table of transitions. transition.lua raises an error for any other.
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

-- The index of a held or waiting task, by the reason in its field held_by.
local HELD_IN = { schedule = 'held', retry = 'held', ending = 'held', dependencies = 'waiting' }

-- Returns the line of the pending tasks of `lane` (nil: of the tasks without a lane).
function sw.line_of(lane)
    return lane and 'pending:' .. lane or 'pending'
end

-- Returns the index of a task in `state`, held by `held_by` (nil: not held), in `lane`.
function sw.index_of(state, held_by, lane)
    if state == 'pending' then
        if not held_by then return sw.line_of(lane) end
        return HELD_IN[held_by] or 'held'
    end
    if sw.LIVE[state] then return 'leases' end
    return 'finished'
end

-- Returns the second index of an ended task, or nil. A completed task, the common case, is in `finished` only.
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
