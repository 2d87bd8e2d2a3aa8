-- switchyard_abandon_batch: deletes a staged batch that will not be opened, in bounded steps. Does nothing to an
-- opened batch.
--
-- Transition  none: no other call has seen its tasks
-- Keys        1: the queue's prefix, 2: its config
-- Arguments   batch (id), stage (the token under which it was staged; default: the batch's id), limit (1 to 1000,
--             default 100: the maximum number of tasks)
-- Reply       how many tasks it deleted. Call it until it returns 0
-- Errors      BADREQUEST
local function abandon_batch(keys, args)
    local q, failure = sw.enter_checked(keys)
    if not q then return failure end
    local head, tasks = sw.parse(args)
    if not head then return tasks end
    if not sw.is_name(head.batch) then return sw.bad('batch: missing, or no id: ' .. sw.shown(head.batch or '')) end
    local problem = head.limit and sw.check_integer('limit', head.limit, 1, 1000)
    if problem then return sw.bad(problem) end
    local token = sw.stage_token(head.stage or '1', head.batch)
    if not sw.is_name(token) then return sw.bad('stage: no token: ' .. sw.shown(token)) end
    if call('HGET', q.prefix .. 'stage:' .. token, 'batch') ~= head.batch then return 0 end
    return sw.drop_stage(q, token, tonumber(head.limit or 100))
end

redis.register_function{ function_name = 'switchyard_abandon_batch', flags = { 'allow-oom' }, callback = abandon_batch }
