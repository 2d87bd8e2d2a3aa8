-- switchyard_prioritize: gives pending tasks another priority, in place: within the new level each stands where the
-- time of its submission puts it.
--
-- Keys        1: the queue's prefix
-- Arguments   priority (critical|high|normal|low); of each task: task (id)
-- Reply       for each task, in order: "pending", or an error
-- Errors      BADREQUEST (the whole call); for each task: TASKNOTFOUND, INVALIDSTATE (not pending)
local function prioritize(keys, args)
    local q, failure = sw.open(keys)
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
            local place = sw.place(q, head.priority, sw.tag_of(q, task.place, task.priority))
            local held = task.held_by and call('ZSCORE', q.prefix .. 'held', t.task)
            sw.move(c, task, 'pending', held and sw.digits(tonumber(held)) or place,
                { 'priority', head.priority, 'priority_reason', 'given', 'place', place },
                { held_by = task.held_by or nil, priority = head.priority })
            replies[i] = 'pending'
        end
    end
    sw.commit(c)
    return replies
end

redis.register_function{ function_name = 'switchyard_prioritize', flags = { 'allow-oom' }, callback = prioritize }
