-- switchyard_get: returns everything that is known about tasks.
--
-- Keys        1: the queue's prefix, 2: its config
-- Arguments   of each task: task (id)
-- Reply       for each task, in order: the pairs of its hash, then id, and lease_expires_at (if assigned or running)
--             or position (in line, from 0) and held_by paused, concurrency_limit or rate_limit; or null if there is
--             no such task. A task that no index contained is put back. Once a reply has 4 MiB, the remaining tasks
--             are errors
-- Errors      BADREQUEST; for a task: TOOLARGE (request fewer tasks in a call)
local function get(keys, args)
    local q, failure = sw.enter(keys)
    if not q then return failure end
    local head, tasks = sw.parse(args)
    if not head then return tasks end
    if #tasks == 0 then return sw.bad('task: missing') end
    local replies, bytes = {}, 0
    for i, t in ipairs(tasks) do
        if bytes > sw.MAX_CALL_BYTES then
            replies[i] = redis.error_reply('TOOLARGE task ' .. t.task
                .. ': the reply is full; ask for fewer tasks in a call')
        else
            local fields = sw.describe(q, t.task)
            replies[i] = fields or false
            bytes = bytes + (fields and sw.bytes_of(fields) or 0)
        end
    end
    return replies
end

redis.register_function{ function_name = 'switchyard_get', flags = { 'allow-oom' }, callback = get }
