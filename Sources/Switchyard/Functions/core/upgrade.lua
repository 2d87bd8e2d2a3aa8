-- Converts a queue that a library before version 5 (layout 4) has written, in bounded steps: each call that writes
-- does some, until none are left. Two conversions happen later, at no extra cost: the score of a task becomes a tag
-- when the task is read (tasks.lua), and a task with limits moves to the lane of its limits when a pull reads it
-- (pull.lua).

local STEP = 25

-- Layout 4 has one set of sleeping workers for all classes. They are woken, pull, and fall asleep in their pools.
local function wake_all(q)
    local sleepers = call('ZRANGE', q.idle_key, 0, STEP - 1)
    for _, worker in ipairs(sleepers) do
        local key = q.attempts_prefix .. worker
        local text = call('HGET', key, '@state')
        if text then call('HSET', key, '@state', (string.gsub(text, 'asleep=1', 'asleep=0'))) end
        call('LPUSH', q.prefix .. 'wake:' .. worker, '1')
        call('ZREM', q.idle_key, worker)
    end
    return #sleepers
end

-- Converts the lists of dependents to sets. Only those of tasks that another task waits for matter.
local function convert_dependents(q, id)
    local ids = call('HGET', q.task_prefix .. id, 'depends_on') or ''
    local count = 0
    for other in string.gmatch(ids, '[^,]+') do
        local key = q.prefix .. 'dependents:' .. other
        if call('TYPE', key).ok == 'list' then
            local waiting = call('LRANGE', key, 0, -1)
            call('DEL', key)
            for _, dependent in ipairs(waiting) do call('ZADD', key, 0, dependent) end
        end
        count = count + 1
    end
    return count
end

-- Continues a pass over an index of layout 4 where the last step ended, and calls `visit` with each id. `visit`
-- returns whether it removed the id from the index. Returns whether the end is reached.
local function walk(q, index, visit)
    local field = 'upgraded_' .. index
    local from = sw.whole(call('HGET', q.config_key, field), 0)
    local ids = call('ZRANGE', q.prefix .. index, from, from + STEP - 1)
    local left = 0
    for _, id in ipairs(ids) do
        if not visit(id) then left = left + 1 end
    end
    if #ids == STEP then
        call('HSET', q.config_key, field, from + left)
        return false
    end
    call('HDEL', q.config_key, field)
    return true
end

-- Moves a task that its concurrency limit held back to the line of its lane.
local function unblock(q, id)
    local key = q.task_prefix .. id
    call('ZREM', q.prefix .. 'blocked', id)
    local v = call('HMGET', key, 'state', 'held_by', 'concurrency_key')
    if v[3] then call('ZREM', q.prefix .. 'blocked:' .. v[3], id) end
    if v[1] == 'pending' and v[2] == 'concurrency_limit' then
        call('HDEL', key, 'held_by')
        local task = sw.read(q, id)
        if task.new_lane then
            task.lane = task.new_lane
            call('HSET', key, 'lane', task.lane)
        end
        local score = sw.score(q, task.priority, task.tag)
        sw.ensure(q, 'has_lanes')
        sw.write_config(q)
        call('ZADD', q.prefix .. sw.line_of(task.lane), score, id)
        sw.add_to_stat(q, 'in_lanes_' .. task.priority, 1)
        if task.lane then sw.lane_gained(sw.changes(q), task.lane, tonumber(score), 1) end
    end
    return true
end

-- Moves a task that its rate limit held to the line of its lane. The state of the rate limit stays as it is.
local function unhold(q, id)
    if call('HGET', q.task_prefix .. id, 'held_by') ~= 'rate_limit' then return false end
    local task = sw.read(q, id)
    if not task.new_lane then return false end
    sw.ensure(q, 'has_lanes')
    local c = sw.changes(q)
    sw.move(c, task, 'pending', {}, { clear = { 'rate_granted' } })
    sw.commit(c)
    return true
end

