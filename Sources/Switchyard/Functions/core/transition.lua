-- The change-set of a call, and the only file that writes a task's state (the fast paths excepted).
--
-- A call plans moves: (id, index it leaves, index it enters, score, lease, fields of its hash). Moves are collected
-- in flat lists by the kind of write, so that commit needs one variadic command for each index, however many tasks
-- move. A task without options is a move and nothing else. For a task with limits, dependencies, a unique key, a
-- batch or a tenant, the functions of features/ note further writes, and commit calls them to write these.
--
-- Commit checks, writes, publishes. Before its first write it checks the type of each index that this call has not
-- read; after it, nothing can fail.

local NONE = {}

-- The moves are of three kinds, whose hashes are written differently. First, tasks that enter the queue: a list that
-- contains the key of the hash and then its pairs, and the first and last position in the list.
local new_lists, new_firsts, new_lasts, n_new = {}, {}, {}, 0
-- Second, tasks that complete, of which only the lease was read: id, and result and exit code (or false).
local done_ids, done_results, done_codes, n_done = {}, {}, {}, 0
-- Third, all other tasks: id, new state, and further pairs of the hash.
local ids, states, hashes, n_moves = {}, {}, {}, 0

-- Fields to delete from hashes: the key, then the list of fields.
local cleared, n_cleared = {}, 0

-- Indexes by name: the ids that leave, and the scores and ids that enter. `same` counts ids that are in the index
-- already and only get another score. `known` is the number of the last call that read the index.
local indexes, n_indexes, touched, n_touched = {}, 0, {}, 0

-- The hashes attempts:<worker>, by worker: entries to delete, and entries to set.
local leases, n_leases, touched_leases, n_touched_leases = {}, 0, {}, 0

local stat_names, stat_counts, n_stats = {}, {}, 0

-- The messages to publish. The messages of most moves differ only in the id, and are made together: of tasks that
-- enter the queue, that start for the first time, and that complete in their first attempt.
local events, n_events, results, n_results = {}, 0, {}, 0
local entered, n_entered, started, n_started, completed, n_completed = {}, 0, {}, 0, {}, 0

local function index(name)
    local o = indexes[name]
    if not o then
        local lane = name == 'pending' and '' or match(name, '^pending:(.*)$')
        o = { name = name, lane = lane or false, rem = {}, n_rem = 0, add = {}, n_add = 0,
            same = 0, known = 0, touched = false }
        indexes[name], n_indexes = o, n_indexes + 1
    end
    return o
end

local function touch_index(o)
    o.touched = true
    n_touched = n_touched + 1
    touched[n_touched] = o
end

local function touch(name)
    local o = indexes[name] or index(name)
    if not o.touched then touch_index(o) end
    return o
end

-- The indexes of most moves, looked up once.
local PENDING, LEASES, FINISHED

-- Notes that this call has read index `name`, so its type is right.
function sw.know(name)
    local o = indexes[name] or index(name)
    o.known = call_number
end

local function leave(name, id)
    local o = touch(name)
    local n = o.n_rem + 1
    o.rem[n], o.n_rem = id, n
end

local function enter(name, score, id)
    local o = touch(name)
    local n = o.n_add
    o.add[n + 1], o.add[n + 2], o.n_add = score, id, n + 2
end

sw.enter_index, sw.leave_index = enter, leave

local function lease_list(worker)
    local o = leases[worker]
    if not o then
        o = { worker = worker, del = {}, n_del = 0, set = {}, n_set = 0, touched = false }
        leases[worker], n_leases = o, n_leases + 1
    end
    if not o.touched then
        o.touched = true
        n_touched_leases = n_touched_leases + 1
        touched_leases[n_touched_leases] = o
    end
    return o
end

-- Plans to write the lease entry of `id` on `worker`.
function sw.set_lease(worker, id, entry)
    local o = lease_list(worker)
    o.set[o.n_set + 1], o.set[o.n_set + 2], o.n_set = id, entry, o.n_set + 2
end

