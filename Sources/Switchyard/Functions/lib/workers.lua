-- Workers: who sleeps and may be woken, what a worker takes, and what becomes of its tasks when it goes.

-- Sleepers looked at for one call's wake-ups; a tick looks again.
local SLEEPERS = 64

-- Notes that the call forgets `worker` once it has committed. It still stands in `idle` then, and is passed over.
function sw.plan_gone(c, worker)
    c.gone[worker] = true
    c.gone_count = c.gone_count + 1
end

-- Plans to wake workers for `n` tasks: those that have slept longest (round robin, by when they last got work), of
-- those that serve the tasks' lanes. A wake-up is a hint: the worker then pulls. A woken worker leaves `idle` until it has
-- pulled in vain.
--   lanes   lane ('': none) → number of tasks; only needed where the queue has lanes
-- Answers how many.
function sw.plan_wake(c, n, lanes)
    local q = c.q
    c.wake = {}
    if n < 1 then return 0 end
    local most = math.min(n, SLEEPERS)
    local sleepers = redis.call('ZRANGE', q.prefix .. 'idle', 0, (q.has_lanes and SLEEPERS or most) + c.gone_count - 1)
    if #sleepers == 0 then return 0 end
    local classes = q.has_lanes and redis.call('HMGET', q.prefix .. 'class', unpack(sleepers))
    for i, worker in ipairs(sleepers) do
        if #c.wake == most then break end
        if not (c.gone_count > 0 and c.gone[worker]) and (not classes or sw.claim(lanes, classes[i] or '')) then
            c.wake[#c.wake + 1] = worker
        end
    end
    return #c.wake
end

-- Whether a worker of `class` serves a lane that wants one; that lane then wants one less.
function sw.claim(lanes, class)
    for lane, left in pairs(lanes) do
        if left > 0 and sw.serves(class, lane) then
            lanes[lane] = left - 1
            return true
        end
    end
    return false
end

-- Plans to wake workers (at most `most`, where it is given) for all that stands in line, and for what this call puts there.
-- Answers how many.
function sw.plan_wake_for_line(c, most)
    local q = c.q
    local ready = redis.call('ZCARD', q.prefix .. 'pending') + #(c.add.pending or {}) / 2
    if not q.has_lanes then return ready > 0 and sw.plan_wake(c, math.min(ready, most or ready)) or 0 end
    local lanes = { [''] = ready }
    for _, lane in ipairs(redis.call('ZRANGE', q.prefix .. 'lanes', 0, 999)) do lanes[lane] = SLEEPERS end
    for lane in pairs(c.lanes or {}) do lanes[lane] = SLEEPERS end
    return sw.plan_wake(c, most or SLEEPERS, lanes)
end

-- Plans to wake workers for the tasks that this call puts in line. Answers how many.
function sw.plan_wake_for_added(c)
    if c.q.paused then return 0 end
    local total, lanes = 0, {}
    for index, added in pairs(c.add) do
        local lane = index == 'pending' and '' or string.match(index, '^pending:(.*)$')
        if lane then
            lanes[lane] = #added / 2
            total = total + #added / 2
        end
    end
    return total > 0 and sw.plan_wake(c, total, lanes) or 0
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
    if q.has_lanes then sw.leave_class(q, worker) end
end

-- What a pull needs of a task to move it.
local NEEDED = { attempt = true, timeout_ms = true, state = true, batch = true, priority = true, place = true,
    uses = true, concurrency_key = true, concurrency_limit = true, rate_key = true, rate_per_second = true,
    rate_burst = true, rate_granted = true, affinity_key = true, lane = true }

-- Hands one pending task to the worker of `plan`, unless one of its limits keeps it. Answers whether it did.
function sw.plan_assignment(c, plan, id, lane, start, lease)
    local q = c.q
    local fields = redis.call('HGETALL', q.prefix .. 'task:' .. id)
    local task = { id = id }
    for i = 1, #fields, 2 do
        if NEEDED[fields[i]] then task[fields[i]] = fields[i + 1] end
    end
    if task.state ~= 'pending' then
        -- An index entry without its task: the reconciler's business, but never a reason to stand still.
        sw.strike(c, sw.line_of(lane), id)
        return false
    end
    if task.uses and not sw.may_start(c, task) then return false end
    task.attempt = tonumber(task.attempt or 0) + 1
    local worker, text, deadline = plan.worker, tostring(task.attempt), nil
    -- Its turn is used up: another attempt is another start.
    local clear = task.rate_granted and { 'rate_granted' } or nil
    if start then
        local timeout_ms = tonumber(task.timeout_ms)
        -- Most tasks of a call have the same time limit: the text of it is made once.
        if plan.timeout_ms ~= timeout_ms then
            plan.timeout_ms, plan.deadline = timeout_ms, sw.digits(q.now + timeout_ms)
        end
        deadline = plan.deadline
        sw.move(c, task, 'running', timeout_ms < q.lease_ms and deadline or lease,
            { 'attempt', text, 'worker', worker, 'assigned_at', q.now_text, 'started_at', q.now_text },
            { worker = worker, attempt = text, deadline_at = deadline, clear = clear })
    else
        plan.unstarted = plan.unstarted + 1
        sw.move(c, task, 'assigned', lease,
            { 'attempt', text, 'worker', worker, 'assigned_at', q.now_text },
            { worker = worker, attempt = text, deadline_at = '0', clear = clear })
    end
    if q.is_fair then sw.note_start(c, task) end
    if task.affinity_key then sw.note_affinity(c, task.affinity_key, worker) end
    local assignment = sw.assignment(q, id, text, deadline, fields)
    if task.uses then sw.add_dependency_results(q, assignment) end
    plan.assignments[#plan.assignments + 1] = assignment
    plan.got = plan.got + 1
    return true
end

-- What `switchyard_pull`, and `switchyard_finish` with "pull", will hand out: collected in c and committed with it.
--   head      max: how many tasks at most (0: none, and another worker is woken where work waits); start: "1" to start them
--             at once; holding: how many attempts the worker knows of, so that those of a lost reply are sent again
--   ending    how many attempts of this worker the same call ends
-- Answers the plan, which commit settles, or nil and an error reply.
function sw.plan_pull(c, worker, head, ending)
    local q = c.q
    local w = redis.call('HMGET', q.prefix .. 'worker:' .. worker, 'slots', 'draining', 'unstarted', 'last_assigned',
        'asleep')
    if not w[1] then return nil, sw.worker_not_found(worker) end
    local held, used
    if q.has_lanes then
        held = redis.call('HGETALL', q.prefix .. 'attempts:' .. worker)
        used = #held / 2 - ending
    else
        used = redis.call('HLEN', q.prefix .. 'attempts:' .. worker) - ending
    end
    local free = math.max(0, tonumber(w[1]) - used)
    local want = math.min(tonumber(head.max or 1), free)
    local plan = { worker = worker, assignments = {}, unstarted = tonumber(w[3] or 0), asleep = w[5] == '1',
        last_assigned = w[4], got = 0 }
    c.pull = plan

    -- Assignments of an earlier pull that the worker has not started, or does not know of.
    local unknown = head.holding and used > tonumber(head.holding)
    if plan.unstarted > 0 or unknown then
        held = held or redis.call('HGETALL', q.prefix .. 'attempts:' .. worker)
        local unstarted = 0
        for i = 1, #held, 2 do
            local attempt, deadline = sw.lease_of(held[i + 1])
            local started = deadline ~= '0'
            if not started then unstarted = unstarted + 1 end
            if (not started or unknown) and not c.ending_now[held[i]] then
                local assignment = sw.assignment(q, held[i], attempt,
                    started and deadline or nil, redis.call('HGETALL', q.prefix .. 'task:' .. held[i]))
                sw.add_dependency_results(q, assignment)
                plan.assignments[#plan.assignments + 1] = assignment
            end
        end
        plan.unstarted = unstarted
    end

    if want == 0 or q.paused or w[2] == '1' then
        plan.idle = want > 0 and w[2] ~= '1'
        if head.max == '0' and not q.paused then
            -- It was woken, and has no room: tasks of another partition took it. The wake-up is passed on.
            sw.plan_gone(c, worker)
            sw.plan_wake_for_line(c, 1)
        end
        return plan
    end
    local start = head.start == '1'
    local lease = sw.digits(q.now + (start and q.lease_ms or q.assign_timeout_ms))
    local chooser = sw.chooser(c, worker, held or {}, want, head.together == '1')
    while plan.got < want do
        local id, lane = chooser.next()
        if not id then break end
        if sw.plan_assignment(c, plan, id, lane, start, lease) then chooser.took(lane) end
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
