-- switchyard_retry: at a person's request, puts tasks that ended without success back at their place in line, with
-- all their retries.
--
-- Transition  failed | timeout | cancelled → pending
-- Keys        1: the queue's prefix
-- Arguments   of each task: task (id)
-- Reply       for each task, in order: "pending", or an error
-- Errors      BADREQUEST (the whole call); for each task: TASKNOTFOUND, INVALIDSTATE (completed, or not ended)
local function retry(keys, args)
    local q, failure = sw.open(keys)
    if not q then return failure end
    local head, tasks = sw.parse(args)
    if not head then return tasks end
    if #tasks == 0 then return sw.bad('task: missing') end
    local c = sw.changes(q)
    local replies = {}
    for i, t in ipairs(tasks) do
        local task = sw.read(q, t.task)
        if not task then
            replies[i] = sw.not_found(t.task)
        elseif task.state == 'completed' or not sw.TERMINAL[task.state] then
            replies[i] = sw.invalid_state(t.task, task.state, 'retried')
        else
            local fields = { 'retry_count', '0', 'deliveries', '0' }
            if task.worker ~= '' then
                local v = call('HMGET', q.prefix .. 'task:' .. t.task, 'outcome', 'error_code', 'error_message',
                    'exit_code', 'finished_at')
                task.finished_at = tonumber(v[5])
                local name, record = sw.record(q, task, v[1] or task.state, v[2] or nil, v[3] or nil, v[4] or nil)
                fields[#fields + 1] = name
                fields[#fields + 1] = record
            end
            local clear = sw.latest_fields(task)
            for _, name in ipairs({ 'finished_at', 'outcome', 'error_code', 'error_message', 'exit_code', 'result' }) do
                clear[#clear + 1] = name
            end
            local waits_for = task.uses and sw.await_again(c, t.task) or 0
            if waits_for > 0 then
                fields[#fields + 1] = 'deps_left'
                fields[#fields + 1] = tostring(waits_for)
                sw.move(c, task, 'pending', task.place, fields, { clear = clear, held_by = 'dependencies' })
            else
                sw.move(c, task, 'pending', task.place, fields, { clear = clear })
            end
            if task.unique_key and not call('GET', q.prefix .. 'unique:' .. task.unique_key) then
                c.unique[#c.unique + 1] = task.unique_key
                c.unique[#c.unique + 1] = t.task
            end
            replies[i] = 'pending'
        end
    end
    sw.plan_wake_for_added(c)
    sw.commit(c)
    return replies
end

redis.register_function{ function_name = 'switchyard_retry', callback = retry }
