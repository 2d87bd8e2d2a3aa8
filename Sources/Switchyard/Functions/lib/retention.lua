-- Deleting tasks that have ended, with everything about them.

-- Deletes the ended tasks `ids`: hash, log, index, and their part in the counts.
function sw.delete_ended(q, ids)
    local doomed, keys, purged, batches = {}, {}, {}, {}
    for _, id in ipairs(ids) do
        local v = redis.call('HMGET', q.prefix .. 'task:' .. id, 'state', 'batch')
        if not v[1] or sw.TERMINAL[v[1]] then
            doomed[#doomed + 1] = id
            keys[#keys + 1] = q.prefix .. 'task:' .. id
            keys[#keys + 1] = q.prefix .. 'log:' .. id
            keys[#keys + 1] = q.prefix .. 'dependents:' .. id
            if v[1] then sw.count(purged, 'purged_' .. v[1], 1) end
            if v[2] then sw.count(batches, v[2], 1) end
        end
    end
    if #doomed == 0 then return 0 end
    redis.call('ZREM', q.prefix .. 'finished', unpack(doomed))
    redis.call('UNLINK', unpack(keys))
    for name, by in pairs(purged) do redis.call('HINCRBY', q.prefix .. 'stats', name, by) end
    for id, by in pairs(batches) do
        local key = q.prefix .. 'batch:' .. id
        if redis.call('HINCRBY', key, 'purged', by) >= tonumber(redis.call('HGET', key, 'total') or 0) then
            redis.call('DEL', key, q.prefix .. 'members:' .. id)
        end
    end
    return #doomed
end
