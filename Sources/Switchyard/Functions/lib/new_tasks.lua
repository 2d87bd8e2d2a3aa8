-- New tasks: what may be said of one, and how it comes into the queue. Used by every function that makes tasks: a
-- submission, a schedule that fires, the follow-up of a batch.

-- The arguments of a task that are stored under their name. What checks one answers nil, or the text of a BADREQUEST; true
-- accepts any bytes.
local function integer(least, most)
    return function(name, value) return sw.check_integer(name, value, least, most) end
end

local function decimal(least, most)
    return function(name, value)
        local number = find(value, '^%d+%.?%d*$') and #value <= 15 and tonumber(value)
        if not number or number < least or number > most then
            return name .. ': expected a number from ' .. least .. ' to ' .. most .. ', found ' .. sw.shown(value)
        end
    end
end

-- A key that a caller chooses; it becomes part of a Redis key.
local function key(name, value)
    if not sw.is_name(value) then
        return name .. ': expected 1 to 200 characters of A-Z a-z 0-9 . _ : -, found ' .. sw.shown(value)
    end
end

local function any() end

local OPAQUE = { repo = true, target = true, args = true, mr = true, labels = true, command = true, env = true, cwd = true,
    payload = true, traceparent = true, priority_reason = true, request = true }
sw.OPAQUE = OPAQUE

local CHECKED = { timeout_ms = integer(1, 2592000000), max_retries = integer(0, 100) }
sw.CHECKED = CHECKED

-- Those that a plain task does not have; delay_ms and run_at are not stored as they are.
local SPECIAL = {
    requires = any, cpu = any, memory_mb = any, resources = any, depends_on = any, run_anyway = integer(0, 1),
    affinity_key = key, group_key = key, fairness_key = key, fairness_weight = decimal(0.001, 1000),
    concurrency_key = key, concurrency_limit = integer(1, 1000000), rate_key = key,
    rate_per_second = decimal(0.0001, 100000), rate_burst = integer(1, 1000000), unique_key = key,
    unique_for_ms = integer(1, 31536000000), delay_ms = integer(0, 31536000000), run_at = integer(0, 99999999999999),
}

local function add_field(t, name, value)
    local n = t.n_fields
    t.fields[n + 1], t.fields[n + 2] = name, value
    t.n_fields = n + 2
end

-- Reads an argument of task `t` that is no opaque bytes in its hash. Answers what is wrong with it, or nil.
local function read_argument(t, name, value)
    if name == 'priority' then
        if not sw.LEVEL[value] then
            return 'priority: expected critical, high, normal or low, found ' .. sw.shown(value)
        end
        t.priority, t.fields[6] = value, value
    elseif name == 'payload' then
        for i, piece in ipairs(sw.pieces_of(value)) do add_field(t, sw.piece_name(i), piece) end
    elseif CHECKED[name] or SPECIAL[name] then
        local problem = (CHECKED[name] or SPECIAL[name])(name, value)
        if problem then return problem end
        t[name] = value
        if SPECIAL[name] then t.is_special = true end
        if name ~= 'delay_ms' and name ~= 'run_at' then add_field(t, name, value) end
    end
end

-- Finds the lane of a task that is not plain. Answers what is wrong, or nil.
local function find_lane(t)
    local lane, problem = sw.lane_of(t)
    if not lane then return problem end
    if lane ~= '' then t.lane = lane end
end

