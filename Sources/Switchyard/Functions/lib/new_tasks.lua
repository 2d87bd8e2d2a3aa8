-- New tasks: what may be said of one, and how it comes into the queue. Used by every function that makes tasks: a
-- submission, a schedule that fires, the follow-up of a batch.

-- The arguments of a task that are stored as they are, with what checks them: true accepts any bytes.
local function integer(least, most)
    return function(_, name, value) return sw.check_integer(name, value, least, most) end
end

-- What checks an argument that a plain task does not have; it marks the task.
local function special(check)
    return function(t, name, value)
        t.is_special = true
        return check and check(t, name, value)
    end
end

local function decimal(least, most)
    return special(function(_, name, value)
        local number = string.find(value, '^%d+%.?%d*$') and #value <= 15 and tonumber(value)
        if not number or number < least or number > most then
            return name .. ': expected a number from ' .. least .. ' to ' .. most .. ', found ' .. sw.shown(value)
        end
    end)
end

-- A key that a caller chooses; it becomes part of a Redis key.
local key = special(function(_, name, value)
    if not sw.is_name(value) then
        return name .. ': expected 1 to 200 characters of A-Z a-z 0-9 . _ : -, found ' .. sw.shown(value)
    end
end)

local STORED = {
    repo = true, target = true, args = true, mr = true, labels = true, command = true, env = true, cwd = true,
    payload = true, traceparent = true, priority_reason = true, request = true,
    requires = special(), cpu = special(), memory_mb = special(), resources = special(), depends_on = special(),
    run_anyway = special(integer(0, 1)), affinity_key = key, group_key = key, fairness_key = key,
    fairness_weight = decimal(0.001, 1000), concurrency_key = key, concurrency_limit = special(integer(1, 1000000)),
    rate_key = key, rate_per_second = decimal(0.0001, 100000), rate_burst = special(integer(1, 1000000)),
    unique_key = key, unique_for_ms = special(integer(1, 31536000000)),
}

-- Arguments that are not stored under their name.
local CHECKED = { timeout_ms = integer(1, 2592000000), max_retries = integer(0, 100),
    delay_ms = integer(0, 31536000000), run_at = integer(0, 99999999999999) }

-- Answers what is wrong with the task, or nil.
function sw.problem_of(t)
    if t.priority and not sw.LEVEL[t.priority] then
        return 'priority: expected critical, high, normal or low, found ' .. sw.shown(t.priority)
    end
    local bytes = 0
    for name, value in pairs(t) do
        local check = STORED[name]
        if check then bytes = bytes + #value else check = CHECKED[name] end
        if check and check ~= true then
            local problem = check(t, name, value)
            if problem then return problem end
        end
    end
    if bytes > sw.MAX_VALUE_BYTES then
        return 'a task holds at most ' .. sw.MAX_VALUE_BYTES .. ' bytes, found ' .. bytes
    end
end
-- The hash of a new task, as pairs.
local function fields_of(q, t, place, batch)
    local fields = { 'priority', t.priority, 'place', place, 'submitted_at', q.now_text,
        'timeout_ms', t.timeout_ms or sw.digits(q.default_timeout_ms),
        'max_retries', t.max_retries or sw.digits(q.default_max_retries) }
    for name, value in pairs(t) do
        -- A token equal to the id is what a generated id needs, and is not worth its bytes.
        if STORED[name] and not (name == 'request' and value == t.task) then
            fields[#fields + 1] = name
            fields[#fields + 1] = value
        end
    end
    if t.lane then
        fields[#fields + 1] = 'lane'
        fields[#fields + 1] = t.lane
    end
    if batch then
        fields[#fields + 1] = 'batch'
        fields[#fields + 1] = batch
    end
    return fields
end

-- Whether a task asks for something that a plain one does not have.
local function uses(t)
    return t.concurrency_key or t.rate_key or t.unique_key or t.depends_on
end

-- From now on the queue has what this task uses.
function sw.ensure_uses(q, t)
    if t.lane then sw.ensure_lanes(q) end
    if t.fairness_key then sw.ensure_fairness(q) end
    if t.affinity_key then sw.ensure_affinity(q) end
    if uses(t) then sw.ensure_holds(q) end
end

-- Plans the new task `t`, the i-th of its call. Answers whether it is ready to run.
function sw.plan_task(c, t, i, batch, staged)
    local q = c.q
    t.place = sw.place(q, t.priority, q.is_fair and sw.start_tag(c, t) or sw.time_tag(q, i - 1))
    local fields = fields_of(q, t, t.place, batch)
    local new = { id = t.task, batch = batch, lane = t.lane, priority = t.priority, place = t.place, attempt = 0 }
    if t.is_special and uses(t) then
        new.uses, new.concurrency_key, new.unique_key = true, t.concurrency_key, t.unique_key
        fields[#fields + 1] = 'uses'
        fields[#fields + 1] = '1'
    end
    if t.unique_key then
        c.unique[#c.unique + 1] = t.unique_key
        c.unique[#c.unique + 1] = t.task
    end
    local due = math.max(t.run_at and tonumber(t.run_at) or 0, t.delay_ms and q.now + tonumber(t.delay_ms) or 0)
    if due > q.now then
        fields[#fields + 1] = 'run_at'
        fields[#fields + 1] = sw.digits(due)
    end
    if t.broken and staged then
        fields[#fields + 1] = 'broken'
        fields[#fields + 1] = t.broken
    elseif t.broken then
        -- A dependency ended without success before this task came: it is cancelled where it stands.
        for _, value in ipairs({ 'finished_at', q.now_text, 'outcome', 'cancelled', 'error_code', 'Cancelled',
            'error_message', 'its dependency ' .. t.broken }) do
            fields[#fields + 1] = value
        end
        sw.move(c, new, 'cancelled', q.now_text, fields)
        return false
    end
    if t.waits_for and t.waits_for > 0 then
        fields[#fields + 1] = 'deps_left'
        fields[#fields + 1] = tostring(t.waits_for)
        sw.depend(c, t.task, t.dependencies)
        if not staged then
            sw.move(c, new, 'pending', t.place, fields, { held_by = 'dependencies' })
            return false
        end
    end
    if staged then
        fields[#fields + 1] = 'uses'
        fields[#fields + 1] = '1'
        sw.move(c, new, 'pending', t.place, fields, { held_by = 'batch' })
        return false
    end
    if due > q.now then
        sw.move(c, new, 'pending', sw.digits(due), fields, { held_by = 'schedule' })
        return false
    end
    sw.move(c, new, 'pending', t.place, fields)
    return true
end

-- Plans a task that was checked when it was given as part of something else (a schedule, a follow-up). Answers an error
-- reply when it cannot be made, or nil.
function sw.plan_one(c, t)
    local q = c.q
    local problem = sw.problem_of(t)
    if not problem and t.is_special then
        t.lane, problem = sw.lane_of(t)
        if t.lane == '' then t.lane = nil end
        problem = problem or sw.check_dependencies(q, { t })
    end
    if problem then return sw.bad('task ' .. t.task .. ': ' .. problem) end
    if t.unique_key and sw.holder_of_key(q, t) then return nil end
    local length = redis.call('ZCARD', q.prefix .. 'pending') + redis.call('ZCARD', q.prefix .. 'held') + sw.elsewhere(q)
    if length + 1 > q.max_queue_length then
        return redis.error_reply('QUEUEFULL queue ' .. q.name .. ' holds ' .. length .. ' tasks, its limit')
    end
    t.priority = t.priority or 'normal'
    sw.ensure_uses(q, t)
    sw.plan_task(c, t, 1, nil)
end
