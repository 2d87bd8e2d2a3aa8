-- The types of the queue's keys. Redis does not roll back: a function that meets a key of a wrong type after its
-- first write would leave half of a transition. The functions that are called for each task know most types from what
-- they read (transition.lua); the others check them all before they begin. Once a call has written, a key that turns
-- out to have a wrong type holds nothing of ours any more: it is deleted, and the call goes on as if it was empty.

local TYPES = {
    zset = { 'pending', 'held', 'waiting', 'leases', 'finished', 'finished:failed', 'finished:timeout', 'finished:cancelled',
        'workers', 'idle', 'idle_pools', 'lanes', 'closed', 'lane_names', 'unserved', 'schedules', 'stages' },
    hash = { 'stats', 'class', 'classes', 'reserved', 'stuck', 'claims', 'virtual_time' },
    list = { 'cascade', 'batch_work' },
}

-- Returns an error reply if a key of the queue has a wrong type, or nil.
function sw.check_types(q)
    for expected, names in pairs(TYPES) do
        for i = 1, #names do
            local found = call('TYPE', q.prefix .. names[i]).ok
            if found ~= 'none' and found ~= expected then
                return redis.error_reply('WRONGTYPE key ' .. q.prefix .. names[i] .. ' is a ' .. found .. ', expected a '
                    .. expected .. ': something else has written to it; delete it, and switchyard_reconcile makes it again')
            end
        end
    end
end

-- redis.call for a call that has begun to write: no wrong type stops it.
local function call_on(command, key, ...)
    local reply = pcall_redis(command, key, ...)
    if type(reply) ~= 'table' or not reply.err then return reply end
    if not find(reply.err, 'WRONGTYPE', 1, true) then error(reply) end
    strict_call('DEL', key)
    return strict_call(command, key, ...)
end

-- The call begins to write.
function sw.begin_writing()
    call = call_on
end

-- The queue of a call that writes, of which all common keys have their types. Returns it, or nil and an error reply.
function sw.enter_checked(keys)
    local q, failure = sw.enter(keys)
    if not q then return nil, failure end
    failure = sw.check_types(q)
    if failure then return nil, failure end
    sw.begin_writing()
    return q
end
