-- switchyard_purge_queue: empties a queue in bounded steps: cancels tasks that have not ended, and deletes ended
-- tasks and all stages. What a process that is still ending occupies is then free. Call it until it returns 0. New
-- tasks may be submitted meanwhile: pause or drain the queue first.
--
-- Keys        1: the queue's prefix, 2: its config
-- Arguments   confirm (the queue's name), limit (1 to 500, default 25: the maximum number of tasks)
-- Reply       how many tasks it cancelled or deleted
-- Errors      BADREQUEST (also without the confirmation)
local function purge_queue(keys, args)
    local q, failure = sw.enter_checked(keys)
    if not q then return failure end
    local head, tasks = sw.parse(args)
    if not head then return tasks end
    if head.confirm ~= q.name then
        return sw.bad('confirm: expected the name of the queue, ' .. q.name .. ', found '
            .. sw.shown(head.confirm or ''))
    end
    local problem = head.limit and sw.check_integer('limit', head.limit, 1, 500)
    if problem then return sw.bad(problem) end
    local left = tonumber(head.limit or sw.TASKS_PER_STEP)
    local indexes = { 'leases', 'pending', 'held', 'waiting' }
    for _, lane in ipairs(call('ZRANGE', q.prefix .. 'lane_names', 0, 99)) do
        indexes[#indexes + 1] = sw.line_of(lane)
    end
    local c, done = sw.changes(q), 0
    for _, index in ipairs(indexes) do
        for _, id in ipairs(left > 0 and call('ZRANGE', q.prefix .. index, 0, left - 1) or {}) do
            local task = not sw.planned_state(c, id) and sw.read(q, id)
            if task and not sw.TERMINAL[task.state] then
                sw.cancel_task(c, task, 'the queue was purged')
            else
                sw.strike(index, id)
            end
            left, done = left - 1, done + 1
        end
    end
    if done > 0 then
        sw.commit(c)
        return done
    end
    -- Tasks that are about to enter the queue are cancelled after they have.
    done = sw.step_batches(q, left)
    if done then return math.max(1, done) end
    local stage = call('ZRANGE', q.prefix .. 'stages', 0, 0)[1]
    if stage then return math.max(1, sw.drop_stage(q, stage, left)) end
    local ended = call('ZRANGE', q.finished_key, 0, left - 1)
    c = sw.changes(q)
    for _, id in ipairs(ended) do
        local worker = sw.parse_ending(call('HGET', q.task_prefix .. id, 'ending'))
        if worker then sw.drop_ending(c, id, worker) end
    end
    sw.commit(c)
    return sw.delete_ended(q, ended, true)
end

redis.register_function{ function_name = 'switchyard_purge_queue', flags = { 'allow-oom' }, callback = purge_queue }
