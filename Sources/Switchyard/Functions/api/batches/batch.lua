-- switchyard_batch: returns the counts of a batch.
--
-- Keys        1: the queue's prefix, 2: its config
-- Arguments   batch (id)
-- Reply       pairs: total, submitted_at, finished_at (once every task has ended), follow_up (its id), a count for each
--             state, and failures (the first 100 tasks that ended without success)
-- Errors      BADREQUEST, TASKNOTFOUND
local function batch(keys, args)
    local q, failure = sw.open(keys)
    if not q then return failure end
    local head, tasks = sw.parse(args)
    if not head then return tasks end
    if not sw.is_name(head.batch) then
        return sw.bad('batch: expected 1 to 200 characters of A-Z a-z 0-9 . _ : -, found '
            .. sw.shown(head.batch or ''))
    end
    local fields = call('HGETALL', q.prefix .. 'batch:' .. head.batch)
    if #fields == 0 then
        return redis.error_reply('TASKNOTFOUND batch ' .. head.batch
            .. ' does not exist, or was deleted after its retention')
    end
    fields[#fields + 1], fields[#fields + 2] = 'failures', sw.failures_of(q, head.batch)
    return fields
end

redis.register_function{ function_name = 'switchyard_batch', flags = { 'no-writes' }, callback = batch }
