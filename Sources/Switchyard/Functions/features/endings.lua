-- Endings: attempts that have ended in the queue while their processes still run.
--
-- A task that is cancelled, or whose time limit is over, changes its state at once. Its process gets SIGTERM, and may
-- take its grace to clean up. Until the worker reports that the process is gone, the attempt keeps what it occupies:
-- its entry in `attempts:<worker>` stays, with the mark "!", and with it the slot and the resources, and its task stays
-- in `running:<key>`. The task itself may be retried, but waits (held_by ending), so that it never runs beside its
-- former attempt.
--
-- `ending` is the index of these attempts: its members are "<task> <worker>", and the scores are the times at which
-- they end at the latest: after the grace and a lease. The field `ending` of the task's hash is "<worker> <ms>". The
-- end of the worker ends its endings too.
--
-- Only a worker that registers with grace_ms reports the end of processes. The attempts of others end at once.

local function member_of(id, worker) return id .. ' ' .. worker end

-- Returns the field `ending` of a running task that is told to end now, or nil if its worker does not report ends.
function sw.ending_of(q, task)
    local grace = sw.whole(call('HGET', q.prefix .. 'worker:' .. task.worker, 'grace_ms'))
    if not grace then return nil end
    return task.worker .. ' ' .. sw.digits(q.now + (task.grace_ms or grace) + q.lease_ms)
end

-- Returns the worker and the time (ms, as text) in a field `ending`.
function sw.parse_ending(text) return match(text or '', '^([^ ]+) (%d+)$') end

-- Returns the lease entry of an attempt that is ending.
local function entry_of(attempt, at, lane)
    return attempt .. ':' .. at .. '!' .. (lane and ' ' .. lane or '')
end

-- Called by transition.lua. Plans that `task`, whose attempt ends now, keeps what the attempt occupies.
function sw.begin_ending(task, lane)
    local worker, at = sw.parse_ending(task.ending)
    sw.set_lease(worker, task.id, entry_of(task.attempt, at, lane))
    sw.enter_index('ending', at, member_of(task.id, worker))
end

-- Plans that an ending is over. Does nothing that is done already.
--   entry   the lease entry of `id` on `worker`
local function finish(c, id, worker, entry)
    if c.over[id] then return end
    c.over[id] = true
    local _, _, mark, _, lane = sw.lease_of(entry or nil)
    sw.leave_index('ending', member_of(id, worker))
    sw.clear_fields(c.q, id, { 'ending' })
    if mark == '!' then
        sw.end_lease(worker, id)
        if lane then sw.note_running(c, lane, id, false) end
        c.lost_lease[worker] = true
    end
    local task = not sw.planned_state(c, id) and sw.read(c.q, id)
    if task and task.held_by == 'ending' then
        task.ending = nil
        sw.move(c, task, 'pending', {})
    end
end

-- Ends the ending of attempt `attempt` of task `id` on `worker`, if there is one. Returns whether there was.
function sw.end_ending(c, id, worker, attempt)
    local entry = call('HGET', c.q.attempts_prefix .. worker, id)
    local found, _, mark = sw.lease_of(entry or nil)
    if mark ~= '!' or tonumber(found) ~= attempt then return false end
    finish(c, id, worker, entry)
    return true
end

-- Ends whatever is left of the ending of task `id` on `worker`.
function sw.drop_ending(c, id, worker)
    finish(c, id, worker, call('HGET', c.q.attempts_prefix .. worker, id))
end

-- Moves a task into its line whose former attempt must be over by now.
function sw.release_ending(c, task)
    local worker = sw.parse_ending(task.ending)
    if worker then return sw.drop_ending(c, task.id, worker) end
    task.ending = nil
    sw.move(c, task, 'pending', {})
end

-- Called by tick. Ends up to `limit` endings whose time is over, because no report came. Returns how many, and when the
-- next one is due (nil: none).
function sw.end_due_endings(c, limit)
    local found = call('ZRANGE', c.q.prefix .. 'ending', 0, math.max(0, limit), 'WITHSCORES')
    sw.know('ending')
    local count = 0
    for i = 1, #found, 2 do
        local at = tonumber(found[i + 1])
        if at > c.q.now or count == limit then return count, at end
        local id, worker = match(found[i], '^([^ ]+) ([^ ]+)$')
        if id then sw.drop_ending(c, id, worker) else sw.strike('ending', found[i]) end
        count = count + 1
    end
    return count
end

-- Limit on the endings that a count by worker reads. Each occupies a slot, so there are rarely more.
local COUNTED = 5000

-- Returns how many attempts are ending, by worker.
function sw.count_endings(q)
    local counts = {}
    for _, member in ipairs(call('ZRANGE', q.prefix .. 'ending', 0, COUNTED - 1)) do
        local worker = match(member, ' ([^ ]+)$')
        if worker then sw.count(counts, worker, 1) end
    end
    return counts
end

-- Whether a task's ending is not over, as far as this call knows.
function sw.is_ending(c, task) return task.ending and not (sw.has(c, 'over') and c.over[task.id]) end

-- Compares an entry of `ending` with the lease entry and the task's hash. Returns whether they agree.
local function agrees(q, member, at)
    local id, worker = match(member, '^([^ ]+) ([^ ]+)$')
    if not id then return false end
    local _, found, mark, _, lane = sw.lease_of(call('HGET', q.attempts_prefix .. worker, id) or nil)
    local text = call('HGET', q.task_prefix .. id, 'ending')
    if mark ~= '!' or found ~= at or text ~= worker .. ' ' .. at then return false end
    local concurrency = lane and sw.parse_name(lane).concurrency
    if concurrency and sw.derived('SADD', q.prefix .. 'running:' .. concurrency.key, id) == 1 then
        sw.add_to_stat(q, 'repaired', 1)
    end
    return true
end

-- Called by the reconciler. Checks a piece of `ending`, from `rank` on; what disagrees is over. Returns the next rank
-- (nil: the end), and the number of repairs.
function sw.check_endings(q, rank, limit)
    local found = call('ZRANGE', q.prefix .. 'ending', rank, rank + limit - 1, 'WITHSCORES')
    local c, repaired = sw.changes(q), 0
    for i = 1, #found, 2 do
        if not agrees(q, found[i], sw.digits(tonumber(found[i + 1]))) then
            local id, worker = match(found[i], '^([^ ]+) ([^ ]+)$')
            if id then
                sw.drop_ending(c, id, worker)
                sw.count_stat('repaired', 1)
            else
                sw.strike('ending', found[i])
            end
            repaired = repaired + 1
        end
    end
    sw.commit(c)
    return #found == limit * 2 and rank + limit - repaired or nil, repaired
end

-- Called by the reconciler. Ends the ending that a task's hash claims, if the index does not have it. Returns whether
-- it
-- did.
function sw.check_ending_field(q, id, text)
    local worker = sw.parse_ending(text)
    if worker and call('ZSCORE', q.prefix .. 'ending', member_of(id, worker)) then return false end
    local c = sw.changes(q)
    if worker then
        sw.drop_ending(c, id, worker)
    else
        sw.clear_fields(q, id, { 'ending' })
    end
    sw.count_stat('repaired', 1)
    rawset(c, 'is_general', true)
    sw.commit(c)
    return true
end
