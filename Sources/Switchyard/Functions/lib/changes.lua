-- A change-set: what a call is going to write, collected while it validates and reads. `commit` writes it,
-- one variadic command for each index however many tasks moved, and publishes last.
--
-- A task stands in exactly one index, told by its state: pending in `pending` or `pending:<lane>`, or while held_by says
-- for what it waits in `held` (a time), `waiting` (dependencies), `blocked` (a concurrency limit; also in `blocked:<key>`)
-- or `staged` (the rest of its batch); assigned and running in `leases` and in the hash `attempts:<worker>`; ended in
-- `finished`.

-- The lists and counters of a change-set come into being when they are first used: most calls use few of them.
local MADE_ON_USE = { __index = function(c, name)
    local made = {}
    rawset(c, name, made)
    return made
end }

--   hset, hdel    hashes: key, then the pairs or fields
--   rem, add      by index: ids, and scores with ids
--   moved         the ids of the tasks that this call moves; none is moved twice
--   ended, limits, waiting, …: see follow_up
function sw.changes(q)
    return setmetatable({ q = q, hset = {}, hdel = {}, rem = {}, add = {}, moved = {}, pull = false, wake = false,
        reserve = false, unreserve = false, affinity = false, depends = false, lanes = false, cascaded = false, gone_count = 0 },
        MADE_ON_USE)
end

local function count(counters, name, by)
    counters[name] = (counters[name] or 0) + by
end
sw.count = count

