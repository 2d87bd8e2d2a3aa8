-- switchyard_start: a worker starts assignments that it pulled without "start". Repeating it changes nothing.
--
-- Transition  assigned → running
-- Keys        1: the queue's prefix
-- Arguments   worker (id); of each task: task (id), attempt
-- Reply       for each task, in order: its deadline_at (ms since 1970), or an error
-- Errors      BADREQUEST (the whole call); for each task: TASKNOTFOUND, LEASELOST
local function start(keys, args)
    local q, failure = sw.open(keys)
    if not q then return failure end
    local head, tasks = sw.parse(args)
    if not head then return tasks end
    local worker, bad = sw.worker_of(head)
    bad = bad or sw.check_attempts(tasks)
    if bad then return bad end
    local c = sw.changes(q)
    local replies = {}
    for i, t in ipairs(tasks) do
        local task, refused = sw.holds(q, worker, t)
        if not task then
            replies[i] = refused
        elseif task.state == 'running' then
            replies[i] = sw.digits(tonumber(task.started_at) + task.timeout_ms)
        else
            local deadline = q.now + task.timeout_ms
            sw.move(c, task, 'running', sw.digits(math.min(q.now + q.lease_ms, deadline)),
                { 'started_at', q.now_text },
                { worker = worker, attempt = t.attempt, deadline_at = sw.digits(deadline) })
            replies[i] = sw.digits(deadline)
        end
    end
    sw.commit(c)
    return replies
end

redis.register_function{ function_name = 'switchyard_start', flags = { 'allow-oom' }, callback = start }
