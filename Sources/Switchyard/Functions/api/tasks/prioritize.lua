-- switchyard_prioritize: gives pending tasks another priority. Within the new level, the time of its submission
-- decides a task's position; in a queue with fairness, it becomes its tenant's next task of that level.
--
-- Keys        1: the queue's prefix, 2: its config
-- Arguments   priority (critical|high|normal|low); of each task: task (id)
-- Reply       for each task, in order: "pending", or an error
-- Errors      BADREQUEST (the whole call); for each task: TASKNOTFOUND, INVALIDSTATE (not pending)
local function prioritize(keys, args)
    local q, failure = sw.enter_checked(keys)
    if not q then return failure end
    local head, tasks = sw.parse(args)
    if not head then return tasks end
    if #tasks == 0 then return sw.bad('task: missing') end
    if not sw.LEVEL[head.priority or ''] then
        return sw.bad('priority: expected critical, high, normal or low, found ' .. sw.shown(head.priority or ''))
    end
    local c = sw.changes(q)
    local replies = {}
    for i, t in ipairs(tasks) do
        local task = sw.read(q, t.task)
        if not task then
            replies[i] = sw.not_found(t.task)
        elseif task.state ~= 'pending' then
            replies[i] = sw.invalid_state(t.task, task.state, 'given another priority')
        else
            local tag = task.tag
            if q.is_fair and head.priority ~= task.priority then
                local v = call('HMGET', q.task_prefix .. t.task, 'fairness_key', 'fairness_weight')
                tag = sw.start_tag(c, head.priority, v[1] or '', v[2] or nil)
            end
            sw.move(c, task, 'pending',
                { 'priority', head.priority, 'priority_reason', 'given', 'tag', sw.digits(tag) },
                { held_by = task.held_by or nil, due_at = task.due_at or nil, priority = head.priority, tag = tag })
            replies[i] = 'pending'
        end
    end
    sw.commit(c)
    return replies
end

redis.register_function{ function_name = 'switchyard_prioritize', flags = { 'allow-oom' }, callback = prioritize }
