-- switchyard_cancel: cancels tasks that have not ended, at once. The worker of a live attempt is told to stop it, and
-- its late report is refused.
--
-- Transition  pending | assigned | running → cancelled
-- Keys        1: the queue's prefix, 2: its config
-- Arguments   reason (for people); of each task: task (id)
-- Reply       for each task, in order: "cancelled", or an error
-- Errors      BADREQUEST (the whole call); for each task: TASKNOTFOUND, INVALIDSTATE (ended already)
local function cancel(keys, args)
    local q, failure = sw.enter_checked(keys)
    if not q then return failure end
    local head, tasks = sw.parse(args)
    if not head then return tasks end
    if #tasks == 0 then return sw.bad('task: missing') end
    local reason = head.reason or 'cancelled on request'
    if #reason > 1024 then return sw.bad('reason: at most 1024 bytes, found ' .. #reason) end
    local c = sw.changes(q)
    local replies = {}
    for i, t in ipairs(tasks) do
        local task = sw.read(q, t.task)
        if not task then
            replies[i] = sw.not_found(t.task)
        elseif sw.TERMINAL[sw.planned_state(c, t.task) or task.state] then
            replies[i] = sw.invalid_state(t.task, task.state, 'cancelled')
        else
            sw.cancel_task(c, task, reason)
            replies[i] = 'cancelled'
        end
    end
    sw.commit(c)
    return replies
end

redis.register_function{ function_name = 'switchyard_cancel', flags = { 'allow-oom' }, callback = cancel }
