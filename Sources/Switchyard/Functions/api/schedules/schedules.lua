-- switchyard_schedules: returns the recurring schedules, sorted by their next times.
--
-- Keys        1: the queue's prefix, 2: its config
-- Arguments   limit (1 to 1000, default 1000), schedule (id: only this one)
-- Reply       for each schedule the pairs of its hash, then id, and next (its time in the index, at which it fires;
--             absent if it never fires)
-- Errors      BADREQUEST
local function schedules(keys, args)
    local q, failure = sw.open(keys)
    if not q then return failure end
    local head, tasks = sw.parse(args)
    if not head then return tasks end
    local problem = head.limit and sw.check_integer('limit', head.limit, 1, 1000)
    if problem then return sw.bad(problem) end
    local ids = head.schedule and { head.schedule }
        or call('ZRANGE', q.prefix .. 'schedules', 0, tonumber(head.limit or 1000) - 1)
    local replies = {}
    for _, id in ipairs(ids) do
        local fields = call('HGETALL', q.prefix .. 'schedule:' .. id)
        local next_time = call('ZSCORE', q.prefix .. 'schedules', id)
        if #fields > 0 or next_time then
            fields[#fields + 1] = 'id'
            fields[#fields + 1] = id
            if next_time then
                fields[#fields + 1] = 'next'
                fields[#fields + 1] = next_time
            end
            replies[#replies + 1] = fields
        end
    end
    return replies
end

redis.register_function{ function_name = 'switchyard_schedules', flags = { 'no-writes' }, callback = schedules }
