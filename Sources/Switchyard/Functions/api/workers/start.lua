-- switchyard_start: a worker starts assignments that it pulled without "start". Repeating the call changes nothing.
--
-- Transition  assigned → running
-- Keys        1: the queue's prefix, 2: its config
-- Arguments   worker (id), nonce (of its process); of each task: task (id), attempt
-- Reply       for each task, in order: its deadline_at (ms since 1970), or an error
-- Errors      BADREQUEST, WORKERNOTFOUND by the nonce (the whole call); for each task: TASKNOTFOUND, LEASELOST
local function start(keys, args)
    local q, failure = sw.enter(keys)
    if not q then return failure end
    local head, tasks = sw.parse(args)
    if not head then return tasks end
    local worker, bad = sw.worker_of(head)
    bad = bad or sw.check_attempts(tasks) or sw.check_nonce(q, worker, head.nonce)
    if bad then return bad end
    local c = sw.changes(q)
    local replies = {}
    for i, t in ipairs(tasks) do
        local task, refused = sw.holds(q, worker, t)
        if not task then
            replies[i] = refused
        elseif task.state == 'running' then
            replies[i] = sw.digits(sw.whole(task.started_at, q.now) + task.timeout_ms)
        else
            local deadline, lease_end = sw.lease_ends(q, task.timeout_ms)
            sw.move(c, task, 'running', { 'started_at', q.now_text },
                { worker = worker, attempt = tostring(t.attempt), deadline_at = deadline, lease_end = lease_end })
            replies[i] = deadline
        end
    end
    sw.commit(c)
    return replies
end

redis.register_function{ function_name = 'switchyard_start', flags = { 'allow-oom' }, callback = start }