-- Plans to delete the lease entry of `id` on `worker`.
function sw.end_lease(worker, id)
    local o = lease_list(worker)
    o.del[o.n_del + 1], o.n_del = id, o.n_del + 1
end

-- Plans to delete fields of the hash of task `id`.
function sw.clear_fields(q, id, fields)
    cleared[n_cleared + 1], cleared[n_cleared + 2] = q.task_prefix .. id, fields
    n_cleared = n_cleared + 2
end

-- Adds `by` to a counter of `stats`.
function sw.count_stat(name, by)
    for i = 1, n_stats do
        if stat_names[i] == name then
            stat_counts[i] = stat_counts[i] + by
            return
        end
    end
    n_stats = n_stats + 1
    stat_names[n_stats], stat_counts[n_stats] = name, by
end

function sw.count(counters, name, by)
    counters[name] = (counters[name] or 0) + by
end

function sw.tell_event(text)
    n_events = n_events + 1
    events[n_events] = text
end

local function tell_result(text)
    n_results = n_results + 1
    results[n_results] = text
end

-- Empties the lists. Entries beyond the counts are leftovers of earlier calls.
local function reset()
    for i = 1, n_touched do
        local o = touched[i]
        o.n_rem, o.n_add, o.same, o.touched = 0, 0, 0, false
    end
    for i = 1, n_touched_leases do
        local o = touched_leases[i]
        o.n_del, o.n_set, o.touched = 0, 0, false
    end
    n_new, n_done, n_moves, n_cleared, n_touched, n_touched_leases, n_stats, n_events, n_results =
        0, 0, 0, 0, 0, 0, 0, 0, 0
    n_entered, n_started, n_completed = 0, 0, 0
    if n_indexes > 2000 or not PENDING then
        indexes, n_indexes = {}, 0
        PENDING, LEASES, FINISHED = index('pending'), index('leases'), index('finished')
    end
    if n_leases > 2000 then leases, n_leases = {}, 0 end
end

-- Makes the table of a feature when the feature first uses it. The next call reuses a change-set without such tables.
local MADE_ON_USE = { __index = function(c, name)
    local made = {}
    rawset(c, name, made)
    c.is_general = true
    return made
end }

local change_set

-- Returns an empty change-set. There is one at a time.
--   pull         the plan of the worker's pull (pull.lua), or false
--   is_general   a feature has noted something
--   is_written   the indexes are written
-- The tables of the features, by the file that owns them: batches (batches.lua); ended, waiting, settled, cascade,
-- depends (dependencies.lua); takes, gives (unique.lua); running, rates, closing, freed (limits.lua); tags
-- (fairness.lua); warm (affinity.lua); reservations (reservations.lua); awake, wanted, gone (idle.lua); over
-- (endings.lua); control, vanished (here).
function sw.changes(q)
    reset()
    local c = change_set
    if not c or c.is_general then
        c = setmetatable({ q = q, pull = false, is_general = false, is_wake_planned = false, is_written = false,
            gone_count = 0 }, MADE_ON_USE)
        change_set = c
    end
    c.q, c.pull, c.is_wake_planned, c.is_written = q, false, false, false
    return c
end

-- Whether a feature has made its table `name`.
function sw.has(c, name) return rawget(c, name) ~= nil end

local MAY_BEGIN = sw.MAY.pending

local function refuse(id, from, to)
    error('switchyard: task ' .. id .. ' cannot go from ' .. from .. ' to ' .. to)
end

-- Counts that a task of `lane` enters its line (`by` 1) or leaves it (−1).
local function count_in_line(q, lane, priority, by)
    if lane or q.aging_ms > 0 then sw.count_stat('in_lanes_' .. priority, by) end
end