local function push(list, value)
    list[#list + 1] = value
end

local function push_pair(list, first, second)
    local n = #list
    list[n + 1] = first
    list[n + 2] = second
end

local NONE = {}

-- The changes to attempts:<worker>: fields to set and fields to delete.
local function attempts_of(c, worker)
    local a = c.attempts[worker]
    if not a then
        a = { set = {}, del = {} }
        c.attempts[worker] = a
    end
    return a
end

-- The index in which a pending task of `lane` (nil: none) stands in line.
function sw.line_of(lane)
    return lane and 'pending:' .. lane or 'pending'
end

-- The index of a task by its state and what holds it.
local function index_of(task, state, held_by)
    if state == 'pending' then
        if not held_by then return sw.line_of(task.lane) end
        if held_by == 'dependencies' then return 'waiting' end
        if held_by == 'concurrency_limit' then return 'blocked' end
        if held_by == 'batch' then return 'staged' end
        return 'held'
    end
    if sw.LIVE[state] then return 'leases' end
    return 'finished'
end

-- The list of what is to be removed from, or added to, one index.
local function list_of(lists, index)
    local list = lists[index]
    if not list then
        list = {}
        lists[index] = list
    end
    return list
end

-- Takes `id` out of an index where it has no business: an entry without its task.
function sw.strike(c, index, id)
    push(list_of(c.rem, index), id)
    count(c.stats, 'repaired', 1)
end

-- Counts what cannot be read off an index: the tasks in line by their priority where there are lanes or aging, and
-- those blocked. Remembers the lanes whose head may change.
local function note_line(c, task, old_index, new_index, priority)
    local line = sw.line_of(task.lane)
    if old_index == line then count(c.stats, 'in_lanes_' .. task.priority, -1) end
    if new_index == line then count(c.stats, 'in_lanes_' .. priority, 1) end
    if task.lane and (old_index == line or new_index == line) then
        c.lanes = c.lanes or {}
        c.lanes[task.lane] = true
    end
end

-- What follows from the move of a task that uses limits, dependencies or a unique key.
local function note_uses(c, task, to, held_by, old_index, score)
    if task.concurrency_key then
        local was_live, is_live = sw.LIVE[task.state], sw.LIVE[to]
        if is_live and not was_live then
            sw.note_running(c, task, true)
        elseif was_live and not is_live then
            sw.note_running(c, task, false)
        elseif old_index == sw.line_of(task.lane) and held_by ~= 'concurrency_limit' then
            sw.note_turn_left(c, task)
        end
        if held_by == 'concurrency_limit' then push_pair(list_of(c.add, 'blocked:' .. task.concurrency_key), score, task.id) end
        if task.held_by == 'concurrency_limit' then push(list_of(c.rem, 'blocked:' .. task.concurrency_key), task.id) end
    end
    if sw.TERMINAL[to] then
        task.ended_as = to
        c.ended[#c.ended + 1] = task
        if task.unique_key then
            c.given_up[#c.given_up + 1] = { task.unique_key, task.id, to == 'completed' and task.unique_for_ms or nil }
        end
    end
end

-- Moves `task` (sw.read) to state `to`. The only writer of a state.
--   score   where it will stand in the index of its new state: place, due time, lease expiry or end (a string)
--   fields  further fields of its hash, as pairs; move takes the table over
--   opts    worker, attempt: the new lease; deadline_at (ms as text, '0' while not started): its time limit;
--           held_by: what a pending task waits for; priority: its new one; clear: fields to delete
function sw.move(c, task, to, score, fields, opts)
    local id, from = task.id, task.state
    opts = opts or NONE
    if from and not (sw.MAY[from] and sw.MAY[from][to]) then
        error('switchyard: task ' .. id .. ' cannot go from ' .. from .. ' to ' .. to)
    end
    local key = c.q.prefix .. 'task:' .. id

    c.moved[id] = true
    local new_index = index_of(task, to, opts.held_by)
    local old_index = from and index_of(task, from, task.held_by)
    if from then
        if old_index ~= new_index then push(list_of(c.rem, old_index), id) end
        if from == 'assigned' then count(c.stats, 'assigned', -1) end
        if sw.TERMINAL[from] then count(c.stats, from, -1) end
    end
    push_pair(list_of(c.add, new_index), score, id)
    if task.lane or c.q.aging_ms > 0 then note_line(c, task, old_index, new_index, opts.priority or task.priority) end
    if task.uses then note_uses(c, task, to, opts.held_by, old_index, score) end

    if sw.LIVE[to] then
        push_pair(attempts_of(c, opts.worker).set, id, opts.attempt .. ':' .. opts.deadline_at
            .. ((task.uses or task.batch) and '*' or '') .. (task.lane and ' ' .. task.lane or ''))
    elseif from and sw.LIVE[from] then
        push(attempts_of(c, task.worker).del, id)
    end

    push_pair(fields, 'state', to)
    if opts.held_by then
        push_pair(fields, 'held_by', opts.held_by)
        if new_index == 'held' then push_pair(fields, 'due_at', score) end
    end
    push_pair(c.hset, key, fields)
    local clear = opts.clear
    if task.held_by and not opts.held_by then
        clear = clear or {}
        push_pair(clear, 'held_by', 'due_at')
    end
    if clear then push_pair(c.hdel, key, clear) end

    if to == 'assigned' then count(c.stats, 'assigned', 1) end
    local ended = sw.TERMINAL[to]
    if ended then count(c.stats, to, 1) end
    if task.batch and from ~= to then
        local b = c.batches[task.batch] or {}
        c.batches[task.batch] = b
        if from then count(b, from, -1) end
        count(b, to, 1)
    end
    push(ended and c.results or c.events, id .. ' ' .. to .. ' ' .. (opts.attempt or task.attempt or 0))
end

-- Tells a worker, over its control channel, to stop an attempt. Only a hint: its next heartbeat says it again.
function sw.tell(c, worker, text)
    push(c.control, { worker, text })
end

-- Adds to the counts of the batches, and notes the moment when every task of one has ended. The hash of a batch
-- goes with the last of its tasks.
local function commit_batches(c)
    local q = c.q
    for id, counters in pairs(c.batches) do
        local key = q.prefix .. 'batch:' .. id
        for state, by in pairs(counters) do
            if by ~= 0 then redis.call('HINCRBY', key, state, by) end
        end
        local v = redis.call('HMGET', key, 'total', 'completed', 'failed', 'timeout', 'cancelled', 'finished_at')
        local ended = 0
        for i = 2, 5 do ended = ended + tonumber(v[i] or 0) end
        local complete = ended == tonumber(v[1] or -1)
        if complete and not v[6] then
            redis.call('HSET', key, 'finished_at', q.now_text)
            push(c.completed_batches, id)
            push(c.events, 'batch:' .. id .. ' finished ' .. ended)
        elseif v[6] and not complete then
            redis.call('HDEL', key, 'finished_at')
        end
    end
end

-- Whether the ends in this change-set may put other tasks in line.
function sw.has_follow_ups(c)
    return rawget(c, 'ended') ~= nil or rawget(c, 'limits') ~= nil
end

-- Adds what follows from the ends in this change-set: dependents and blocked tasks move too.
function sw.follow_up(c)
    if rawget(c, 'ended') then sw.settle_ended(c) end
    if rawget(c, 'limits') then sw.release_blocked(c) end
end

-- Writes everything, indexes first; nothing here can fail for a reason that validation could have seen.
function sw.commit(c)
    local q = c.q
    local prefix = q.prefix
    if sw.has_follow_ups(c) then
        sw.follow_up(c)
        if not c.wake then sw.plan_wake_for_added(c) end
    end
    for index, ids in pairs(c.rem) do redis.call('ZREM', prefix .. index, unpack(ids)) end
    for index, pairs_ in pairs(c.add) do redis.call('ZADD', prefix .. index, unpack(pairs_)) end
    if c.lanes then sw.commit_lanes(q, c.lanes) end
    for worker, a in pairs(rawget(c, 'attempts') or NONE) do
        local key = prefix .. 'attempts:' .. worker
        if #a.del > 0 then redis.call('HDEL', key, unpack(a.del)) end
        if #a.set > 0 then redis.call('HSET', key, unpack(a.set)) end
    end
    for i = 1, #c.hset, 2 do redis.call('HSET', c.hset[i], unpack(c.hset[i + 1])) end
    for i = 1, #c.hdel, 2 do redis.call('HDEL', c.hdel[i], unpack(c.hdel[i + 1])) end
    for name, by in pairs(rawget(c, 'stats') or NONE) do
        if by ~= 0 then redis.call('HINCRBY', prefix .. 'stats', name, by) end
    end
    if rawget(c, 'batches') then commit_batches(c) end
    if rawget(c, 'limits') or rawget(c, 'rates') then sw.commit_limits(c) end
    if rawget(c, 'fair') then sw.commit_fairness(c) end
    if c.affinity then sw.commit_affinity(c) end
    if c.depends then sw.commit_depends(c) end
    if c.cascaded or rawget(c, 'dependents') or rawget(c, 'cascade') then sw.commit_cascade(c) end
    if rawget(c, 'unique') or rawget(c, 'given_up') then sw.commit_unique(c) end
    if c.pull then sw.commit_pull(q, c.pull) end
    if c.reserve or c.unreserve then sw.commit_reservation(c) end
    if c.wake and #c.wake > 0 then sw.commit_wake(c) end
    local results, events = rawget(c, 'results'), rawget(c, 'events')
    if results then redis.call('PUBLISH', prefix .. 'results', table.concat(results, '\n')) end
    if events then redis.call('PUBLISH', prefix .. 'events', table.concat(events, '\n')) end
    for _, message in ipairs(rawget(c, 'control') or NONE) do
        redis.call('PUBLISH', prefix .. 'control:' .. message[1], message[2])
    end
    for _, id in ipairs(rawget(c, 'completed_batches') or NONE) do sw.start_follow_up(q, id) end
end
