-- switchyard_get: everything known about tasks.
--
-- Keys        1: the queue's prefix
-- Arguments   of each task: task (id)
-- Reply       for each task, in order: the pairs of its hash, and then id, and lease_expires_at (assigned, running) or
--             position (in line, from 0) or held_by paused; or null when there is no such task
-- Errors      BADREQUEST
local function get(keys, args)
    local q, failure = sw.open(keys)
    if not q then return failure end
    local head, tasks = sw.parse(args)
    if not head then return tasks end
    if #tasks == 0 then return sw.bad('task: missing') end
    local replies = {}
    for i, t in ipairs(tasks) do
        replies[i] = sw.describe(q, t.task) or false
    end
    return replies
end

redis.register_function{ function_name = 'switchyard_get', flags = { 'no-writes' }, callback = get }
