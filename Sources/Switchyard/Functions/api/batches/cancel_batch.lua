-- switchyard_cancel_batch: cancels all tasks of a batch that have not ended, in bounded steps: some now, the rest by
-- ticks.
--
-- Transition  pending | assigned | running → cancelled
-- Keys        1: the queue's prefix, 2: its config
-- Arguments   batch (id), reason (for people)
-- Reply       how many tasks it has
-- Errors      BADREQUEST, TASKNOTFOUND
local function cancel_batch(keys, args)
    local q, failure = sw.enter_checked(keys)
    if not q then return failure end
    local head, tasks = sw.parse(args)
    if not head then return tasks end
    if not sw.is_name(head.batch) then return sw.bad('batch: missing, or no id: ' .. sw.shown(head.batch or '')) end
    local reason = head.reason or 'its batch was cancelled'
    if #reason > 1024 then return sw.bad('reason: at most 1024 bytes, found ' .. #reason) end
    local total = call('HGET', q.prefix .. 'batch:' .. head.batch, 'total')
    if not total then
        return redis.error_reply('TASKNOTFOUND batch ' .. head.batch
            .. ' does not exist, or was deleted after its retention')
    end
    sw.ensure(q, 'has_holds')
    sw.write_config(q)
    sw.cancel_batch(q, head.batch, reason)
    sw.step_batches(q, sw.TASKS_PER_STEP)
    return sw.whole(total, 0)
end

redis.register_function{ function_name = 'switchyard_cancel_batch', flags = { 'allow-oom' }, callback = cancel_batch }
