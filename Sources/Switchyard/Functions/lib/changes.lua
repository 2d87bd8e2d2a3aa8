-- A change-set: what a call is going to write, collected while it validates and reads. `commit` writes it,
-- one variadic command for each index however many tasks moved, and publishes last.
--
-- A task stands in exactly one index, told by its state: pending in `pending` or `pending:<lane>`, or while held_by says
-- for what it waits in `held` (a time), `waiting` (dependencies), `blocked` (a concurrency limit; also in `blocked:<key>`)
-- or `staged` (the rest of its batch); assigned and running in `leases` and in the hash `attempts:<worker>`; ended in
-- `finished`.
--
-- Most tasks are plain, and most moves are three: a plain task comes into line (plain_tasks.lua), starts, and completes
-- (plain_moves.lua). A call that makes only those writes them from short lists, for tables and look-ups are most of what a call
-- costs. Everything else is collected by index, in lists that come into being when they are first used (`is_general`).

local UNSET = { reserve = false, unreserve = false, affinity = false, depends = false, lanes = false, heads = false,
    cascaded = false, in_line_again = false, gone_count = 0 }

local MADE_ON_USE = { __index = function(c, name)
    local unset = UNSET[name]
    if unset ~= nil then return unset end
    local made = {}
    c[name] = made
    return made
end, __newindex = function(c, name, value)
    rawset(c, name, value)
    c.is_general = true
end }

-- A change-set of plain moves only is used again by the next call, so that a busy queue makes no garbage of it.
local spare

--   hashes          key and pairs of each task's hash to write
--   started         id of each plain task that `worker` starts; leases, entries: what it adds to `leases` and attempts:<worker>
--   left            those of them that stood in the line without a lane; left_lanes: by lane, the others;
--                   left_by_priority: how many less there are now in lanes
--   completed       id of each plain task that `worker` completes; ends: what it adds to `finished`; answers: result and exit
--                   code, or false
--   results, events what is published
--   n_…             how many entries each list has: what stands behind them is of an earlier call
--   hdel            hashes: key, then the fields to delete
--   rem, add        by index: ids, and scores with ids
--   moved           the ids of the tasks that sw.move moves; none is moved twice
--   ended, limits, waiting, …: see follow_up
function sw.changes(q)
    local c = spare
    if c then
        spare, c.q = nil, q
        return c
    end
    return setmetatable({ q = q, n_hashes = 0, n_started = 0, n_left = 0, n_completed = 0, n_results = 0, n_events = 0,
        is_general = false, pull = false, wake = false, hashes = false, started = {}, left = {}, left_lanes = false,
        left_by_priority = false, leases = {}, entries = {}, completed = {}, ends = {}, answers = false, results = {}, events = {},
        worker = false }, MADE_ON_USE)
end

-- Called at the end of commit.
local function keep(c)
    c.n_hashes, c.n_started, c.n_left, c.n_completed, c.n_results, c.n_events = 0, 0, 0, 0, 0, 0
    c.pull, c.wake, c.hashes, c.answers, c.left_lanes = false, false, false, false, false
    spare = c
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

local function write_hash(c, key, fields)
    local n = c.n_hashes
    if n == 0 then
        c.hashes = { key, fields }
    else
        local list = c.hashes
        list[n + 1], list[n + 2] = key, fields
    end
    c.n_hashes = n + 2
end
sw.write_hash = write_hash

local function tell_event(c, text)
    local n = c.n_events + 1
    c.events[n], c.n_events = text, n
end
sw.tell_event = tell_event

local function tell_result(c, text)
    local n = c.n_results + 1
    c.results[n], c.n_results = text, n
end
sw.tell_result = tell_result

-- `n` more tasks of a batch (nil: one) are in state `to`, and no more in state `from` (nil: they are new).
local function count_in_batch(c, batch, from, to, n)
    local b = c.batches[batch]
    if not b then
        b = {}
        c.batches[batch] = b
    end
    if from then count(b, from, -(n or 1)) end
    count(b, to, n or 1)
