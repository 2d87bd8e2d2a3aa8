-- Deletes ended tasks, with all their keys.

-- How long after its end a purged task leaves its attempt number for a new task with its id: this time, or two leases
-- if these are longer. A disconnected worker may report that late, and its report must not count as one of the new
-- task.
local TOMBSTONE_MS = 60000

-- Whether tasks that depend on the ended task have not been settled yet, because the ticks have not reached them.
function sw.has_unsettled(q, id)
    return q.has_holds and sw.has_dependents(q, id)
end

-- Returns for how many more ms the ended task keeps its unique key; nil if it does not.
local function keeps_key(q, id, unique_key)
    local key = q.prefix .. 'unique:' .. unique_key
    if pcall_redis('GET', key) ~= id then return nil end
    local left = call('PTTL', key)
    return left > 0 and left or nil
end

-- Keeps the attempt number of a deleted task for as long as a late report of it may arrive.
local function leave_tombstone(q, id, attempt, finished_at)
    local left = sw.whole(finished_at, 0) + math.max(TOMBSTONE_MS, 2 * q.lease_ms) - q.now
    if sw.attempt_in(q, attempt) == 0 or left <= 0 then return end
    call('HSET', q.task_prefix .. id, 'state', 'purged', 'attempt', sw.digits(sw.attempt_in(q, attempt)))
    call('PEXPIRE', q.task_prefix .. id, sw.digits(left))
end

-- Deletes the ended tasks `ids`: hash, log, index entries, and their part in counters. Keeps tasks whose dependents
-- are not settled, and tasks whose process is ending. Also keeps tasks that keep a unique key for longer, and moves
-- them in `finished`, so that they are checked later. Returns how many it deleted.
--   forced      deletes all of these too
--   is_excess   their retention is not over: those that keep a unique key are checked again after all other ended
--               tasks, not when the key expires
function sw.delete_ended(q, ids, forced, is_excess)
    local doomed, keys, purged, batches, stones, by_state, logs, log_bytes = {}, {}, {}, {}, {}, {}, {}, 0
    for _, id in ipairs(ids) do
        local v = call('HMGET', q.task_prefix .. id, 'state', 'batch', 'attempt', 'finished_at', 'uses', 'unique_key',
            'log_bytes', 'ending')
        local state = v[1]
        local left = v[5] == '1' and v[6] and keeps_key(q, id, v[6])
        if left and not forced then
            call('ZADD', q.finished_key, is_excess and q.now_text or sw.digits(q.now + left - q.retention_ms), id)
        elseif not sw.is_state(state)
            or (sw.TERMINAL[state] and not v[8] and (forced or not sw.has_unsettled(q, id))) then
            doomed[#doomed + 1] = id
            keys[#keys + 1] = q.task_prefix .. id
            keys[#keys + 1] = q.prefix .. 'log:' .. id
            keys[#keys + 1] = q.prefix .. 'dependents:' .. id
            if left then keys[#keys + 1] = q.prefix .. 'unique:' .. v[6] end
            if sw.is_state(state) then
                sw.count(purged, 'purged_' .. state, 1)
                local index = sw.end_index(state)
                if index then
                    by_state[index] = by_state[index] or {}
                    table.insert(by_state[index], id)
                end
                stones[#stones + 1] = { id, v[3], v[4] }
            end
            if v[2] then sw.count(batches, v[2], 1) end
            if v[7] then logs[#logs + 1], log_bytes = id, log_bytes + sw.whole(v[7], 0) end
        end
    end
    if #doomed == 0 then return 0 end
    call('ZREM', q.finished_key, unpack(doomed))
    for index, list in pairs(by_state) do call('ZREM', q.prefix .. index, unpack(list)) end
    call('UNLINK', unpack(keys))
    for _, stone in ipairs(stones) do leave_tombstone(q, stone[1], stone[2], stone[3]) end
    for name, by in pairs(purged) do sw.add_to_stat(q, name, by) end
    if #logs > 0 then sw.forget_logs(q, logs, log_bytes) end
    for id, by in pairs(batches) do
        local key = q.prefix .. 'batch:' .. id
        if call('HEXISTS', key, 'total') == 1
            and sw.increase(key, 'purged', by) >= sw.whole(call('HGET', key, 'total'), 0) then
            call('DEL', key, q.prefix .. 'members:' .. id, q.prefix .. 'failures:' .. id)
        end
    end
    return #doomed
end

-- Called by tick's clean-up. Deletes up to `limit` ended tasks whose retention is over or that exceed max_finished.
-- Returns how many it deleted, and how many it examined.
function sw.delete_overdue(q, limit)
    local overdue = call('ZRANGEBYSCORE', q.finished_key, '-inf', sw.digits(q.now - q.retention_ms), 'LIMIT', 0, limit)
    if #overdue > 0 then
        return sw.delete_ended(q, overdue), #overdue
    end
    if q.max_finished == 0 then return 0, 0 end
    local excess = call('ZCARD', q.finished_key) - q.max_finished
    if excess <= 0 then return 0, 0 end
    local deleted = sw.delete_ended(q, call('ZRANGE', q.finished_key, 0, math.min(excess, limit) - 1), false, true)
    return deleted, deleted
end

-- Called by tick's clean-up. Drops the flags of features that the queue no longer uses, so that its calls get
-- cheaper.
function sw.drop_unused_flags(q)
    if q.has_lanes and call('EXISTS', q.lanes_key, q.closed_key, q.prefix .. 'class') == 0 then
        if sw.drop_groups(q) then sw.drop_flag(q, 'has_lanes') end
    end
    if q.is_fair then
        sw.forget_tenants(q)
        if sw.length(q) == 0 then sw.end_fairness(q) end
    end
    if q.has_affinity and sw.length(q) == 0 then sw.drop_flag(q, 'has_affinity') end
    if q.has_holds and call('EXISTS', q.prefix .. 'waiting', q.prefix .. 'cascade', q.prefix .. 'batch_work') == 0 then
        sw.drop_flag(q, 'has_holds')
    end
    if q.has_schedules and call('EXISTS', q.prefix .. 'schedules') == 0 then sw.drop_flag(q, 'has_schedules') end
end
