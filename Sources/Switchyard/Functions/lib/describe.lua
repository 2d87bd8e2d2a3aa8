-- What is known of a task, for people: its hash, and what its indexes add to that.

-- The pairs of the task's hash and of its place in the indexes, or nil.
function sw.describe(q, id)
    local fields = call('HGETALL', q.prefix .. 'task:' .. id)
    if #fields == 0 then return nil end
    sw.join_payload(fields)
    local state, held_by, lane, timeout, retries
    for i = 1, #fields, 2 do
        if fields[i] == 'state' then state = fields[i + 1] end
        if fields[i] == 'held_by' then held_by = fields[i + 1] end
        if fields[i] == 'lane' then lane = fields[i + 1] end
        if fields[i] == 'timeout_ms' then timeout = true end
        if fields[i] == 'max_retries' then retries = true end
    end
    -- Of a batch that is not whole yet nobody sees a task.
    if held_by == 'batch' then return nil end
    local function add(name, value)
        fields[#fields + 1] = name
        fields[#fields + 1] = value
    end
    add('id', id)
    -- Where nothing was said, the queue's defaults hold.
    if not timeout then add('timeout_ms', q.default_timeout_text) end
    if not retries then add('max_retries', sw.digits(q.default_max_retries)) end
    if sw.LIVE[state] then
        add('lease_expires_at', call('ZSCORE', q.prefix .. 'leases', id) or '')
    elseif state == 'pending' and not held_by then
        add('position', tostring(call('ZRANK', q.prefix .. sw.line_of(lane), id) or -1))
        if q.paused then add('held_by', 'paused') end
    end
    return fields
end
