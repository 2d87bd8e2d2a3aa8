-- Batches: many tasks that are followed and cancelled as one. `batch:<id>` counts them by state; `members:<id>` lists
-- them in order; `failures:<id>` has those that ended without success, by when they ended. A batch of more tasks than
-- one call may carry is staged first (staging.lua).

-- Whether a task in this state has ended without success.
local function is_failure(state) return sw.TERMINAL[state] and state ~= 'completed' end

-- Notes that a task of a batch moves from state `from` (nil: it is new) to state `to` (nil: none).
--   id   the task, if it may end without success, or be retried
function sw.count_in_batch(c, batch, from, to, id)
    if id and (is_failure(from) or is_failure(to)) then
        local failures = c.failures[batch] or { add = {}, rem = {} }
        c.failures[batch] = failures
        if is_failure(to) then
            failures.add[#failures.add + 1], failures.add[#failures.add + 2] = c.q.now_text, id
        else
            failures.rem[#failures.rem + 1] = id
        end
    end
    local b = c.batches[batch]
    if not b then
        b = {}
        c.batches[batch] = b
    end
    if from then sw.count(b, from, -1) end
    if to then sw.count(b, to, 1) end
end

-- Called by commit before its first write. A batch whose hash is gone is not counted; a batch key of a wrong type is
-- an error.
function sw.check_features(c)
    if not sw.has(c, 'batches') then return end
    for id in pairs(c.batches) do
        local is_new = sw.has(c, 'new_batches') and c.new_batches[id]
        if not is_new and call('HEXISTS', c.q.prefix .. 'batch:' .. id, 'total') == 0 then c.batches[id] = nil end
    end
end

-- The states that a batch counts its tasks by.
local COUNTED = { 'pending', 'assigned', 'running', 'completed', 'failed', 'timeout', 'cancelled' }

-- No batch has so many tasks.
local MOST_COUNTED = 1000000000

-- Adds to the counts of a batch. They add up to its total, so one that is no such number is computed from the others.
-- Returns the new counts by state.
local function add_to_batch(key, changes)
    local counts, damaged = {}, nil
    for state, by in pairs(changes) do
        if by ~= 0 then
            counts[state] = pcall_redis('HINCRBY', key, state, by)
            local count = counts[state]
            if type(count) == 'table' or count < 0 or count > MOST_COUNTED then damaged = state end
        end
    end
    if not damaged then return counts end
    local v = call('HMGET', key, 'total', unpack(COUNTED))
    local rest = sw.whole(v[1], 0)
    for i, other in ipairs(COUNTED) do
        if other ~= damaged then rest = rest - sw.whole(v[i + 1], 0) end
    end
    counts[damaged] = math.max(0, rest)
    call('HSET', key, damaged, counts[damaged])
    return counts
end

-- Called by commit. Adds to the counts, and notes when every task of a batch has ended.
function sw.commit_batches(c)
    local q = c.q
    for id, new in pairs(rawget(c, 'new_batches') or {}) do
        sw.create_batch(q, id, new.ids, new)
    end
    for id, failures in pairs(rawget(c, 'failures') or {}) do
        local index = q.prefix .. 'failures:' .. id
        if c.batches[id] and #failures.rem > 0 then sw.derived('ZREM', index, unpack(failures.rem)) end
        if c.batches[id] and #failures.add > 0 then sw.derived('ZADD', index, unpack(failures.add)) end
    end
    for id, counters in pairs(c.batches) do
        local key, has_ended, is_open, is_again = q.prefix .. 'batch:' .. id, false, false, false
        for state, count in pairs(add_to_batch(key, counters)) do
            if sw.TERMINAL[state] then
                if counters[state] > 0 then has_ended = true else is_again = true end
            elseif type(count) ~= 'number' or count > 0 then
                is_open = true
            end
        end
        if is_again then call('HDEL', key, 'finished_at') end
        if has_ended and not is_open then
            local v = call('HMGET', key, 'total', 'completed', 'failed', 'timeout', 'cancelled', 'finished_at')
            local ended, total = 0, sw.whole(v[1], -1)
            for i = 2, 5 do
                local count = sw.whole(v[i], 0)
                -- A count above the total is damaged.
                ended = ended + (count <= total and count or 0)
            end
            if ended == total and not v[6] then
                call('HSET', key, 'finished_at', q.now_text)
                c.finished_batches[#c.finished_batches + 1] = id
                sw.tell_event('batch:' .. id .. ' finished ' .. ended)
            end
        end
    end
end

-- Puts a task that ended without success into the index of its batch, if it has one and is not there: it ended under an
-- earlier library, or the index has lost it.
function sw.check_failure(q, id)
    local v = call('HMGET', q.task_prefix .. id, 'batch', 'finished_at')
    if v[1] and call('HEXISTS', q.prefix .. 'batch:' .. v[1], 'total') == 1 then
        sw.derived('ZADD', q.prefix .. 'failures:' .. v[1], 'NX', sw.digits(sw.whole(v[2], q.now)), id)
    end
end

-- Plans the hash of a new batch of the tasks `ids`.
--   head      the arguments of the call: on_complete, on_complete_again
--   request   the request token by which a repeated submission is recognized
function sw.plan_batch(c, batch, ids, head, request)
    c.new_batches[batch] = { ids = ids, on_complete = head.on_complete, request = request,
        on_complete_again = head.on_complete_again }
    c.batches[batch] = c.batches[batch] or {}
end

-- Creates the hash of a batch. A batch without new tasks (all existed before) has ended at once.
--   options   on_complete, on_complete_again, request
function sw.create_batch(q, batch, ids, options)
    local key = q.prefix .. 'batch:' .. batch
    local fields = { 'total', #ids, 'submitted_at', q.now_text }
    local function add(name, value)
        fields[#fields + 1] = name
        fields[#fields + 1] = value
    end
    if options.on_complete then add('on_complete', options.on_complete) end
    if options.on_complete_again == '1' then add('on_complete_again', '1') end
    if options.request then add('request', options.request) end
    if #ids == 0 then add('finished_at', q.now_text) end
    call('DEL', q.prefix .. 'members:' .. batch, q.prefix .. 'failures:' .. batch)
    call('HSET', key, unpack(fields))
    if #ids > 0 then
        call('RPUSH', q.prefix .. 'members:' .. batch, unpack(ids))
    else
        -- The hash expires, because no task's deletion will delete it.
        call('PEXPIRE', key, sw.digits(math.max(1, q.retention_ms)))
    end
end

-- Work on batches that takes several calls. The list `batch_work` contains "open <id> <stage>" and "cancel <id>". The
-- progress is in the field `done` or `cancel_done` of the batch's hash; there are two fields, because a batch can be
-- cancelled while it is being opened.
local DONE = { open = 'done', cancel = 'cancel_done' }

function sw.begin_batch_work(q, kind, id, more)
    call('HSET', q.prefix .. 'batch:' .. id, DONE[kind], '0')
    sw.derived('RPUSH', q.prefix .. 'batch_work', kind .. ' ' .. id .. (more and ' ' .. more or ''))
end

-- Begins to cancel the tasks of a batch that have not ended.
function sw.cancel_batch(q, id, reason)
    call('HSET', q.prefix .. 'batch:' .. id, 'cancel_reason', reason)
    sw.begin_batch_work(q, 'cancel', id)
end

local function step_cancel(q, id, limit)
    local key = q.prefix .. 'batch:' .. id
    local v = call('HMGET', key, 'cancel_done', 'cancel_reason')
    local done = sw.whole(v[1], 0)
    local ids = call('LRANGE', q.prefix .. 'members:' .. id, done, done + limit - 1)
    local c = sw.changes(q)
    for _, task_id in ipairs(ids) do
        local task = sw.read(q, task_id)
        if task and task.batch == id and not sw.TERMINAL[task.state] and not sw.planned_state(c, task_id) then
            sw.cancel_task(c, task, v[2] or 'its batch was cancelled')
        end
    end
    if #ids < limit then
        call('LPOP', q.prefix .. 'batch_work')
        call('HDEL', key, 'cancel_done')
    else
        call('HSET', key, 'cancel_done', done + #ids)
    end
    sw.follow_up(c, limit - #ids)
    sw.commit(c)
    return #ids
end

-- Does one step of the first entry of `batch_work`, of up to `limit` tasks. Returns how many tasks it processed; nil:
-- the list is empty.
function sw.step_batches(q, limit)
    local work = call('LINDEX', q.prefix .. 'batch_work', 0)
    if not work then return nil end
    local kind, id, stage = match(work, '^(%a+) ([^ ]+) ?(.*)$')
    if kind and call('EXISTS', q.prefix .. 'batch:' .. id) == 1 then
        -- An entry without a stage is from a library before version 5; upgrade.lua has done its work.
        if kind == 'open' and stage ~= '' then return sw.step_open(q, id, stage, limit) end
        if kind == 'cancel' then return step_cancel(q, id, limit) end
    end
    call('LPOP', q.prefix .. 'batch_work')
    return 0
end