-- Converts a task of a batch that was submitted in parts. If the batch was opened, the task enters the queue.
-- Otherwise the task is deleted, because its submission was never confirmed.
local function unstage(q, id)
    local task = sw.read(q, id)
    call('ZREM', q.prefix .. 'staged', id)
    if not task or task.held_by ~= 'batch' then return true end
    local v = call('HMGET', q.prefix .. 'batch:' .. (task.batch or ''), 'total')
    if not v[1] then
        local unique_key = task.unique_key
        if unique_key and call('GET', q.prefix .. 'unique:' .. unique_key) == id then
            call('DEL', q.prefix .. 'unique:' .. unique_key)
        end
        call('UNLINK', q.task_prefix .. id, q.prefix .. 'dependents:' .. id)
        return true
    end
    convert_dependents(q, id)
    local broken = call('HGET', q.task_prefix .. id, 'broken')
    local c = sw.changes(q)
    task.held_by = 'schedule'
    call('HSET', q.task_prefix .. id, 'held_by', 'schedule')
    if broken then
        sw.cancel_task(c, task, 'its dependency ' .. broken)
    elseif task.deps_left > 0 then
        sw.move(c, task, 'pending', {}, { held_by = 'dependencies' })
    else
        sw.release(c, task, {})
    end
    sw.commit(c)
    return true
end

-- Deletes batches that were staged and not opened.
local function drop_staged_batches(q)
    local ids = call('ZRANGE', q.prefix .. 'staged_batches', 0, STEP - 1)
    for _, id in ipairs(ids) do
        call('DEL', q.prefix .. 'batch:' .. id, q.prefix .. 'members:' .. id)
        call('ZREM', q.prefix .. 'staged_batches', id)
    end
    return #ids
end

-- Converts the hash of finish tags of a level to a sorted set. Returns whether it is done.
local function convert_tenants(q, priority)
    local key = q.prefix .. 'fair:' .. priority
    local page = call('HSCAN', key, 0, 'COUNT', STEP)
    for i = 1, #page[2], 2 do
        local name, value = page[2][i], page[2][i + 1]
        if name == 'v' then
            call('HSET', q.prefix .. 'virtual_time', priority, value)
        elseif sub(name, 1, 2) == 'f:' then
            call('ZADD', q.prefix .. 'tenants:' .. priority, value, sub(name, 3))
        end
        call('HDEL', key, name)
    end
    return call('EXISTS', key) == 0
end

-- Adds ended tasks that did not complete to the indexes of their states.
local function index_ended(q)
    return walk(q, 'finished', function(id)
        local v = call('HMGET', q.task_prefix .. id, 'state', 'finished_at')
        local index = sw.end_index(v[1] or 'completed')
        if index then
            call('ZADD', q.prefix .. index, v[2] or q.now_text, id)
            sw.check_failure(q, id)
        end
        return false
    end)
end

-- Builds the indexes of lanes and classes.
local function index_lanes(q)
    local c = sw.changes(q)
    local from = call('HGET', q.config_key, 'upgraded_lanes')
    from = sw.whole(from, 0)
    local lanes = call('ZRANGE', q.lanes_key, from, from + STEP - 1)
    for _, lane in ipairs(lanes) do
        call('ZADD', q.prefix .. 'lane_names', 0, lane)
        sw.check_lane(c, lane)
    end
    if #lanes == STEP then
        call('HSET', q.config_key, 'upgraded_lanes', from + STEP)
        return false
    end
    call('HDEL', q.config_key, 'upgraded_lanes')
    return true
end

-- The steps, in an order in which each finds what it needs.
local STEPS = {
    function(q) return wake_all(q) < STEP end,
    function(q) return drop_staged_batches(q) < STEP end,
    function(q) return walk(q, 'waiting', function(id)
        convert_dependents(q, id)
        return false
    end) end,
    function(q)
        for _, priority in ipairs(sw.PRIORITIES) do
            if not convert_tenants(q, priority) then return false end
        end
        return true
    end,
    index_lanes,
    function(q) return walk(q, 'blocked', function(id) return unblock(q, id) end) end,
    function(q) return walk(q, 'held', function(id) return unhold(q, id) end) end,
    function(q) return walk(q, 'staged', function(id) return unstage(q, id) end) end,
    index_ended,
    function(q)
        call('DEL', q.prefix .. 'reserved', q.prefix .. 'blocked', q.prefix .. 'staged')
        return true
    end,
}

-- Limit on the unfinished steps of one call.
local STEPS_PER_CALL = 8

-- Continues the conversion. Returns whether the queue now has the present layout.
function sw.upgrade(q)
    local at, left = sw.whole(call('HGET', q.config_key, 'upgrade_step'), 1), STEPS_PER_CALL
    while at <= #STEPS do
        if STEPS[at](q) then
            at = at + 1
        else
            left = left - 1
        end
        if left == 0 then
            call('HSET', q.config_key, 'upgrade_step', at)
            return false
        end
    end
    call('HDEL', q.config_key, 'upgrade_step')
    sw.set_config(q, 'layout', LAYOUT)
    return true
end
