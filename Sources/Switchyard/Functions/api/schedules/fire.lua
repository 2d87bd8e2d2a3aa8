-- switchyard_fire: fires a due schedule: submits its task, with the id <schedule>.<due in ms>, and sets its next
-- time. Does nothing unless the schedule is still due at the given time, so any number of replicas may call it.
--
-- Transition  none → pending
-- Keys        1: the queue's prefix, 2: its config
-- Arguments   schedule (id), due (ms since 1970: the time at which it is due), next (the time after that), skip ("1":
--             only set the next time, because the due one was missed)
-- Reply       the id of the new task; or null if none was made: the schedule is no longer due, the time is skipped,
--             the queue is paused (the schedule stays due), its unique_key is taken, or a task with this id exists
-- Errors      BADREQUEST, QUEUEFULL, QUEUEDRAINING (the schedule stays due)
local function fire(keys, args)
    local q, failure = sw.enter_checked(keys)
    if not q then return failure end
    local head, tasks = sw.parse(args)
    if not head then return tasks end
    if not sw.is_name(head.schedule) then return sw.bad('schedule: missing, or no id') end
    local problem = sw.check_integer('due', head.due or '', 1, 99999999999999)
        or sw.check_integer('next', head.next or '', 1, 99999999999999)
    if problem then return sw.bad(problem) end
    local due = call('ZSCORE', q.prefix .. 'schedules', head.schedule)
    if not due or tonumber(due) ~= tonumber(head.due) or tonumber(due) > q.now then return false end
    if q.paused and head.skip ~= '1' then return false end
    local id = head.schedule .. '.' .. head.due
    local c, made = sw.changes(q), false
    if head.skip ~= '1' and not sw.is_task(call('HGET', q.task_prefix .. id, 'state')) then
        if q.draining == 1 then
            return redis.error_reply('QUEUEDRAINING queue ' .. q.name .. ' is draining: it takes no new tasks')
        end
        local template = call('HGET', q.prefix .. 'schedule:' .. head.schedule, 'template')
        if not template then
            -- The hash is gone, so the schedule does not exist any more.
            call('ZREM', q.prefix .. 'schedules', head.schedule)
            return false
        end
        local pairs_, wrong = sw.check_template('template', template)
        if not pairs_ then return sw.bad(wrong) end
        pairs_[2] = id
        local refused
        refused, made = sw.plan_one(c, pairs_)
        if refused then return refused end
        local lines = sw.planned_lines()
        if lines then sw.plan_wake(c, lines) end
    end
    call('HEXISTS', q.prefix .. 'schedule:' .. head.schedule, 'next')
    sw.commit(c)
    call('ZADD', q.prefix .. 'schedules', head.next, head.schedule)
    call('HSET', q.prefix .. 'schedule:' .. head.schedule, 'next', head.next, 'last', head.due)
    return made and id or false
end

redis.register_function{ function_name = 'switchyard_fire', callback = fire }
