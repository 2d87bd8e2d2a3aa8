-- switchyard_schedule: creates or replaces a recurring schedule.
--
-- Keys        1: the queue's prefix, 2: its config
-- Arguments   schedule (id, at most 170 characters), cron, zone, missed (skip|once: what happens to times that passed
--             while no replica ran), template (a task as a JSON list of names and values), next (ms since 1970)
-- Reply       the number of schedules
-- Errors      BADREQUEST
local function schedule(keys, args)
    local q, failure = sw.enter_checked(keys)
    if not q then return failure end
    local head, tasks = sw.parse(args)
    if not head then return tasks end
    if not sw.is_name(head.schedule) or #head.schedule > 170 then
        return sw.bad('schedule: expected 1 to 170 characters of A-Z a-z 0-9 . _ : -, found '
            .. sw.shown(head.schedule or ''))
    end
    local problem = sw.check_integer('next', head.next or '', 1, 99999999999999)
    if problem then return sw.bad(problem) end
    if head.missed and head.missed ~= 'skip' and head.missed ~= 'once' then
        return sw.bad('missed: expected skip or once, found ' .. sw.shown(head.missed))
    end
    local template
    template, problem = sw.check_template('template', head.template)
    if not template then return sw.bad(problem) end
    local is_new = not call('ZSCORE', q.prefix .. 'schedules', head.schedule)
    if is_new and call('ZCARD', q.prefix .. 'schedules') >= 10000 then
        return sw.bad('schedule: a queue has at most 10000')
    end

    sw.ensure_instance(q)
    sw.ensure(q, 'has_schedules')
    sw.write_config(q)
    call('HSET', q.prefix .. 'schedule:' .. head.schedule, 'cron', head.cron or '', 'zone', head.zone or 'UTC',
        'missed', head.missed or 'skip', 'template', head.template, 'next', head.next)
    call('ZADD', q.prefix .. 'schedules', head.next, head.schedule)
    return call('ZCARD', q.prefix .. 'schedules')
end

redis.register_function{ function_name = 'switchyard_schedule', callback = schedule }