-- Plans that a new task enters its line.
--   list   contains the key of the task's hash at `first`, then up to `last` the pairs of the hash, without the state
function sw.add_to_line(c, id, score, list, first, last, batch, lane, priority)
    local n = n_new + 1
    new_lists[n], new_firsts[n], new_lasts[n], n_new = list, first, last, n
    local o = PENDING
    if lane then o = touch('pending:' .. lane) elseif not o.touched then touch_index(o) end
    local k, add = o.n_add, o.add
    add[k + 1], add[k + 2], o.n_add = score, id, k + 2
    if lane or c.q.aging_ms > 0 then count_in_line(c.q, lane, priority, 1) end
    if batch then sw.count_in_batch(c, batch, nil, 'pending') end
    n_entered = n_entered + 1
    entered[n_entered] = id
end

-- Plans that `worker` takes a pending task from its line. The task starts, or, with deadline "0", is assigned.
--   fields   pairs of its hash, without the state
--   entry    the lease, for attempts:<worker>
function sw.hand_out(c, worker, id, to, lease_end, entry, fields, attempt, batch, lane, priority)
    if not MAY_BEGIN[to] then refuse(id, 'pending', to) end
    local n = n_moves + 1
    ids[n], states[n], hashes[n], n_moves = id, to, fields, n
    local o = PENDING
    if lane then o = touch('pending:' .. lane) elseif not o.touched then touch_index(o) end
    local k = o.n_rem + 1
    o.rem[k], o.n_rem = id, k
    o = LEASES
    if not o.touched then touch_index(o) end
    k = o.n_add
    local list = o.add
    list[k + 1], list[k + 2], o.n_add = lease_end, id, k + 2
    o = leases[worker]
    if not (o and o.touched) then o = lease_list(worker) end
    k, list = o.n_set, o.set
    list[k + 1], list[k + 2], o.n_set = id, entry, k + 2
    if to == 'assigned' then sw.count_stat('assigned', 1) end
    if lane or c.q.aging_ms > 0 then
        count_in_line(c.q, lane, priority, -1)
        if lane then sw.note_running(c, lane, id, true) end
    end
    if batch then sw.count_in_batch(c, batch, 'pending', to) end
    if attempt == '1' and to == 'running' then
        n_started = n_started + 1
        started[n_started] = id
    else
        sw.tell_event(id .. ' ' .. to .. ' ' .. attempt)
    end
end

-- Plans that a running task of `worker` completes. The lease has all that is needed, so the hash is not read.
--   result, exit_code   or nil
function sw.complete(c, worker, id, attempt, result, exit_code, batch, lane)
    local n = n_done + 1
    done_ids[n], done_results[n], done_codes[n], n_done = id, result or false, exit_code or false, n
    local o = LEASES
    if not o.touched then touch_index(o) end
    local k = o.n_rem + 1
    o.rem[k], o.n_rem = id, k
    o = FINISHED
    if not o.touched then touch_index(o) end
    k = o.n_add
    local list = o.add
    list[k + 1], list[k + 2], o.n_add = c.q.now_text, id, k + 2
    o = leases[worker]
    if not (o and o.touched) then o = lease_list(worker) end
    k = o.n_del + 1
    o.del[k], o.n_del = id, k
    if lane then sw.note_running(c, lane, id, false) end
    if batch then sw.count_in_batch(c, batch, 'running', 'completed') end
    if attempt == '1' then
        n_completed = n_completed + 1
        completed[n_completed] = id
    else
        tell_result(id .. ' completed ' .. attempt)
    end
end

