-- The types of the queue's keys. Redis does not roll back: a function that meets a key of a wrong type after its
-- first write would leave half of a transition. Functions that are called for every task know most types from their
-- reads (transition.lua); other functions check all types before they write. After a call has begun to write, it
-- deletes a key of a wrong type, which holds nothing of the queue any more, and continues as if the key were empty.

local TYPES = {
    zset = { 'pending', 'held', 'waiting', 'leases', 'finished', 'finished:failed', 'finished:timeout',
        'finished:cancelled',
        'workers', 'idle', 'idle_pools', 'lanes', 'closed', 'lane_names', 'unserved', 'schedules', 'stages',
        'logs', 'ending' },
    hash = { 'stats', 'class', 'classes', 'reserved', 'stuck', 'claims', 'virtual_time', 'cordoned' },
    list = { 'cascade', 'batch_work' },
}

-- Returns an error reply if a key of the queue has a wrong type, or nil.
function sw.check_types(q)
    for expected, names in pairs(TYPES) do
        for i = 1, #names do
            local found = call('TYPE', q.prefix .. names[i]).ok
            if found ~= 'none' and found ~= expected then
                return redis.error_reply('WRONGTYPE key ' .. q.prefix .. names[i] .. ' is a ' .. found
                    .. ', expected a '
                    .. expected
                    .. ': something else has written to it; delete it, and switchyard_reconcile makes it again')
            end
        end
    end
end

-- Replaces redis.call once a call has begun to write: deletes a key of a wrong type and repeats the command.
local function call_on(command, key, ...)
    local reply = pcall_redis(command, key, ...)
    if type(reply) ~= 'table' or not reply.err then return reply end
    if not find(reply.err, 'WRONGTYPE', 1, true) then error(reply) end
    strict_call('DEL', key)
    return strict_call(command, key, ...)
end

-- Marks the start of the writes of this call.
function sw.begin_writing()
    call = call_on
end

-- Opens the queue of a call that writes, and checks the types of its common keys. Returns the queue, or nil and an
-- error reply.
function sw.enter_checked(keys)
    local q, failure = sw.enter(keys)
    if not q then return nil, failure end
    failure = sw.check_types(q)
    if failure then return nil, failure end
    sw.begin_writing()
    return q
end
