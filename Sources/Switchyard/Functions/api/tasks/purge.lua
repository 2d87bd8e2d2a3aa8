-- switchyard_purge: deletes ended tasks and their logs before their retention is over.
--
-- Transition  completed | failed | timeout | cancelled → none
-- Keys        1: the queue's prefix, 2: its config
-- Arguments   of each task: task (id)
-- Reply       for each task, in order: "purged", or an error
-- Errors      BADREQUEST (the whole call); for each task: TASKNOTFOUND, INVALIDSTATE (not ended, its
--             process is ending, or dependents not settled)
local function purge(keys, args)
    local q, failure = sw.enter_checked(keys)
    if not q then return failure end
    local head, tasks = sw.parse(args)
    if not head then return tasks end
    if #tasks == 0 then return sw.bad('task: missing') end
    local replies, ids = {}, {}
    for i, t in ipairs(tasks) do
        local v = call('HMGET', q.task_prefix .. t.task, 'state', 'ending')
        local state = v[1]
        if not sw.is_task(state) then
            replies[i] = sw.not_found(t.task)
        elseif not sw.TERMINAL[state] then
            replies[i] = sw.invalid_state(t.task, state, 'purged')
        elseif v[2] then
            replies[i] = sw.invalid_state(t.task, state, 'purged before its process on worker '
                .. (sw.parse_ending(v[2]) or '') .. ' is gone')
        elseif sw.has_unsettled(q, t.task) then
            replies[i] = sw.invalid_state(t.task, state, 'purged before its dependents have heard of its end')
        else
            ids[#ids + 1] = t.task
            replies[i] = 'purged'
        end
    end
    call('ZCARD', q.finished_key)
    if #ids > 0 then sw.delete_ended(q, ids, true) end
    return replies
end

redis.register_function{ function_name = 'switchyard_purge', flags = { 'allow-oom' }, callback = purge }
