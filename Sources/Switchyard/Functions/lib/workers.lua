-- Workers: who sleeps and may be woken, what a worker takes, and what becomes of its tasks when it goes.

-- Plans to wake up to `n` of the workers that have slept longest (round robin, by when they last got work).
-- A wake-up is a hint: the worker then pulls. A woken worker leaves `idle` until it has pulled in vain. Workers that this
-- call forgets (c.gone) still stand in `idle`, and are passed over.
-- Answers how many.
function sw.plan_wake(c, n)
    c.wake = {}
    if n < 1 then return 0 end
    local most = math.min(n, 64)
    for _, worker in ipairs(redis.call('ZRANGE', c.q.prefix .. 'idle', 0, most + c.gone_count - 1)) do
        if not c.gone[worker] and #c.wake < most then c.wake[#c.wake + 1] = worker end
    end
    return #c.wake
end

-- Notes that the call forgets `worker` once it has committed.
function sw.plan_gone(c, worker)
    c.gone[worker] = true
    c.gone_count = c.gone_count + 1
end

-- Called by commit.
function sw.commit_wake(c)
    redis.call('ZREM', c.q.prefix .. 'idle', unpack(c.wake))
    for _, worker in ipairs(c.wake) do redis.call('LPUSH', c.q.prefix .. 'wake:' .. worker, '1') end
end

function sw.worker_not_found(worker)
    return redis.error_reply('WORKERNOTFOUND worker ' .. worker
        .. ' is not registered, or missed its heartbeats; call switchyard_register')
end

-- Ends every attempt that `worker` still holds, at most `limit` of them, and forgets the worker when none is left.
-- Answers how many attempts it ended, and whether the worker is gone.
function sw.plan_farewell(c, worker, limit, why, seen)
    local held = redis.call('HGETALL', c.q.prefix .. 'attempts:' .. worker)
    local ended = 0
    for i = 1, #held, 2 do
        if ended == limit then return ended, false end
        local id = held[i]
        local task = not seen[id] and sw.read(c.q, id)
        if task and sw.LIVE[task.state] and task.worker == worker then
            seen[id] = true
            sw.lose_attempt(c, task, why)
            ended = ended + 1
        end
    end
    return ended, true
end

function sw.forget_worker(q, worker, slots)
    redis.call('DEL', q.prefix .. 'worker:' .. worker, q.prefix .. 'wake:' .. worker, q.prefix .. 'attempts:' .. worker)
    redis.call('ZREM', q.prefix .. 'workers', worker)
    redis.call('ZREM', q.prefix .. 'idle', worker)
    redis.call('HINCRBY', q.prefix .. 'stats', 'slots', -slots)
end