-- Plans any move of `task` (from sw.read, or a new task, whose state is nil), and updates the fields of `task`.
--   fields   pairs of its hash, without state and held_by; the caller must not use the table afterwards
--   opts     held_by, due_at (ms as text): what a pending task waits for; worker, attempt, deadline_at, lease_end
--            (texts): its new lease; clear: list of fields to delete; priority, tag: its new position in line;
--            told_to_end: a running attempt is told to end, and its process may go on for a while (endings.lua)
function sw.move(c, task, to, fields, opts)
    local q, id, from = c.q, task.id, task.state or 'none'
    opts = opts or NONE
    if not (sw.MAY[from] and sw.MAY[from][to]) then refuse(id, from, to) end
    local n = n_moves + 1
    ids[n], states[n], hashes[n], n_moves = id, to, fields, n
    local clear = opts.clear
    local old_index = from ~= 'none' and sw.index_of(from, task.held_by, task.lane)
    if task.new_lane then
        fields[#fields + 1] = 'lane'
        fields[#fields + 1] = task.new_lane
    end
    local lane = task.new_lane or task.lane
    local priority = opts.priority or task.priority
    local held_by, due_at = opts.held_by, opts.due_at
    local ending = opts.told_to_end and from == 'running' and sw.ending_of(q, task)
    if ending then
        task.ending = ending
        fields[#fields + 1] = 'ending'
        fields[#fields + 1] = ending
    end
    if to == 'pending' and not held_by and sw.is_ending(c, task) then
        held_by = 'ending'
        due_at = select(2, sw.parse_ending(task.ending))
    end
    local new_index = sw.index_of(to, held_by, lane)
    local is_line = to == 'pending' and not held_by
    -- The clean-up of a tick may have dropped these flags while no such task was pending.
    if is_line and lane then
        sw.ensure(q, 'has_lanes')
    elseif held_by == 'dependencies' then
        sw.ensure(q, 'has_holds')
    end
    if old_index == new_index then
        local o = touch(new_index)
        o.same = o.same + 1
    elseif old_index then
        leave(old_index, id)
    end
    local score
    if to == 'pending' then
        score = new_index == 'held' and due_at or sw.score(q, priority, opts.tag or task.tag)
    elseif sw.LIVE[to] then
        score = opts.lease_end
    else
        score = q.now_text
    end
    enter(new_index, score, id)
    if from == 'pending' and not task.held_by then count_in_line(q, task.lane, task.priority, -1) end
    if is_line then count_in_line(q, lane, priority, 1) end
    local end_from, end_to = sw.end_index(from), sw.end_index(to)
    if end_from ~= end_to then
        if end_from then leave(end_from, id) end
        if end_to then enter(end_to, score, id) end
    end
    if from == 'assigned' then sw.count_stat('assigned', -1) end
    if to == 'assigned' then sw.count_stat('assigned', 1) end
    if sw.TERMINAL[from] then sw.count_stat(from, -1) end
    if sw.TERMINAL[to] then sw.count_stat(to, 1) end

    if sw.LIVE[to] then
        local o = lease_list(opts.worker)
        local k = o.n_set
        o.set[k + 1], o.set[k + 2] = id, sw.lease_entry(opts.attempt, opts.deadline_at, task.uses, task.batch, lane)
        o.n_set = k + 2
        if lane and not sw.LIVE[from] then sw.note_running(c, lane, id, true) end
    elseif ending then
        sw.begin_ending(task, lane)
    elseif sw.LIVE[from] then
        sw.end_lease(task.worker, id)
        if lane then sw.note_running(c, lane, id, false) end
        c.lost_lease[task.worker] = true
    end
    if held_by then
        fields[#fields + 1] = 'held_by'
        fields[#fields + 1] = held_by
        if new_index == 'held' then
            fields[#fields + 1] = 'due_at'
            fields[#fields + 1] = due_at
        end
    end
    if task.held_by and not held_by then
        clear = clear or {}
        clear[#clear + 1] = 'held_by'
    end
    if task.due_at and new_index ~= 'held' then
        clear = clear or {}
        clear[#clear + 1] = 'due_at'
    end
    if clear then sw.clear_fields(q, id, clear) end
    if task.batch and from ~= to then sw.count_in_batch(c, task.batch, from ~= 'none' and from or nil, to, id) end
    local text = id .. ' ' .. to .. ' ' .. (opts.attempt or task.attempt or 0)
    if sw.TERMINAL[to] then
        if task.uses then sw.note_end(c, task, to) end
        tell_result(text)
    else
        sw.tell_event(text)
    end
    task.state, task.held_by, task.lane, task.priority, task.new_lane = to, held_by, lane, priority, nil
    task.due_at = new_index == 'held' and due_at or nil
    c.moved[id] = task
end

-- Repairs the state of a task whose hash has none of the states, because something else has written to it: the task
-- gets the state whose index contains it. Returns the state; nil if no index contains the task.
function sw.mend_state(q, id)
    local key = q.task_prefix .. id
    local v = call('HMGET', key, 'held_by', 'lane')
    local state = sw.state_by_index(q, id, v[1], v[2])
    if not state then return nil end
    call('HSET', key, 'state', state)
    sw.add_to_stat(q, 'repaired', 1)
    return state
end

-- Cancels a task that has none of the states and is in no index: nothing tells what became of it. Returns its state.
function sw.set_aside(q, id)
    local c, task = sw.changes(q), sw.read(q, id)
    sw.move(c, task, 'cancelled', { 'finished_at', q.now_text, 'outcome', 'cancelled', 'error_code', 'Damaged',
        'error_message', 'something else has written to the task: expected one of the states in the field state, found '
            .. sw.shown(call('HGET', q.task_prefix .. id, 'state')) .. ', and no index contains the task' })
    sw.count_stat('repaired', 1)
    sw.commit(c)
    return 'cancelled'
end

-- Returns the state that this call has planned for a task, or nil if the call does not move it.
function sw.planned_state(c, id)
    local task = rawget(c, 'moved') and c.moved[id]
    return task and task.state
end

-- Plans to remove `id` from an index to which it does not belong, and counts the repair.
function sw.strike(index_name, id)
    leave(index_name, id)
    sw.count_stat('repaired', 1)
end

-- Plans to write further fields (pairs) of a task that does not move.
function sw.write_fields(c, id, fields)
    c.rewritten[#c.rewritten + 1] = id
    c.rewritten[#c.rewritten + 1] = fields
end

-- Tells a worker, over its control channel, to stop an attempt. This is only a hint: the worker's next heartbeat
-- repeats it.
function sw.tell(c, worker, text)
    c.control[#c.control + 1] = { worker, text }
end

-- Returns how many of `worker`'s leases this call ends.
function sw.planned_ends(worker)
    local o = leases[worker]
    return o and o.touched and o.n_del or 0
end

-- Returns the ids whose leases of `worker` this call ends, as a set.
function sw.planned_end_ids(worker)
    local o, set = leases[worker], {}
    if o and o.touched then
        for i = 1, o.n_del do set[o.del[i]] = true end
    end
    return set
end

-- Returns the leases that this call gives to `worker`, in pairs of id and entry.
function sw.planned_leases(worker)
    local o = leases[worker]
    return o and o.touched and { unpack(o.set, 1, o.n_set) } or {}
end

-- Returns the lanes of the leases that this call gives to `worker`.
function sw.planned_lanes(worker)
    local o, found = leases[worker], {}
    if o and o.touched then
        for i = 2, o.n_set, 2 do
            local _, _, _, _, lane = sw.lease_of(o.set[i])
            if lane then found[#found + 1] = lane end
        end
    end
    return found
end

-- Whether this call puts tasks into the line of `lane`.
function sw.enters_line(lane)
    local o = indexes['pending:' .. lane]
    return o and o.touched and o.n_add > 0
end

-- Returns, for each line into which this call puts tasks, its lane ('': none) and how many tasks enter it; or nil.
function sw.planned_lines()
    local lines
    for i = 1, n_touched do
        local o = touched[i]
        if o.lane and o.n_add > 0 then
            lines = lines or {}
            lines[o.lane] = o.n_add / 2 - o.same
        end
    end
    return lines
end

-- Returns the key of an index.
local function key_of(q, name)
    return q.index_keys[name] or q.prefix .. name
end

-- Checks the type of each index that will be written and was not read. One index is left to the first write, which
-- changes nothing if it fails. Returns that index.
local function check_types(q)
    local unknown
    for i = 1, n_touched do
        local o = touched[i]
        if o.known ~= call_number then
            if unknown then call('ZCARD', key_of(q, unknown.name)) end
            unknown = o
        end
    end
    return unknown
end

local function write_index(q, o)
    local key = key_of(q, o.name)
    if o.n_rem > 0 then call('ZREM', key, unpack(o.rem, 1, o.n_rem)) end
    if o.n_add > 0 then call('ZADD', key, unpack(o.add, 1, o.n_add)) end
end

-- Adds to a counter. `stats` has only counters, which the reconciler can recount, so a key of a wrong type is
-- replaced, and so is a counter that is no number.
local function add_to_stat(q, name, by)
    if by == 0 then return end
    local reply = pcall_redis('HINCRBY', q.stats_key, name, by)
    if type(reply) == 'table' and reply.err then
        if find(reply.err, 'WRONGTYPE', 1, true) then call('DEL', q.stats_key) end
        call('HSET', q.stats_key, name, by)
    end
end
sw.add_to_stat = add_to_stat

-- Writes the hash of a task that completes. Returns whether the hash existed. All fields but the state are new in the
-- hash of a running task, so if HSET adds the state as well, the hash was gone.
local function write_done(key, now, result, code)
    if code then
        if result then
            return pcall_redis('HSET', key, 'state', 'completed', 'finished_at', now, 'exit_code', code,
                'result', result) == 3
        end
        return pcall_redis('HSET', key, 'state', 'completed', 'finished_at', now, 'exit_code', code) == 2
    elseif result then
        return pcall_redis('HSET', key, 'state', 'completed', 'finished_at', now, 'result', result) == 2
    end
    return pcall_redis('HSET', key, 'state', 'completed', 'finished_at', now) == 1
end

sw.write_done = write_done

-- Writes the hashes of all moves. This is where a task's state is written. If something else has replaced a hash by
-- another type since it was last read, there is no such task any more, and the write is skipped.
local function write_hashes(c)
    local q = c.q
    local prefix, now = q.task_prefix, q.now_text
    for i = 1, n_new do
        local list, first = new_lists[i], new_firsts[i]
        pcall_redis('HSET', list[first], 'state', 'pending', unpack(list, first + 1, new_lasts[i]))
    end
    for i = 1, n_done do
        local id = done_ids[i]
        if not write_done(prefix .. id, now, done_results[i], done_codes[i]) then c.vanished[id] = true end
    end
    for i = 1, n_moves do pcall_redis('HSET', prefix .. ids[i], 'state', states[i], unpack(hashes[i])) end
    for i = 1, n_cleared, 2 do pcall_redis('HDEL', cleared[i], unpack(cleared[i + 1])) end
end

-- Publishes the noted messages as one message, with a line for each task.
local function publish(channel, list, n)
    if n > 0 then call(PUBLISH, channel, n == 1 and list[1] or table.concat(list, '\n', 1, n)) end
end

-- Appends one text to `list`: the messages of tasks whose messages differ only in the id. Returns the list's new
-- length.
local function add_texts(list, n, ids, count, rest)
    if count == 0 then return n end
    list[n + 1] = (count == 1 and ids[1] or table.concat(ids, rest .. '\n', 1, count)) .. rest
    return n + 1
end

-- Removes what was written of a completing task whose hash was gone.
function sw.remove_vanished(q, id)
    call('UNLINK', q.task_prefix .. id)
    call('ZREM', q.finished_key, id)
    add_to_stat(q, 'completed', -1)
    add_to_stat(q, 'repaired', 1)
end

-- Writes what the features have noted.
local function commit_features(c)
    if sw.has(c, 'rewritten') then
        local list = c.rewritten
        for i = 1, #list, 2 do pcall_redis('HSET', c.q.task_prefix .. list[i], unpack(list[i + 1])) end
    end
    for _, key in ipairs(rawget(c, 'kept') or NONE) do call('PERSIST', key) end
    if sw.has(c, 'breaks') then sw.break_stages(c.q, c) end
    if sw.has(c, 'dropped') then sw.commit_dropped(c) end
    if sw.has(c, 'batches') then sw.commit_batches(c) end
    if sw.has(c, 'tags') then sw.commit_tags(c) end
    if sw.has(c, 'warm') then sw.commit_affinity(c) end
    if sw.has(c, 'undepends') then sw.commit_undepends(c) end
    if sw.has(c, 'depends') then sw.commit_depends(c) end
    if sw.has(c, 'settled') or sw.has(c, 'cascade') or sw.has(c, 'cascaded') then sw.commit_cascade(c) end
    if sw.has(c, 'takes') or sw.has(c, 'gives') then sw.commit_unique(c) end
    if sw.has(c, 'running') or sw.has(c, 'rates') then sw.commit_limits(c) end
    if sw.has(c, 'reservations') then sw.commit_reservations(c) end
end

-- Updates the indexes of lanes for lines that have gained or lost tasks.
local function commit_lanes(c)
    local q = c.q
    for i = 1, n_touched do
        local o = touched[i]
        if o.lane and o.lane ~= '' then
            local net = o.n_add / 2 - o.same - o.n_rem
            if o.n_add > 0 then
                local least = tonumber(o.add[1])
                for k = 3, o.n_add, 2 do least = math.min(least, tonumber(o.add[k])) end
                sw.lane_gained(c, o.lane, least, net)
            else
                sw.lane_lost(c, o.lane, net)
            end
        end
    end
end

-- Writes the leases of the workers.
local function write_leases(c)
    local q, pull = c.q, c.pull
    for i = 1, n_touched_leases do
        local o = touched_leases[i]
        local key = q.attempts_prefix .. o.worker
        if o.n_del > 0 then call('HDEL', key, unpack(o.del, 1, o.n_del)) end
        local n, set = o.n_set, o.set
        if n > 0 then
            if pull and pull.worker == o.worker then
                set[n + 1], set[n + 2], n = '@last', sw.now_us_text(q), n + 2
            end
            call('HSET', key, unpack(set, 1, n))
        end
    end
end

-- Writes everything beyond moves, in the order in which one write needs another.
local function commit_general(c, has_lane)
    commit_features(c)
    if has_lane then commit_lanes(c) end
    for id in pairs(rawget(c, 'vanished') or NONE) do sw.remove_vanished(c.q, id) end
    if sw.has(c, 'closing') then sw.commit_closing(c) end
    if sw.has(c, 'freed') then sw.reopen_lanes(c) end
    if sw.has(c, 'lost_lease') then sw.wake_freed(c) end
end

-- Writes everything that was planned, and publishes last.
function sw.commit(c)
    local q = c.q
    if c.is_general then
        sw.follow_up(c, sw.TASKS_PER_STEP)
        sw.plan_wake_for_lines(c)
        sw.check_features(c)
    end
    local first = n_touched > 0 and check_types(q)
    if first then write_index(q, first) end
    if c.is_general or q.has_lanes then sw.begin_writing() end
    if q.unwritten then sw.write_config(q) end
    if n_done > 0 then add_to_stat(q, 'completed', n_done) end
    for i = 1, n_stats do
        if stat_counts[i] ~= 0 then add_to_stat(q, stat_names[i], stat_counts[i]) end
    end
    local has_lane = false
    for i = 1, n_touched do
        local o = touched[i]
        if o ~= first then write_index(q, o) end
        if o.lane and o.lane ~= '' then has_lane = true end
    end
    if n_touched_leases > 0 then write_leases(c) end
    write_hashes(c)
    c.is_written = true
    if c.is_general then commit_general(c, has_lane) elseif has_lane then commit_lanes(c) end
    if c.pull then sw.commit_pull(c, c.pull) end
    if c.is_general and sw.has(c, 'awake') then sw.commit_wake(c) end
    publish(q.results_key, results, add_texts(results, n_results, completed, n_completed, ' completed 1'))
    local n = add_texts(events, n_events, entered, n_entered, ' pending 0')
    publish(q.events_key, events, add_texts(events, n, started, n_started, ' running 1'))
    if not c.is_general then return end
    for _, message in ipairs(rawget(c, 'control') or NONE) do
        call(PUBLISH, q.channels .. 'control:' .. message[1], message[2])
    end
    for _, id in ipairs(rawget(c, 'finished_batches') or NONE) do sw.start_follow_up(q, id) end
end
