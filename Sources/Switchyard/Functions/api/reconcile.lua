-- switchyard_reconcile: compares part of an index with the hashes of its tasks, repairs what disagrees, and counts it
-- in stats.repaired. That count stays 0 unless something else wrote to the queue's keys, or Redis lost some.
--
-- Keys        1: the queue's prefix
-- Arguments   index (pending|held|leases|finished|waiting|blocked), rank (from 0), limit (1 to 1000, default 100)
-- Reply       two integers: the rank to go on from (0: from the beginning; the end was reached, or all that was looked at
--             was dropped), and how many entries were repaired
-- Errors      BADREQUEST
local INDEXES = { pending = true, held = true, leases = true, finished = true, waiting = true, blocked = true }
-- Where a task stands that is held by something else than a time.
local HELD_IN = { dependencies = 'waiting', concurrency_limit = 'blocked', batch = 'staged' }

local function reconcile(keys, args)
    local q, failure = sw.open(keys)
    if not q then return failure end
    local head, tasks = sw.parse(args)
    if not head then return tasks end
    if not INDEXES[head.index or ''] then
        return sw.bad('index: expected pending, held, leases, finished, waiting or blocked, found ' .. sw.shown(head.index or ''))
    end
    local problem = sw.check_integer('rank', head.rank or '0', 0, 1e12)
        or sw.check_integer('limit', head.limit or '100', 1, 1000)
    if problem then return sw.bad(problem) end
    local rank, limit = tonumber(head.rank or 0), tonumber(head.limit or 100)
    local found = call('ZRANGE', q.prefix .. head.index, rank, rank + limit - 1)
    local remove, add = {}, {}
    for _, id in ipairs(found) do
        local v = call('HMGET', q.prefix .. 'task:' .. id, 'state', 'held_by', 'place', 'due_at', 'finished_at',
            'lane')
        local belongs = v[1] and ((sw.LIVE[v[1]] and 'leases') or (sw.TERMINAL[v[1]] and 'finished')
            or (v[2] and (HELD_IN[v[2]] or 'held')) or sw.line_of(v[6] or nil))
        if belongs ~= head.index then
            remove[#remove + 1] = id
            local score = ({ held = v[4], finished = v[5], leases = q.now_text })[belongs] or v[3]
            if belongs and score then add[#add + 1] = { belongs, score, id } end
        end
    end
    if #remove > 0 then
        call('ZREM', q.prefix .. head.index, unpack(remove))
        -- NX: where the task stands where it belongs already, its score there is the truth.
        for _, entry in ipairs(add) do call('ZADD', q.prefix .. entry[1], 'NX', entry[2], entry[3]) end
        call('HINCRBY', q.prefix .. 'stats', 'repaired', #remove)
    end
    return { #found == limit and rank + limit - #remove or 0, #remove }
end

redis.register_function{ function_name = 'switchyard_reconcile', flags = { 'allow-oom' }, callback = reconcile }
