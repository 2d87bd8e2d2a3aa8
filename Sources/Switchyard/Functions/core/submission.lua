-- New tasks: parsing their arguments, and planning how they enter the queue. Used by every function that makes tasks:
-- a submission, the opening of a batch, the firing of a schedule, the follow-up task of a batch.
--
-- One loop reads the pairs of all tasks of a call into one flat list. The part of a task in it is the beginning of
-- the task's hash. Only a task with an option beyond its own fields gets a table of its own (`options`).

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

local function key(name, value) return sw.check_key(name, value) end

local function any() end

-- The arguments of a task that are stored under their names: those of any bytes, and those with a check, which
-- returns nil or the text of a BADREQUEST.
local OPAQUE = { repo = true, target = true, args = true, mr = true, labels = true, command = true,
    env = true, cwd = true,
    payload = true, traceparent = true, priority_reason = true, kind = true }
local CHECKED = { timeout_ms = integer(1, 2592000000), max_retries = integer(0, 100), grace_ms = integer(0, 3600000) }

-- The arguments that select a lane.
local LANE = { requires = any, cpu = any, memory_mb = any, resources = any, concurrency_key = key,
    concurrency_limit = integer(1, 1000000), rate_key = key, rate_per_second = decimal(0.0001, 100000),
    rate_burst = integer(1, 1000000) }

-- The arguments that concern more than the task. delay_ms is not stored, and run_at only if it is in the future.
local SPECIAL = { depends_on = any, run_anyway = integer(0, 1), affinity_key = key, group_key = key, fairness_key = key,
    fairness_weight = decimal(0.001, 1000), unique_key = key, unique_for_ms = integer(1, 31536000000),
    delay_ms = integer(0, 31536000000), run_at = integer(0, 99999999999999) }
local NOT_STORED = { delay_ms = true, run_at = true }

-- The tasks of the call. `all` is the flat list; `starts[i]` is the position of task i's key in it, and `ends[i]`
-- that of its last value. lanes: the lane, or false. options: the options of LANE and SPECIAL by name, with `task`
-- (the id), or false. All calls share these tables, and read no more entries than they have tasks.
local ids, keys, starts, ends, lanes, options, requests, all = {}, {}, {}, {}, {}, {}, {}, {}

-- Positions of values in a task's part of `all`, relative to its key.
local TAG_AT, PRIORITY_AT = 2, 4

-- Looked up once instead of for each task.
local check_id, score_of, digits, LEVEL = sw.check_id, sw.score, sw.digits, sw.LEVEL
local most_tasks, most_bytes = sw.MAX_TASKS_PER_CALL, sw.MAX_VALUE_BYTES

local function options_of(i)
    local t = options[i]
    if not t then
        t = { task = ids[i], at = i }
        options[i] = t
    end
    return t
end

local function append(at, name, value)
    all[at + 1], all[at + 2] = name, value
    return at + 2
end

-- Completes task `i`, whose part of the list ends at `at` and whose values have `bytes` bytes: adds its batch, its
-- lane, `uses` and `run_at`. Returns the new end of the part, or nil and the error text.
local function close(q, i, at, batch, bytes)
    local t = options[i]
    lanes[i] = false
    if bytes > most_bytes then
        return nil, 'a task holds at most ' .. most_bytes .. ' bytes, and this one is longer'
    end
    if at - starts[i] > MOST_FIELDS then return nil, 'a task has at most ' .. MOST_FIELDS / 2 .. ' arguments' end
    if batch then at = append(at, 'batch', batch) end
    if t then
        if t.selects_lane then
            local lane, problem = sw.lane_of(t)
            if not lane then return nil, problem end
            if lane ~= '' then
                lanes[i] = lane
                at = append(at, 'lane', lane)
            end
        end
        if t.unique_key then t.uses = '1' elseif t.depends_on then t.uses = 'dependencies' end
        if t.uses then at = append(at, 'uses', t.uses) end
        local due = math.max(t.run_at and tonumber(t.run_at) or 0, t.delay_ms and q.now + tonumber(t.delay_ms) or 0)
        if due > q.now then
            t.due = sw.digits(due)
            at = append(at, 'run_at', t.due)
        end
    end
    ends[i] = at
    return at
end

-- Reads an argument that is not stored as opaque bytes. Returns the new end of the list, or nil and the error text.
local function read_argument(i, at, name, value)
    if name == 'priority' then
        return nil, 'priority: expected critical, high, normal or low, found ' .. sw.shown(value)
    elseif name == 'payload' then
        for k, piece in ipairs(sw.pieces_of(value)) do at = append(at, sw.piece_name(k), piece) end
        return at
    end
    local check = CHECKED[name] or LANE[name] or SPECIAL[name]
    -- Unknown names are ignored.
    if not check then return at end
    local problem = check(name, value)
    if problem then return nil, problem end
    if not CHECKED[name] then
        local t = options_of(i)
        t[name] = value
        if LANE[name] then t.selects_lane = true end
    end
    if not NOT_STORED[name] then at = append(at, name, value) end
    return at
