-- Deleting tasks that have ended, with everything about them.

-- Whether dependents of the ended task still wait to hear of it: the ticks have not come so far.
function sw.has_unsettled(q, id)
    return q.has_holds and sw.has_dependents(q, id)
end

-- Deletes the ended tasks `ids`: hash, log, index, and their part in the counts; but not those whose dependents still wait,
-- unless `forced`.
function sw.delete_ended(q, ids, forced)
    local doomed, keys, purged, batches = {}, {}, {}, {}
    for _, id in ipairs(ids) do
        local v = call('HMGET', q.prefix .. 'task:' .. id, 'state', 'batch')
        if not v[1] or (sw.TERMINAL[v[1]] and (forced or not sw.has_unsettled(q, id))) then
            doomed[#doomed + 1] = id
            keys[#keys + 1] = q.prefix .. 'task:' .. id
            keys[#keys + 1] = q.prefix .. 'log:' .. id
            keys[#keys + 1] = q.prefix .. 'dependents:' .. id
            if v[1] then sw.count(purged, 'purged_' .. v[1], 1) end
            if v[2] then sw.count(batches, v[2], 1) end
        end
    end
    if #doomed == 0 then return 0 end
    call('ZREM', q.prefix .. 'finished', unpack(doomed))
    call('UNLINK', unpack(keys))
    for name, by in pairs(purged) do call('HINCRBY', q.prefix .. 'stats', name, by) end
    for id, by in pairs(batches) do
        local key = q.prefix .. 'batch:' .. id
        if call('HINCRBY', key, 'purged', by) >= tonumber(call('HGET', key, 'total') or 0) then
            call('DEL', key, q.prefix .. 'members:' .. id)
        end
    end
    return #doomed
end