-- What `switchyard_pull`, and `switchyard_finish` with "pull", will hand out: collected in c and committed with it.
--   head      max: how many tasks at most; start: "1" to start them at once; holding: how many attempts the
--             worker knows of, so that those of a lost reply are sent again
--   ending    how many attempts of this worker the same call ends
-- Answers the plan, which commit settles, or nil and an error reply.
function sw.plan_pull(c, worker, head, ending)
    local q = c.q
    local w = redis.call('HMGET', q.prefix .. 'worker:' .. worker, 'slots', 'draining', 'unstarted', 'last_assigned',
        'asleep')
    if not w[1] then return nil, sw.worker_not_found(worker) end
    local used = redis.call('HLEN', q.prefix .. 'attempts:' .. worker) - ending
    local free = math.max(0, tonumber(w[1]) - used)
    local want = math.min(tonumber(head.max or 1), free)
    local plan = { worker = worker, assignments = {}, unstarted = tonumber(w[3] or 0), asleep = w[5] == '1',
        last_assigned = w[4], got = 0 }
    c.pull = plan

    -- Assignments of an earlier pull that the worker has not started, or does not know of.
    local unknown = head.holding and used > tonumber(head.holding)
    if plan.unstarted > 0 or unknown then
        local held = redis.call('HGETALL', q.prefix .. 'attempts:' .. worker)
        local unstarted = 0
        for i = 1, #held, 2 do
            local attempt, deadline = string.match(held[i + 1], '^(%d+):(%d+)$')
            local started = deadline ~= '0'
            if not started then unstarted = unstarted + 1 end
            if (not started or unknown) and not c.ending_now[held[i]] then
                plan.assignments[#plan.assignments + 1] = sw.assignment(q, held[i], attempt,
                    started and deadline or nil, redis.call('HGETALL', q.prefix .. 'task:' .. held[i]))
            end
        end
        plan.unstarted = unstarted
    end

    if want == 0 or q.paused or w[2] == '1' then
        plan.idle = want > 0 and w[2] ~= '1'
        return plan
    end
    local start = head.start == '1'
    local lease = sw.digits(q.now + (start and q.lease_ms or q.assign_timeout_ms))
    for _, id in ipairs(redis.call('ZRANGE', q.prefix .. 'pending', 0, want - 1)) do
        local fields = redis.call('HGETALL', q.prefix .. 'task:' .. id)
        local attempt, timeout_ms, state, batch, returned = 0, 0, nil, nil, nil
        for i = 1, #fields, 2 do
            local name = fields[i]
            if name == 'attempt' then attempt = tonumber(fields[i + 1])
            elseif name == 'timeout_ms' then timeout_ms = tonumber(fields[i + 1])
            elseif name == 'state' then state = fields[i + 1]
            elseif name == 'batch' then batch = fields[i + 1]
            end
        end
        if state == 'pending' then
            attempt = attempt + 1
            local text = tostring(attempt)
            local task = { id = id, state = 'pending', batch = batch, attempt = attempt }
            local deadline
            if start then
                deadline = sw.digits(q.now + timeout_ms)
                sw.move(c, task, 'running', timeout_ms < q.lease_ms and deadline or lease,
                    { 'attempt', text, 'worker', worker, 'assigned_at', q.now_text, 'started_at', q.now_text },
                    { worker = worker, attempt = text, deadline_at = deadline })
            else
                plan.unstarted = plan.unstarted + 1
                sw.move(c, task, 'assigned', lease,
                    { 'attempt', text, 'worker', worker, 'assigned_at', q.now_text },
                    { worker = worker, attempt = text, deadline_at = '0' })
            end
            plan.assignments[#plan.assignments + 1] = sw.assignment(q, id, text, deadline, fields)
            plan.got = plan.got + 1
        else
            -- An index entry without its task: the reconciler's business, but never a reason to stand still.
            c.rem.pending[#c.rem.pending + 1] = id
            sw.count(c.stats, 'repaired', 1)
        end
    end
    plan.idle = plan.got < want
    return plan
end

-- Writes the worker's side of a pull: when it last got work, and whether it sleeps now. Called by commit.
function sw.commit_pull(q, plan)
    local key = q.prefix .. 'worker:' .. plan.worker
    local set = {}
    local last = plan.last_assigned or '0'
    if plan.got > 0 then
        last = sw.digits(q.now_us)
        set = { 'last_assigned', last, 'unstarted', tostring(plan.unstarted) }
    end
    if plan.idle then
        -- Wake-ups sent before this pull have been answered by it.
        redis.call('DEL', q.prefix .. 'wake:' .. plan.worker)
        redis.call('ZADD', q.prefix .. 'idle', last, plan.worker)
        if not plan.asleep then set[#set + 1] = 'asleep'; set[#set + 1] = '1' end
    elseif plan.asleep then
        redis.call('ZREM', q.prefix .. 'idle', plan.worker)
        set[#set + 1] = 'asleep'
        set[#set + 1] = '0'
    end
    if #set > 0 then redis.call('HSET', key, unpack(set)) end
end

-- Checks the arguments that ask for tasks. Answers an error reply, or nil.
function sw.check_pull(head)
    for name, most in pairs({ max = 100, holding = sw.MAX_SLOTS }) do
        local problem = head[name] and sw.check_integer(name, head[name], 0, most)
        if problem then return sw.bad(problem) end
    end
end
