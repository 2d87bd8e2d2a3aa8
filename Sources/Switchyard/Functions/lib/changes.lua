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

local function push(list, value)
    list[#list + 1] = value
end

local function push_pair(list, first, second)
    local n = #list
    list[n + 1] = first
    list[n + 2] = second
end

local NO_OPTIONS = {}

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
--   fields  further fields of its hash, as pairs; move takes the table over
--   opts    worker, attempt: the new lease; deadline_at (ms as text, '0' while not started): its time limit;
--           held_by: what a pending task waits for; clear: fields to delete
function sw.move(c, task, to, score, fields, opts)
    local id, from = task.id, task.state
    opts = opts or NO_OPTIONS
    if from and not (sw.MAY[from] and sw.MAY[from][to]) then
        error('switchyard: task ' .. id .. ' cannot go from ' .. from .. ' to ' .. to)
    end
    local key = c.q.prefix .. 'task:' .. id

    local new_index = index_of(to, opts.held_by)
    if from then
        local old_index = index_of(from, task.held_by)
        if old_index ~= new_index then push(c.rem[old_index], id) end
        if from == 'assigned' then count(c.stats, 'assigned', -1) end
        if sw.TERMINAL[from] then count(c.stats, from, -1) end
    end
    push_pair(c.add[new_index], score, id)

    if sw.LIVE[to] then
        push_pair(attempts_of(c, opts.worker).set, id, opts.attempt .. ':' .. opts.deadline_at)
    elseif from and sw.LIVE[from] then
        push(attempts_of(c, task.worker).del, id)
    end

    push_pair(fields, 'state', to)
    if opts.held_by then
        push_pair(fields, 'held_by', opts.held_by)
        push_pair(fields, 'due_at', score)
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
            push(c.events, 'batch:' .. id .. ' finished ' .. ended)
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
    for i = 1, #c.hset, 2 do redis.call('HSET', c.hset[i], unpack(c.hset[i + 1])) end
    for i = 1, #c.hdel, 2 do redis.call('HDEL', c.hdel[i], unpack(c.hdel[i + 1])) end
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
