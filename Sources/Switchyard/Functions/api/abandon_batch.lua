-- switchyard_abandon_batch: deletes a staged batch that will not be opened, in bounded steps. Call it until it answers 0.
-- Does nothing to a batch that was opened.
--
-- Transition  pending held_by batch → none
-- Keys        1: the queue's prefix
-- Arguments   batch (id), limit (1 to 1000, default 100: tasks at most)
-- Reply       how many tasks it deleted
-- Errors      BADREQUEST
local function abandon_batch(keys, args)
    local q, failure = sw.open(keys)
    if not q then return failure end
    local head, tasks = sw.parse(args)
    if not head then return tasks end
    if not sw.is_name(head.batch) then return sw.bad('batch: missing, or no id: ' .. sw.shown(head.batch or '')) end
    local problem = head.limit and sw.check_integer('limit', head.limit, 1, 1000)
    if problem then return sw.bad(problem) end
    if call('HGET', q.prefix .. 'batch:' .. head.batch, 'staged') ~= '1' then return 0 end
    return sw.drop_staged_batch(q, head.batch, tonumber(head.limit or 100))
end

redis.register_function{ function_name = 'switchyard_abandon_batch', flags = { 'allow-oom' }, callback = abandon_batch }
