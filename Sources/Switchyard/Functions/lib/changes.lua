-- A change-set: what a call is going to write, collected while it validates and reads. `commit` writes it,
-- one variadic command for each index however many tasks moved, and publishes last.
--
-- A task stands in exactly one index, told by its state: pending in `pending` (or in `held` while held_by
-- says for what), assigned and running in `leases` and in the hash `attempts:<worker>`, ended in `finished`.

function sw.changes(q)
    return {
        q = q, hset = {}, hdel = {},
        rem = { pending = {}, held = {}, leases = {}, finished = {} },
        add = { pending = {}, held = {}, leases = {}, finished = {} },
        attempts = {}, stats = {}, batches = {}, results = {}, events = {}, control = {},
        ending_now = {}, gone = {}, gone_count = 0,
    }
end

local function count(counters, name, by)
    counters[name] = (counters[name] or 0) + by
end
sw.count = count

local function append(list, ...)
    for i = 1, select('#', ...) do list[#list + 1] = (select(i, ...)) end
end

-- The changes to attempts:<worker>: fields to set and fields to delete.
local function attempts_of(c, worker)
    local a = c.attempts[worker]
    if not a then
        a = { set = {}, del = {} }
        c.attempts[worker] = a
    end
    return a
end

local function index_of(state, held_by)
    if state == 'pending' then return held_by and 'held' or 'pending' end
    if sw.LIVE[state] then return 'leases' end
    return 'finished'
end

-- Moves `task` (sw.read) to state `to`. The only writer of a state.
--   score   where it will stand in the index of its new state: place, due time, lease expiry or end (a string)
--   fields  further fields of its hash, as pairs
--   opts    worker, attempt: the new lease; deadline_at (ms, 0 while not started): its time limit;
--           held_by: what a pending task waits for; clear: fields to delete
function sw.move(c, task, to, score, fields, opts)
    local q, id, from = c.q, task.id, task.state
    opts = opts or {}
    if from and not (sw.MAY[from] and sw.MAY[from][to]) then
        error('switchyard: task ' .. id .. ' cannot go from ' .. from .. ' to ' .. to)
    end
    local key = q.prefix .. 'task:' .. id

    local old_index = from and index_of(from, task.held_by)
    local new_index = index_of(to, opts.held_by)
    if old_index and old_index ~= new_index then append(c.rem[old_index], id) end
    append(c.add[new_index], score, id)

    if sw.LIVE[to] then
        append(attempts_of(c, opts.worker).set, id, opts.attempt .. ':' .. sw.digits(opts.deadline_at))
    elseif from and sw.LIVE[from] then
        append(attempts_of(c, task.worker).del, id)
    end

    local set = { key, 'state', to }
    if opts.held_by then append(set, 'held_by', opts.held_by, 'due_at', score) end
    append(set, unpack(fields))
    append(c.hset, set)
    local clear = opts.clear or {}
    if task.held_by and not opts.held_by then append(clear, 'held_by', 'due_at') end
    if #clear > 0 then append(c.hdel, { key, unpack(clear) }) end

    if from == 'assigned' then count(c.stats, 'assigned', -1) end
    if to == 'assigned' then count(c.stats, 'assigned', 1) end
    if from and sw.TERMINAL[from] then count(c.stats, from, -1) end
    if sw.TERMINAL[to] then count(c.stats, to, 1) end
    if task.batch and from ~= to then
        local b = c.batches[task.batch] or {}
        c.batches[task.batch] = b
        if from then count(b, from, -1) end
        count(b, to, 1)
    end

    local line = id .. ' ' .. to .. ' ' .. (opts.attempt or task.attempt or 0)
    append(sw.TERMINAL[to] and c.results or c.events, line)
end

-- Tells a worker, over its control channel, to stop an attempt. Only a hint: its next heartbeat says it again.
function sw.tell(c, worker, text)
    append(c.control, { worker, text })
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
            redis.call('HSET', key, 'finished_at', sw.digits(q.now))
            append(c.events, 'batch:' .. id .. ' finished ' .. ended)
        elseif v[6] and not complete then
            redis.call('HDEL', key, 'finished_at')
        end
    end
end

-- Writes everything, indexes first; nothing here can fail for a reason that validation could have seen.
function sw.commit(c)
    local q = c.q
    local prefix = q.prefix
    for index, ids in pairs(c.rem) do
        if #ids > 0 then redis.call('ZREM', prefix .. index, unpack(ids)) end
    end
    for index, pairs_ in pairs(c.add) do
        if #pairs_ > 0 then redis.call('ZADD', prefix .. index, unpack(pairs_)) end
    end
    for worker, a in pairs(c.attempts) do
        local key = prefix .. 'attempts:' .. worker
        if #a.del > 0 then redis.call('HDEL', key, unpack(a.del)) end
        if #a.set > 0 then redis.call('HSET', key, unpack(a.set)) end
    end
    for _, set in ipairs(c.hset) do redis.call('HSET', unpack(set)) end
    for _, del in ipairs(c.hdel) do redis.call('HDEL', unpack(del)) end
    for name, by in pairs(c.stats) do
        if by ~= 0 then redis.call('HINCRBY', prefix .. 'stats', name, by) end
    end
    commit_batches(c)
    if c.pull then sw.commit_pull(q, c.pull) end
    if c.wake and #c.wake > 0 then sw.commit_wake(c) end
    if #c.results > 0 then redis.call('PUBLISH', prefix .. 'results', table.concat(c.results, '\n')) end
    if #c.events > 0 then redis.call('PUBLISH', prefix .. 'events', table.concat(c.events, '\n')) end
    for _, message in ipairs(c.control) do
        redis.call('PUBLISH', prefix .. 'control:' .. message[1], message[2])
    end
end
