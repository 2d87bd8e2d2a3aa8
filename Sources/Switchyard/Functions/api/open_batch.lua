-- switchyard_open_batch: makes a staged batch one that everybody sees. Its tasks come into line in bounded steps.
--
-- Transition  pending held_by batch → pending
-- Keys        1: the queue's prefix
-- Arguments   batch (id)
-- Reply       how many tasks it has
-- Errors      BADREQUEST, TASKNOTFOUND
local function open_batch(keys, args)
    local q, failure = sw.open(keys)
    if not q then return failure end
    local head, tasks = sw.parse(args)
    if not head then return tasks end
    if not sw.is_name(head.batch) then return sw.bad('batch: missing, or no id: ' .. sw.shown(head.batch or '')) end
    local v = call('HMGET', q.prefix .. 'batch:' .. head.batch, 'total', 'staged')
    if not v[1] then
        return redis.error_reply('TASKNOTFOUND batch ' .. head.batch .. ' does not exist, or was not opened in time')
    end
    -- Opened before: the reply of that call was lost.
    if v[2] == '1' then
        sw.open_batch(q, head.batch)
        sw.step_batches(q, sw.TASKS_PER_STEP)
    end
    return tonumber(v[1])
end

redis.register_function{ function_name = 'switchyard_open_batch', callback = open_batch }
