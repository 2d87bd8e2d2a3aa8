-- The states of a task, and what may follow what. `move` (changes.lua) keeps to it; so do the short ways of plain tasks, which
-- come, start and complete (plain_tasks.lua, plain_moves.lua, finish.lua).

sw.MAY = {
    pending = { assigned = true, running = true, cancelled = true, pending = true },
    assigned = { running = true, pending = true, failed = true, cancelled = true },
    running = { completed = true, failed = true, timeout = true, cancelled = true, pending = true },
    -- Only at the request of a person (switchyard_retry).
    failed = { pending = true },
    timeout = { pending = true },
    cancelled = { pending = true },
    completed = {},
}

sw.TERMINAL = { completed = true, failed = true, timeout = true, cancelled = true }
sw.LIVE = { assigned = true, running = true }

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