end

local NO_HEAD = {}

-- Reads the pairs of the call, before the first "task". Returns them by name, and the position of that "task".
function sw.read_head(args)
    if args[1] == 'task' then return NO_HEAD, 1 end
    local head, i = {}, 1
    while args[i] and args[i] ~= 'task' do
        head[args[i]] = args[i + 1] or ''
        i = i + 2
    end
    return head, i
end

-- Reads the tasks from position `first` of the arguments on, checks each by itself, and builds the beginnings of
-- their hashes. Returns how many there are, and whether one has an entry in `options`; or nil and an error reply.
function sw.read_tasks(q, args, first, batch)
    local size = #args
    if size % 2 == 1 then
        return nil, sw.bad('arguments come in pairs of name and value, found ' .. size .. ' of them')
    end
    -- The loop uses local variables, which Lua accesses fastest.
    local all, starts, opaque, prefix, now = all, starts, OPAQUE, q.task_prefix, q.now_text
    local at, n, id, bytes, total, has_options, seen, problem = 0, 0, nil, 0, 0, false, nil, nil
    for i = first, size, 2 do
        local name, value = args[i], args[i + 1]
        if name == 'task' then
            if n > 0 then
                at, problem = close(q, n, at, batch, bytes)
                if not at then return nil, sw.bad('task ' .. id .. ': ' .. problem) end
                if options[n] then has_options = true end
            end
            local wrong = check_id(value)
            if wrong then return nil, wrong end
            if n == most_tasks then return nil, sw.bad('task: at most ' .. n .. ' tasks in one call') end
            if n > 0 then
                seen = seen or { [id] = true }
                if seen[value] then return nil, sw.bad('task: ' .. value .. ' is named twice in one call') end
                seen[value] = true
            end
            n, id, total, bytes = n + 1, value, total + bytes, 0
            local task_key = prefix .. value
            ids[n], keys[n], starts[n], options[n], requests[n] = value, task_key, at + 1, false, false
            all[at + 1], all[at + 2], all[at + 3], all[at + 4], all[at + 5], all[at + 6], all[at + 7] =
                task_key, 'tag', false, 'priority', 'normal', 'submitted_at', now
            at = at + 7
        else
            local length = #value
            bytes = bytes + length
            if opaque[name] and (name ~= 'payload' or length <= SHORT_VALUE or length > IN_PIECES) then
                all[at + 1], all[at + 2] = name, value
                at = at + 2
            elseif name == 'request' then
                requests[n] = value
                -- A token equal to the id, as for a generated id, is not stored.
                if value ~= id then at = append(at, name, value) end
            elseif name == 'priority' and LEVEL[value] then
                all[starts[n] + PRIORITY_AT] = value
            else
                at, problem = read_argument(n, at, name, value)
                if not at then return nil, sw.bad('task ' .. id .. ': ' .. problem) end
            end
        end
    end
    if n == 0 then return nil, sw.bad('task: missing') end
    at, problem = close(q, n, at, batch, bytes)
    if not at then return nil, sw.bad('task ' .. id .. ': ' .. problem) end
    if options[n] then has_options = true end
    if total + bytes > sw.MAX_CALL_BYTES then
        return nil, sw.bad('task: at most ' .. sw.MAX_CALL_BYTES .. ' bytes in one call, found ' .. total + bytes)
    end
    return n, has_options
end

