-- switchyard_reconcile: compares a piece of the queue's indexes, leases, limits, hashes and counters with each other,
-- repairs what disagrees, and counts the repairs in stats.repaired. That counter stays 0 unless something else wrote
-- to the queue's keys, or Redis lost some.
--
-- Keys        1: the queue's prefix, 2: its config
-- Arguments   cursor (of the last reply; default: the beginning), limit (1 to 1000, default 100: entries)
-- Reply       two values: the next cursor ("": the pass is complete), and the number of repairs
-- Errors      BADREQUEST
local function reconcile(keys, args)
    local q, failure = sw.enter_checked(keys)
    if not q then return failure end
    local head, tasks = sw.parse(args)
    if not head then return tasks end
    local problem = sw.check_integer('limit', head.limit or '100', 1, 1000)
    if problem then return sw.bad(problem) end
    local cursor = head.cursor or ''
    if cursor ~= '' and not (#cursor <= 3000 and match(cursor, '^[a-z:]+ %d+')) then
        return sw.bad('cursor: expected one that an earlier call gave, found ' .. sw.shown(cursor))
    end
    if not q.instance then return { '', 0 } end
    local following, repaired = sw.reconcile(q, cursor, tonumber(head.limit or 100))
    return { following, repaired }
end

redis.register_function{ function_name = 'switchyard_reconcile', flags = { 'allow-oom' }, callback = reconcile }
