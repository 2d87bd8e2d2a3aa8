-- What is known of a task, for people: its hash, and what its indexes add to that.

-- The pairs of the task's hash and of its place in the indexes, or nil.
function sw.describe(q, id)
    local fields = redis.call('HGETALL', q.prefix .. 'task:' .. id)
    if #fields == 0 then return nil end
    local state, held_by, lane
    for i = 1, #fields, 2 do
        if fields[i] == 'state' then state = fields[i + 1] end
        if fields[i] == 'held_by' then held_by = fields[i + 1] end
        if fields[i] == 'lane' then lane = fields[i + 1] end
    end
    -- Of a batch that is not whole yet nobody sees a task.
    if held_by == 'batch' then return nil end
    local function add(name, value)
        fields[#fields + 1] = name
        fields[#fields + 1] = value
    end
    add('id', id)
    if sw.LIVE[state] then
        add('lease_expires_at', redis.call('ZSCORE', q.prefix .. 'leases', id) or '')
    elseif state == 'pending' and not held_by then
        add('position', tostring(redis.call('ZRANK', q.prefix .. sw.line_of(lane), id) or -1))
        if q.paused then add('held_by', 'paused') end
    end
    return fields
end