-- Reads the pairs of a call that makes tasks, as sw.parse does, and checks each task by itself: t.fields is the beginning of
-- its hash, of which the place is still empty.
-- Replies: head (has_special: one is not plain), tasks; or nil and an error reply.
function sw.read_tasks(q, args)
    local size = #args
    if size % 2 == 1 then
        return nil, sw.bad('arguments come in pairs of name and value, found ' .. size .. ' of them')
    end
    local head, tasks, n, seen, t, id, bytes = {}, {}, 0, nil, nil, nil, 0
    local now, most = q.now_text, sw.MAX_VALUE_BYTES
    for i = 1, size, 2 do
        local name, value = args[i], args[i + 1]
        if name == 'task' then
            local wrong = sw.check_id(value)
            if wrong then return nil, wrong end
            if n > 0 then
                if n == sw.MAX_TASKS_PER_CALL then
                    return nil, sw.bad('task: at most ' .. n .. ' tasks in one call')
                end
                seen = seen or { [id] = true }
                if seen[value] then return nil, sw.bad('task: ' .. value .. ' is named twice in one call') end
                seen[value] = true
            end
            -- The empty places give the tables their size at once.
            t = { task = value, priority = 'normal', n_fields = 8, is_special = false, request = nil, ready = nil, key = nil,
                fields = { 'state', 'pending', 'place', false, 'priority', 'normal', 'submitted_at', now,
                    nil, nil, nil, nil, nil, nil, nil, nil } }
            n, id, bytes = n + 1, value, 0
            tasks[n] = t
        elseif t then
            bytes = bytes + #value
            if bytes > most then
                return nil, sw.bad('task ' .. id .. ': a task holds at most ' .. most .. ' bytes, and this one is longer')
            end
            if t.n_fields > MOST_FIELDS then
                return nil, sw.bad('task ' .. id .. ': a task has at most ' .. MOST_FIELDS / 2 .. ' arguments')
            end
            if name == 'request' then
                t.request = value
                -- A token equal to the id is what a generated id needs, and is not worth its bytes.
                if value ~= id then add_field(t, name, value) end
            elseif OPAQUE[name] and (name ~= 'payload' or #value <= SHORT_VALUE or #value > IN_PIECES) then
                local at, fields = t.n_fields, t.fields
                fields[at + 1], fields[at + 2] = name, value
                t.n_fields = at + 2
            else
                local problem = read_argument(t, name, value)
                if problem then return nil, sw.bad('task ' .. id .. ': ' .. problem) end
                head.has_special = head.has_special or t.is_special
            end
        else
            head[name] = value
        end
    end
    if head.has_special then
        for i = 1, n do
            local problem = tasks[i].is_special and find_lane(tasks[i])
            if problem then return nil, sw.bad('task ' .. tasks[i].task .. ': ' .. problem) end
        end
    end
    return head, tasks
end

-- Its field `uses` (tasks.lua), or nil.
local function uses(t)
    if t.concurrency_key or t.rate_key or t.unique_key then return '1' end
    return t.depends_on and 'dependencies'
end

-- From now on the queue has what this task uses.
function sw.ensure_uses(q, t)
    if t.lane then sw.ensure_lanes(q) end
    if t.fairness_key then sw.ensure_fairness(q) end
    if t.affinity_key then sw.ensure_affinity(q) end
    if uses(t) then sw.ensure_holds(q) end
end

-- Says an argument of the task anew.
function sw.set_field(t, name, value)
    t[name] = value
    for i = 9, t.n_fields, 2 do
        if t.fields[i] == name then t.fields[i + 1] = value end
    end
end

-- Plans the new task `t` (of sw.read_tasks), the i-th of its call. Answers whether it is ready to run.
function sw.plan_task(c, t, i, batch, staged)
    local q, id, fields = c.q, t.task, t.fields
    local place = sw.place(q, t.priority, q.is_fair and sw.start_tag(c, t) or sw.time_tag(q, i - 1))
    fields[4] = place
    if batch then add_field(t, 'batch', batch) end
    if t.lane then
        add_field(t, 'lane', t.lane)
    end
    local new = { id = id, batch = batch, lane = t.lane, priority = t.priority, place = place, attempt = 0 }
    local used = t.is_special and uses(t)
    if used then
        new.uses, new.concurrency_key, new.unique_key = used, t.concurrency_key, t.unique_key
        add_field(t, 'uses', used)
    end
    if t.unique_key then
        c.unique[#c.unique + 1] = t.unique_key
        c.unique[#c.unique + 1] = id
    end
    local due = math.max(t.run_at and tonumber(t.run_at) or 0, t.delay_ms and q.now + tonumber(t.delay_ms) or 0)
    if due > q.now then
        add_field(t, 'run_at', sw.digits(due))
    end
    if t.broken and staged then
        add_field(t, 'broken', t.broken)
    elseif t.broken then
        -- A dependency ended without success before this task came: it is cancelled where it stands.
        add_field(t, 'finished_at', q.now_text)
        add_field(t, 'outcome', 'cancelled')
        add_field(t, 'error_code', 'Cancelled')
        add_field(t, 'error_message', 'its dependency ' .. t.broken)
        sw.move(c, new, 'cancelled', q.now_text, fields)
        return false
    end
    if t.waits_for and t.waits_for > 0 then
        add_field(t, 'deps_left', tostring(t.waits_for))
        sw.depend(c, t.task, t.dependencies)
        if not staged then
            sw.move(c, new, 'pending', place, fields, { held_by = 'dependencies' })
            return false
        end
    end
    if staged then
        sw.move(c, new, 'pending', place, fields, { held_by = 'batch' })
        return false
    end
    if due > q.now then
        sw.move(c, new, 'pending', sw.digits(due), fields, { held_by = 'schedule' })
        return false
    end
    sw.move(c, new, 'pending', place, fields)
    return true
end

-- Plans the task that `pairs_`, a list of names and values, describes, which is part of something that makes tasks (a schedule,
-- a follow-up). Answers an error reply when it cannot be made, or nil.
function sw.plan_one(c, pairs_)
    local q = c.q
    local head, tasks = sw.read_tasks(q, pairs_)
    if not head then return tasks end
    local t = tasks[1]
    local problem = t.is_special and sw.check_dependencies(q, tasks)
    if problem then return sw.bad('task ' .. t.task .. ': ' .. problem) end
    if t.unique_key and sw.holder_of_key(q, t) then return nil end
    local length = sw.length(q)
    if length + 1 > q.max_queue_length then
        return redis.error_reply('QUEUEFULL queue ' .. q.name .. ' holds ' .. length .. ' tasks, its limit')
    end
    sw.ensure_uses(q, t)
    sw.plan_task(c, t, 1, nil)
end
