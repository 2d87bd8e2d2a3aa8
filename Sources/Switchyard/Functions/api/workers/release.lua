-- switchyard_release: a worker returns assignments that it has not started. They return to their positions in line.
-- With a reason it also returns attempts that it has started, because its host cannot run them: the task waits for a
-- backoff, no retry is used up, and the task fails at `max_deliveries` such returns and losses. A worker that drains
-- returns the attempts that it has started and ended: they return to their positions in line, and nothing is counted.
--
-- Transition  assigned → pending; with drain: assigned, running → pending; with a reason: assigned, running →
--             pending, failed
-- Keys        1: the queue's prefix, 2: its config
-- Arguments   worker (id), nonce (of its process), reason (why the host cannot run the tasks: 1 to 4096 bytes; absent:
--             the tasks have not been started); drain ("1": the worker drains, and has ended the processes of the
--             tasks); of each task: task (id), attempt
-- Reply       for each task, in order: "pending" or "failed", or an error
-- Errors      BADREQUEST, WORKERNOTFOUND by the nonce (the whole call); for each task: TASKNOTFOUND, LEASELOST,
--             INVALIDSTATE (started, and neither drain nor a reason is given)
local function release(keys, args)
    local q, failure = sw.enter_checked(keys)
    if not q then return failure end
    local head, tasks = sw.parse(args)
    if not head then return tasks end
    local worker, bad = sw.worker_of(head)
    bad = bad or sw.check_attempts(tasks) or sw.check_nonce(q, worker, head.nonce)
    if bad then return bad end
    local reason = head.reason
    if reason and (#reason < 1 or #reason > 4096) then
        return sw.bad('reason: expected 1 to 4096 bytes, found ' .. #reason)
    end
    local problem = head.drain and sw.check_integer('drain', head.drain, 0, 1)
    if problem then return sw.bad(problem) end
    local c = sw.changes(q)
    local replies = {}
    for i, t in ipairs(tasks) do
        local task, refused = sw.holds(q, worker, t)
        if not task then
            -- The process is gone.
            sw.end_ending(c, t.task, worker, t.attempt)
            replies[i] = refused
        elseif head.drain == '1' then
            sw.return_attempt(c, task, 'returned', 'WorkerDrained', 'worker ' .. worker .. ' drained')
            replies[i] = 'pending'
        elseif reason then
            replies[i] = sw.hand_back(c, task, reason)
        elseif task.state ~= 'assigned' then
            replies[i] = sw.invalid_state(t.task, task.state, 'released')
        else
            sw.return_assignment(c, task, false)
            replies[i] = 'pending'
        end
    end
    sw.commit(c)
    return replies
end

redis.register_function{ function_name = 'switchyard_release', flags = { 'allow-oom' }, callback = release }
