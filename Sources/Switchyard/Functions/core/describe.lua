-- The description of a task for people: its hash, and what the indexes add.

-- Adds a task that no index contains to the index of its state, and counts the repair.
function sw.put_back(q, id)
    local task = sw.read(q, id)
    if not task then return end
    local index = sw.index_of(task.state, task.held_by, task.lane)
    local v = call('HMGET', q.task_prefix .. id, 'due_at', 'finished_at')
    local score
    if index == 'held' then score = sw.whole(v[1]) and v[1] or q.now_text
    elseif index == 'leases' then
        score = q.now + (task.state == 'assigned' and q.assign_timeout_ms or q.lease_ms)
        if task.state == 'running' then
            score = math.min(score, tonumber(task.started_at or q.now) + task.timeout_ms)
        end
        score = sw.digits(score)
    elseif index == 'finished' then score = sw.whole(v[2]) and v[2] or q.now_text
    else score = sw.score(q, task.priority or 'normal', task.tag) end
    if call('ZADD', q.prefix .. index, 'NX', score, id) == 0 then return end
    local end_index = sw.end_index(task.state)
    if end_index then call('ZADD', q.prefix .. end_index, score, id) end
    sw.add_to_stat(q, 'repaired', 1)
    if index == sw.line_of(task.lane) and task.lane then
        sw.ensure(q, 'has_lanes')
        sw.write_config(q)
        sw.lane_gained(sw.changes(q), task.lane, tonumber(score), 1)
    end
end

-- Returns the pairs of the task's hash, without a payload or result of more than `longest` bytes. The pair `omitted`
-- names those.
local function short_fields(key, longest)
    local omitted = {}
    for _, name in ipairs({ 'payload', 'result' }) do
        if call('HSTRLEN', key, name) > longest then omitted[#omitted + 1] = name end
    end
    if #omitted == 0 then return call('HGETALL', key) end
    local names, fields = {}, {}
    for _, name in ipairs(call('HKEYS', key)) do
        if name ~= omitted[1] and name ~= omitted[2] then names[#names + 1] = name end
    end
    -- A hash may have more names than `unpack` can return.
    for from = 1, #names, MOST_FIELDS do
        local to = math.min(from + MOST_FIELDS - 1, #names)
        local values = call('HMGET', key, unpack(names, from, to))
        for i = from, to do
            fields[#fields + 1] = names[i]
            fields[#fields + 1] = values[i - from + 1]
        end
    end
    fields[#fields + 1] = 'omitted'
    fields[#fields + 1] = table.concat(omitted, ' ')
    return fields
end

-- Returns the pairs of the task's hash and of its position in the indexes, or nil. A task that no index contains is
-- put back, unless the caller only reads. With `longest`, a payload or result of more bytes is left out.
function sw.describe(q, id, only_reads, longest)
    local key = q.task_prefix .. id
    local fields = longest and short_fields(key, longest) or call('HGETALL', key)
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
    if not sw.is_task(state) then return nil end
    if not sw.is_state(state) and not only_reads then
        if not sw.mend_state(q, id) then sw.set_aside(q, id) end
        return sw.describe(q, id, only_reads, longest)
    end
    local function add(name, value)
        fields[#fields + 1] = name
        fields[#fields + 1] = value
    end
    add('id', id)
    -- The queue's defaults apply to absent fields.
    if not timeout then add('timeout_ms', q.default_timeout_text) end
    if not retries then add('max_retries', sw.digits(q.default_max_retries)) end
    local index = sw.index_of(state, held_by, lane)
    local score = call('ZSCORE', q.prefix .. index, id)
    if not score and not only_reads then
        sw.put_back(q, id)
        score = call('ZSCORE', q.prefix .. index, id)
    end
    if sw.LIVE[state] then
        add('lease_expires_at', score or '')
    elseif state == 'pending' and not held_by then
        add('position', tostring(call('ZRANK', q.prefix .. sw.line_of(lane), id) or -1))
        local closed = lane and sw.has_gates(lane) and call('ZSCORE', q.closed_key, lane)
        if q.paused then
            add('held_by', 'paused')
        elseif closed then
            add('held_by', tonumber(closed) == 0 and 'concurrency_limit' or 'rate_limit')
        end
    end
    return fields
end
