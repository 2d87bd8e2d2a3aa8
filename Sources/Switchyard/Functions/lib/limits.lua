-- Limits by key: at most so many tasks running (concurrency_key), and so many starting in a second (rate_key).
--
-- A task that meets its limit when a worker asks for work leaves the line, so that nobody looks at it again until it may
-- run: into `blocked`, and there in the line `blocked:<key>`, from which the end of a running task of the key takes the first back into the line; or into
-- `held` until its turn. `running:<key>` is the set of the live tasks of a key: what counts is who is in it.

-- How many tasks of `key` run, counting what this call has changed so far.
local function running(c, key)
    local limit = c.limits[key]
    if not limit then
        limit = { add = {}, rem = {}, running = call('SCARD', c.q.prefix .. 'running:' .. key) }
        c.limits[key] = limit
    end
    return limit
end

-- Called by sw.move: a task of a concurrency key begins or ends an attempt.
function sw.note_running(c, task, runs)
    local limit = running(c, task.concurrency_key)
    if runs then
        limit.add[#limit.add + 1] = task.id
        limit.running = limit.running + 1
    else
        limit.rem[#limit.rem + 1] = task.id
        limit.running = limit.running - 1
        limit.freed = true
    end
end

-- Called by sw.move: a task of a concurrency key leaves the line without running, and leaves its turn to another.
function sw.note_turn_left(c, task)
    running(c, task.concurrency_key).freed = true
end

-- Whether the limits of a pending task let it start now. If not, it is moved out of the line, and the answer is false.
function sw.may_start(c, task)
    local key = task.concurrency_key
    if key and running(c, key).running >= tonumber(task.concurrency_limit or 1) then
        sw.move(c, task, 'pending', task.place, {}, { held_by = 'concurrency_limit' })
        return false
    end
    if task.rate_key and not task.rate_granted then
        local due = sw.rate_due(c, task)
        if due > c.q.now_us then
            -- It has its turn reserved: when it is due, it may start whatever comes before it.
            sw.move(c, task, 'pending', sw.digits(math.ceil(due / 1000)), { 'rate_granted', '1' },
                { held_by = 'rate_limit' })
            return false
        end
    end
    return true
end

-- When the next task of a rate key may start, in µs; taking that turn. This is the generic cell rate algorithm (ITU-T
-- I.371): one number for a bucket, the theoretical arrival time.
function sw.rate_due(c, task)
    local key = task.rate_key
    local interval = 1000000 / tonumber(task.rate_per_second or 1)
    local tat = c.rates[key] or tonumber(call('GET', c.q.prefix .. 'rate:' .. key) or 0)
    local due = math.max(c.q.now_us, tat - (tonumber(task.rate_burst or 1) - 1) * interval)
    c.rates[key] = math.max(c.q.now_us, tat) + interval
    return due
end

-- Puts back in line the tasks that the end of others lets run, first come first.
function sw.release_blocked(c)
    for key, limit in pairs(c.limits) do
        if limit.freed then
            limit.freed = nil
            -- At most as many as this call has ended, and one more for limits that were raised; those that this call takes out
            -- of the line still stand in it, and are passed over.
            local index = 'blocked:' .. key
            local left = #limit.rem + 1
            local last = left - 1 + #(c.rem[index] or {})
            for _, id in ipairs(call('ZRANGE', c.q.prefix .. index, 0, last)) do
                local task = not c.moved[id] and sw.read(c.q, id)
                local is_blocked = task and task.held_by == 'concurrency_limit' and left > 0
                if is_blocked then left = left - 1 end
                if is_blocked and limit.running < tonumber(task.concurrency_limit or 1) then
                    -- Counted as if it ran: it is the next, but others of its key may be in line too.
                    limit.running = limit.running + 1
                    sw.move(c, task, 'pending', task.place, {})
                end
            end
        end
    end
end

-- Called by commit.
function sw.commit_limits(c)
    local prefix = c.q.prefix
    for key, limit in pairs(c.limits) do
        if #limit.rem > 0 then call('SREM', prefix .. 'running:' .. key, unpack(limit.rem)) end
        if #limit.add > 0 then call('SADD', prefix .. 'running:' .. key, unpack(limit.add)) end
    end
    for key, tat in pairs(c.rates) do
        -- The bucket is full again once its time is past.
        call('SET', prefix .. 'rate:' .. key, sw.digits(tat), 'PXAT', sw.digits(math.ceil(tat / 1000) + 1000))
    end
end