-- Returns the entries of `options` of the `n` tasks that were read, in order.
function sw.tasks_with_options(n)
    local list = {}
    for i = 1, n do
        if options[i] then list[#list + 1] = options[i] end
    end
    return list
end

-- Returns what was read of task `i`: id, key of its hash, lane (or false), options (or false), request token (or
-- false).
function sw.new_task(i)
    return ids[i], keys[i], lanes[i], options[i], requests[i]
end

-- The ids of the tasks that were read. All calls share this list.
sw.new_ids = ids

-- Returns how many of the `n` tasks that were read exist.
function sw.count_existing(n)
    return call('EXISTS', unpack(keys, 1, n))
end

-- Whether none of the `n` tasks that were read exists, no worker sleeps, no task is held, and no batch is
-- staged or being opened.
function sw.is_all_clear(q, n)
    keys[n + 1], keys[n + 2], keys[n + 3], keys[n + 4] = q.idle_key, q.held_key, q.idle_pools_key, q.claims_key
    return call('EXISTS', unpack(keys, 1, n + 4)) == 0
end

-- Replaces an option of a task that was read.
function sw.set_field(t, name, value)
    t[name] = value
    for k = starts[t.at] + 7, ends[t.at], 2 do
        if all[k] == name then all[k + 1] = value end
    end
end

-- Sets the flags of the features that these `n` tasks use.
function sw.ensure_uses(q, n)
    for i = 1, n do
        local t = options[i]
        if t then
            if lanes[i] then sw.ensure(q, 'has_lanes') end
            if t.fairness_key then sw.ensure(q, 'is_fair') end
            if t.affinity_key then sw.ensure(q, 'has_affinity') end
            if t.depends_on then sw.ensure(q, 'has_holds') end
        end
    end
end

-- Plans task `i` of those that were read. Returns whether it is ready to run.
--   tag      its submission as a tag; ignored in a queue with fairness
--   lived    the number of the last attempt of a purged task with its id, or nil
--   awaited  tasks that entered before it depend on it
function sw.plan_task(c, i, batch, tag, lived, awaited)
    local q, id, start, last, lane, t = c.q, ids[i], starts[i], ends[i], lanes[i], options[i]
    local priority = all[start + PRIORITY_AT]
    if q.is_fair then tag = sw.start_tag(c, priority, t and t.fairness_key or '', t and t.fairness_weight) end
    all[start + TAG_AT] = digits(tag)
    if t and t.unique_key then
        c.takes[#c.takes + 1] = t.unique_key
        c.takes[#c.takes + 1] = id
    end
    local waits = t and t.waits and #t.waits > 0
    if not (t and (t.broken or t.due) or waits or lived or awaited) then
        sw.add_to_line(c, id, score_of(q, priority, tag), all, start, last, batch, lane, priority)
        return true
    end
    local fields = { unpack(all, start + 1, last) }
    local function add(name, value)
        fields[#fields + 1] = name
        fields[#fields + 1] = value
    end
    local new = { id = id, batch = batch, lane = lane, priority = priority, tag = tag, attempt = tonumber(lived or 0),
        uses = t and t.uses, unique_key = t and t.unique_key }
    if lived then
        -- The task is written over the tombstone, which would expire and take the task with it: the expiry is
        -- removed.
        c.kept[#c.kept + 1] = keys[i]
    end
    if awaited and not new.uses then
        new.uses = 'dependencies'
        add('uses', new.uses)
    end
    if t and t.broken then
        -- A dependency ended without success before this task entered.
        add('finished_at', q.now_text)
        add('outcome', 'cancelled')
        add('error_code', 'Cancelled')
        add('error_message', 'its dependency ' .. t.broken)
        sw.move(c, new, 'cancelled', fields)
        return false
    end
    if waits then
        add('deps_left', tostring(#t.waits))
        sw.depend(c, id, t.waits)
        sw.move(c, new, 'pending', fields, { held_by = 'dependencies' })
        return false
    end
    if t and t.due then
        sw.move(c, new, 'pending', fields, { held_by = 'schedule', due_at = t.due })
        return false
    end
    sw.move(c, new, 'pending', fields)
    return true
end

-- Returns the number of the last attempt of a purged task with the id of task `i`, which the new task continues; or
-- nil.
function sw.lived_before(i)
    local v = call('HMGET', keys[i], 'state', 'attempt')
    return v[1] == 'purged' and v[2] or nil
end

-- Plans the task that `pairs_`, a list of names and values, describes: of a schedule, or a follow-up task. Returns an
-- error reply if it cannot be made, or nil; and whether it is made (it is not if an equal task exists).
function sw.plan_one(c, pairs_)
    local q = c.q
    local n, has_options = sw.read_tasks(q, pairs_, 1)
    if not n then return has_options, false end
    local t = options[1]
    local problem = t and sw.check_dependencies(q, 1)
    if problem then return sw.bad('task ' .. ids[1] .. ': ' .. problem), false end
    if t and t.unique_key and sw.holder_of_key(q, t) then return nil, false end
    local claims = call('EXISTS', q.claims_key) == 1 and sw.read_claims(q, 1)
    if claims and (claims.ids[1] or claims.keys[1]) then return nil, false end
    local length = sw.length(q)
    if length + 1 > q.max_queue_length then
        return redis.error_reply('QUEUEFULL queue ' .. q.name .. ' holds ' .. length .. ' tasks, its limit'), false
    end
    sw.ensure_uses(q, n)
    for _, entry in ipairs(claims and claims.breaks or {}) do c.breaks[#c.breaks + 1] = entry end
    sw.plan_task(c, 1, nil, sw.time_tag(q, 0), sw.lived_before(1))
    return nil, true
end
