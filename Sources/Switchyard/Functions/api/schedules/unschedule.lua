-- switchyard_unschedule: deletes a recurring schedule. The tasks that it has submitted remain.
--
-- Keys        1: the queue's prefix, 2: its config
-- Arguments   schedule (id)
-- Reply       1, or 0 if there is no such schedule
-- Errors      BADREQUEST
local function unschedule(keys, args)
    local q, failure = sw.enter_checked(keys)
    if not q then return failure end
    local head, tasks = sw.parse(args)
    if not head then return tasks end
    if not sw.is_name(head.schedule) then return sw.bad('schedule: missing, or no id') end
    call('DEL', q.prefix .. 'schedule:' .. head.schedule)
    return call('ZREM', q.prefix .. 'schedules', head.schedule)
end

redis.register_function{ function_name = 'switchyard_unschedule', flags = { 'allow-oom' }, callback = unschedule }