end
sw.count_in_batch = count_in_batch

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
local function note_line(c, task, old_index, new_index, priority, score)
    local line = sw.line_of(task.lane)
    if old_index == line then count(c.stats, 'in_lanes_' .. task.priority, -1) end
    if new_index == line then count(c.stats, 'in_lanes_' .. priority, 1) end
    if not task.lane then return end
    if old_index == line then
        c.lanes = c.lanes or {}
        c.lanes[task.lane] = true
    elseif new_index == line then
        local heads = c.heads or {}
        c.heads = heads
        if not heads[task.lane] or tonumber(score) < tonumber(heads[task.lane]) then heads[task.lane] = score end
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
    c.moved[id] = true
    local new_index = index_of(task, to, opts.held_by)
    local old_index = from and index_of(task, from, task.held_by)
    if from then
        if old_index ~= new_index then push(list_of(c.rem, old_index), id) end
        if from == 'assigned' then count(c.stats, 'assigned', -1) end
        if sw.TERMINAL[from] then count(c.stats, from, -1) end
    end
    push_pair(list_of(c.add, new_index), score, id)
    if task.lane or c.q.aging_ms > 0 then note_line(c, task, old_index, new_index, opts.priority or task.priority, score) end
    if task.uses then note_uses(c, task, to, opts.held_by, old_index, score) end

    if sw.LIVE[to] then
        push_pair(attempts_of(c, opts.worker).set, id, sw.lease_entry(opts.attempt, opts.deadline_at, task.uses,
            task.batch, task.lane))
    elseif from and sw.LIVE[from] then
        push(attempts_of(c, task.worker).del, id)
    end

    if fields[1] == 'state' then fields[2] = to else push_pair(fields, 'state', to) end
    if opts.held_by then
        push_pair(fields, 'held_by', opts.held_by)
        if new_index == 'held' then push_pair(fields, 'due_at', score) end
    end
    local key = c.q.task_prefix .. id
    write_hash(c, key, fields)
    local clear = opts.clear
    if task.held_by and not opts.held_by then
        clear = clear or {}
        push_pair(clear, 'held_by', 'due_at')
    end
    if clear then push_pair(c.hdel, key, clear) end

    if to == 'assigned' then count(c.stats, 'assigned', 1) end
    local ended = sw.TERMINAL[to]
    if ended then count(c.stats, to, 1) end
    if task.batch and from ~= to then count_in_batch(c, task.batch, from, to) end
    local text = id .. ' ' .. to .. ' ' .. (opts.attempt or task.attempt or 0)
    if ended then tell_result(c, text) else tell_event(c, text) end
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
            if by ~= 0 then call('HINCRBY', key, state, by) end
        end
        local v = call('HMGET', key, 'total', 'completed', 'failed', 'timeout', 'cancelled', 'finished_at')
        local ended = 0
        for i = 2, 5 do ended = ended + tonumber(v[i] or 0) end
        local complete = ended == tonumber(v[1] or -1)
        if complete and not v[6] then
            call('HSET', key, 'finished_at', q.now_text)
            push(c.completed_batches, id)
            tell_event(c, 'batch:' .. id .. ' finished ' .. ended)
        elseif v[6] and not complete then
            call('HDEL', key, 'finished_at')
        end
    end
end

-- Whether the ends in this change-set may put tasks in line: others, or those themselves.
function sw.has_follow_ups(c)
    return c.is_general and (rawget(c, 'ended') ~= nil or rawget(c, 'limits') ~= nil or c.in_line_again)
end

-- Adds what follows from the ends in this change-set: up to `budget` dependents, and blocked tasks, move too. Answers how many
-- dependents.
function sw.follow_up(c, budget)
    local settled = (rawget(c, 'ended') or rawget(c, 'waiting')) and sw.settle_ended(c, budget) or 0
    if rawget(c, 'limits') then sw.release_blocked(c) end
    return settled
end

local function lines_of(list, n)
    return n == 1 and list[1] or table.concat(list, '\n', 1, n)
end

-- Writes what else the change-set has in its indexes.
local function commit_indexes(c)
    local q = c.q
    local prefix = q.prefix
    for index, ids in pairs(rawget(c, 'rem') or NONE) do call('ZREM', prefix .. index, unpack(ids)) end
    for index, pairs_ in pairs(rawget(c, 'add') or NONE) do call('ZADD', prefix .. index, unpack(pairs_)) end
    if c.heads then sw.commit_heads(q, c.heads) end
    if c.lanes then sw.commit_lanes(q, c.lanes) end
    for worker, a in pairs(rawget(c, 'attempts') or NONE) do
        local key = q.attempts_prefix .. worker
        if #a.del > 0 then call('HDEL', key, unpack(a.del)) end
        if #a.set > 0 then call('HSET', key, unpack(a.set)) end
    end
    local hdel = rawget(c, 'hdel') or NONE
    for i = 1, #hdel, 2 do call('HDEL', hdel[i], unpack(hdel[i + 1])) end
    for name, by in pairs(rawget(c, 'stats') or NONE) do
        if by ~= 0 then call('HINCRBY', q.stats_key, name, by) end
    end
    if rawget(c, 'batches') then commit_batches(c) end
    if rawget(c, 'limits') or rawget(c, 'rates') then sw.commit_limits(c) end
    if rawget(c, 'fair') then sw.commit_fairness(c) end
    if c.affinity then sw.commit_affinity(c) end
    if c.depends then sw.commit_depends(c) end
    if c.cascaded or rawget(c, 'dependents') or rawget(c, 'cascade') then sw.commit_cascade(c) end
    if rawget(c, 'unique') or rawget(c, 'given_up') then sw.commit_unique(c) end
    if c.reserve or c.unreserve then sw.commit_reservation(c) end
end

-- Writes everything, and publishes last; nothing here can fail for a reason that validation could have seen.
function sw.commit(c)
    local q = c.q
    if c.is_general and sw.has_follow_ups(c) then
        sw.follow_up(c, sw.TASKS_PER_STEP)
        if not c.wake then sw.plan_wake_for_added(c) end
    end
    if c.n_completed > 0 then sw.commit_completed(c, c.n_completed) end
    if c.n_started > 0 then sw.commit_started(c, c.n_started) end
    for i = 1, c.n_hashes, 2 do call('HSET', c.hashes[i], unpack(c.hashes[i + 1])) end
    if c.is_general then commit_indexes(c) end
    if c.pull then sw.commit_pull(c, c.pull) end
    if c.wake and #c.wake > 0 then sw.commit_wake(c) end
    if c.n_results > 0 then call('PUBLISH', q.results_key, lines_of(c.results, c.n_results)) end
    if c.n_events > 0 then call('PUBLISH', q.events_key, lines_of(c.events, c.n_events)) end
    if not c.is_general then return keep(c) end
    for _, message in ipairs(rawget(c, 'control') or NONE) do
        call('PUBLISH', q.prefix .. 'control:' .. message[1], message[2])
    end
    for _, id in ipairs(rawget(c, 'completed_batches') or NONE) do sw.start_follow_up(q, id) end
end
