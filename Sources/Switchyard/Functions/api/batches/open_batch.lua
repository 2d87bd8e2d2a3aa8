-- switchyard_open_batch: makes a staged batch visible. Its tasks enter the queue in bounded steps: by this call, by
-- its repetition, and by ticks.
--
-- Transition  none → pending, or → cancelled if a dependency has ended without success
-- Keys        1: the queue's prefix, 2: its config
-- Arguments   batch (id), stage (the token under which it was staged; default: the batch's id), parts (how many parts
--             it must have, if they were numbered), limit (1 to 500, default 100: tasks that this call adds to the
--             queue)
-- Reply       how many of its tasks have not entered the queue yet. Call it until it returns 0
-- Errors      BADREQUEST, TASKNOTFOUND (it was not opened in time, or a part is missing), TASKEXISTS (the batch
--             exists, or another call took one of its ids or unique keys), QUEUEFULL (counted)
local function open_batch(keys, args)
    local q, failure = sw.enter_checked(keys)
    if not q then return failure end
    local head, tasks = sw.parse(args)
    if not head then return tasks end
    if not sw.is_name(head.batch) then return sw.bad('batch: missing, or no id: ' .. sw.shown(head.batch or '')) end
    local problem = head.limit and sw.check_integer('limit', head.limit, 1, 500)
        or head.parts and sw.check_integer('parts', head.parts, 1, 1000000)
    if problem then return sw.bad(problem) end
    local key, token = q.prefix .. 'batch:' .. head.batch, sw.stage_token(head.stage or '1', head.batch)
    if not sw.is_name(token) then return sw.bad('stage: no token: ' .. sw.shown(token)) end
    if call('EXISTS', q.prefix .. 'stage:' .. token) == 1 then
        local refused = sw.open_stage(q, token, head.batch, head.parts)
        if refused then return refused end
        if call('HGET', key, 'total') == '0' then sw.start_follow_up(q, head.batch) end
    elseif call('EXISTS', key) == 0 then
        return redis.error_reply('TASKNOTFOUND batch ' .. head.batch .. ' does not exist, or was not opened in time')
    end
    -- The steps of batches have an order: that of another batch may come first.
    local left = tonumber(head.limit or 100)
    while left > 0 and call('HEXISTS', key, 'stage') == 1 do
        left = left - math.max(1, sw.step_batches(q, math.min(left, 100)) or left)
    end
    local v = call('HMGET', key, 'stage', 'total', 'done')
    return v[1] and math.max(0, sw.whole(v[2], 0) - sw.whole(v[3], 0)) or 0
end

redis.register_function{ function_name = 'switchyard_open_batch', callback = open_batch }
