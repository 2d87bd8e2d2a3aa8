-- What a worker gets when it asks for work: from the line to the lease, and the assignment that it is sent.

-- What a pull looks for in a task's hash. MORE: it is more than a plain task, or this is not the first attempt at it.
local STATE, PLACE, TIMEOUT, PIECE, BATCH, LANE, USES, MORE = 1, 2, 3, 4, 5, 6, 7, 8
local PART = { state = STATE, place = PLACE, timeout_ms = TIMEOUT, ['payload.2'] = PIECE, batch = BATCH, lane = LANE, attempt = MORE,
    uses = USES, concurrency_key = MORE, rate_key = MORE, affinity_key = MORE, held_by = MORE }

-- Makes of a plain pending task's hash, as HGETALL answered it, the assignment of its first attempt, in place: what the worker
-- has no use for makes room for what it needs besides.
-- Answers the deadline, the lease's end, the task's batch, its lane, with a lane its priority, and `uses`; or nil: the task is not a
-- plain one, and its fields say what they said.
function sw.assign_plain(q, id, fields)
    local n, state, place, timeout_ms, batch, at_lane, lane, priority, uses = #fields, nil, nil, nil, nil, nil, nil, nil, nil
    for i = 1, n, 2 do
        local part = PART[fields[i]]
        if part then
            if part == STATE then state = i
            elseif part == PLACE then place = i
            elseif part == TIMEOUT then timeout_ms = fields[i + 1]
            elseif part == PIECE then
                sw.join_payload(fields)
                return sw.assign_plain(q, id, fields)
            elseif part == BATCH then batch = fields[i + 1]
            elseif part == LANE then at_lane = i
            elseif part == USES then uses = fields[i + 1]
            else return nil
            end
        end
    end
    if not state or fields[state + 1] ~= 'pending' or not place then return nil end
    if at_lane then
        lane = fields[at_lane + 1]
        for i = 1, n, 2 do
            if fields[i] == 'priority' then priority = fields[i + 1] end
        end
        -- No worker needs its name: the last field takes its place.
        fields[at_lane], fields[at_lane + 1] = fields[n - 1], fields[n]
        fields[n - 1], fields[n] = nil, nil
        if state == n - 1 then state = at_lane elseif place == n - 1 then place = at_lane end
        n = n - 2
    end
    if not timeout_ms then
        timeout_ms = q.default_timeout_ms
        fields[n + 1], fields[n + 2] = 'timeout_ms', q.default_timeout_text
        n = n + 2
    end
    -- Most tasks of a call have the same time limit: the text of its end is made once.
    if q.timeout ~= timeout_ms then
        q.timeout, q.deadline = timeout_ms, sw.digits(q.now + timeout_ms)
        q.lease_end = timeout_ms + 0 < q.lease_ms and q.deadline or sw.digits(q.now + q.lease_ms)
    end
    local deadline = q.deadline
    if state ~= 1 then
        fields[state], fields[state + 1] = fields[1], fields[2]
        if place == 1 then place = state end
    end
    if place ~= 3 then fields[place], fields[place + 1] = fields[3], fields[4] end
    fields[1], fields[2], fields[3], fields[4] = 'task', id, 'attempt', '1'
    fields[n + 1], fields[n + 2] = 'deadline_at', deadline
    if uses then sw.add_dependency_results(q, fields) end
    return deadline, q.lease_end, batch, lane, priority, uses
end

-- What a pull needs of a task to move it.
local NEEDED = { attempt = true, timeout_ms = true, state = true, batch = true, priority = true, place = true,
    uses = true, concurrency_key = true, concurrency_limit = true, rate_key = true, rate_per_second = true,
    rate_burst = true, rate_granted = true, affinity_key = true, lane = true }

-- Hands one pending task to the worker of `plan`, unless one of its limits keeps it. Answers whether it did.
function sw.plan_assignment(c, plan, id, lane)
    local q = c.q
    local fields = call('HGETALL', q.task_prefix .. id)
    if plan.starts and q.is_plain then
        local deadline, lease, batch, found, priority, uses = sw.assign_plain(q, id, fields)
        if deadline then
            sw.start_plain(c, plan.worker, id, lease, deadline, batch, found, priority, uses)
            plan.n = plan.n + 1
            plan.assignments[plan.n] = fields
            plan.got = plan.got + 1
            return true
        end
    end
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
    if plan.starts then
        local timeout_ms = tonumber(task.timeout_ms or q.default_timeout_ms)
        deadline = sw.digits(q.now + timeout_ms)
        sw.move(c, task, 'running', timeout_ms < q.lease_ms and deadline or plan.lease,
            { 'attempt', text, 'worker', worker, 'started_at', q.now_text },
            { worker = worker, attempt = text, deadline_at = deadline, clear = clear })
    else
        plan.unstarted = plan.unstarted + 1
        sw.move(c, task, 'assigned', plan.lease,
            { 'attempt', text, 'worker', worker, 'assigned_at', q.now_text },
            { worker = worker, attempt = text, deadline_at = '0', clear = clear })
    end
    if q.is_fair then sw.note_start(c, task) end
    if task.affinity_key then sw.note_affinity(c, task.affinity_key, worker) end
    local assignment = sw.assignment(q, id, text, deadline, fields)
    if task.uses then sw.add_dependency_results(q, assignment) end
    plan.n = plan.n + 1
    plan.assignments[plan.n] = assignment
    plan.got = plan.got + 1
    return true
end

-- The tasks whose attempts this call ends, by id.
function sw.ending(c)
    local ids = {}
    for id in pairs(rawget(c, 'ending_now') or {}) do ids[id] = true end
    for i = 1, c.n_completed do ids[c.completed[i]] = true end
    return ids
end

-- The plan of the call that pulls; a call pulls once at most.
local the_plan = { worker = false, state = false, assignments = false, unstarted = 0, got = 0, n = 0, starts = false, idle = false,
    lease = false }

-- What `switchyard_pull`, and `switchyard_finish` with "pull", will hand out: collected in c and committed with it.
--   state     the field @state of attempts:<worker>, or false: no such worker
--   head      max: how many tasks at most (0: none, and another worker is woken where work waits); start: "1" to start them
--             at once; holding: how many attempts the worker knows of, so that those of a lost reply are sent again
--   ended     how many attempts of this worker the same call ends
-- Answers the plan, which commit settles, or nil and an error reply.
function sw.plan_pull(c, worker, state, head, ended)
    local q = c.q
    if not state then return nil, sw.worker_not_found(worker) end
    local w = sw.worker_state(state)
    local held, used
    if q.has_lanes and sw.has_amounts(sw.class_in(q, worker, w)) then
        held = sw.leases_of(q, worker)
        used = #held / 2 - ended
    else
        used = sw.busy_slots(q, worker) - ended
    end
    local want = w.slots - used
    local most = head.max or 1
    if want > most then want = most elseif want < 0 then want = 0 end
    local starts = head.start == '1'
    local plan = the_plan
    plan.worker, plan.state, plan.assignments, plan.unstarted, plan.got, plan.n = worker, w, {}, w.unstarted, 0, 0
    plan.starts, plan.idle = starts, false
    c.pull = plan

    -- Assignments of an earlier pull that the worker has not started, or does not know of.
    local unknown = head.holding and used > head.holding
    if plan.unstarted > 0 or unknown then
        held = held or sw.leases_of(q, worker)
        local unstarted, over = 0, sw.ending(c)
        for i = 1, #held, 2 do
            local attempt, deadline = sw.lease_of(held[i + 1])
            local started = deadline ~= '0'
            if not started then unstarted = unstarted + 1 end
            if (not started or unknown) and not over[held[i]] then
                local assignment = sw.assignment(q, held[i], attempt,
                    started and deadline or nil, call('HGETALL', q.task_prefix .. held[i]))
                sw.add_dependency_results(q, assignment)
                plan.n = plan.n + 1
                plan.assignments[plan.n] = assignment
            end
        end
        plan.unstarted = unstarted
    end

    if want == 0 or q.paused or w.draining == 1 then
        plan.idle = want > 0 and w.draining == 0
        if most == 0 and not q.paused then
            -- It was woken, and has no room: tasks of another partition took it. The wake-up is passed on.
            sw.plan_gone(c, worker)
            sw.plan_wake_for_line(c, 1)
        end
        return plan
    end
    plan.lease = sw.digits(q.now + (starts and q.lease_ms or q.assign_timeout_ms))
    local looked = 0
    if q.is_plain and not q.has_lanes and not q.has_affinity and head.together ~= '1' then
        -- The line as it stands: mostly its first tasks are what there is to choose.
        local ids = call('ZRANGE', q.pending_key, 0, want - 1)
        looked = #ids
        for i = 1, looked do sw.plan_assignment(c, plan, ids[i]) end
        plan.idle = plan.got < want
        if not plan.idle or looked < want then return plan end
    end
    local chooser = sw.chooser(c, plan, held, want, head.together == '1', looked)
    while plan.got < want do
        local id, lane = chooser.next()
        if not id then break end
        if sw.plan_assignment(c, plan, id, lane) then chooser.took(lane) end
    end
    plan.idle = plan.got < want
    return plan
end

-- Writes the worker's side of a pull: when it last got work, and whether it sleeps now. Called by commit.
function sw.commit_pull(c, plan)
    local q, w, worker = c.q, plan.state, plan.worker
    local key = q.attempts_prefix .. worker
    -- Those that start plain tasks have written it along with them.
    if plan.got > 0 and c.n_started == 0 then call('HSET', key, '@last', sw.now_us_text(q)) end
    if plan.idle then
        -- Wake-ups sent before this pull have been answered by it.
        call('DEL', q.prefix .. 'wake:' .. worker)
        call('ZADD', q.idle_key, plan.got > 0 and sw.now_us_text(q) or call('HGET', key, '@last') or '0', worker)
    elseif w.asleep == 1 then
        call('ZREM', q.idle_key, worker)
    end
    local asleep = plan.idle and 1 or 0
    if w.asleep ~= asleep or w.unstarted ~= plan.unstarted then
        call('HSET', key, '@state', sw.state_text(w.slots, w.draining, plan.unstarted, asleep, sw.class_in(q, worker, w)))
    end
    plan.assignments = false
end

-- Checks the arguments that ask for tasks, which become numbers. Answers an error reply, or nil.
function sw.check_pull(head)
    local problem
    if head.max then
        head.max, problem = sw.count_of('max', head.max, 100)
        if problem then return sw.bad(problem) end
    end
    if head.holding then
        head.holding, problem = sw.count_of('holding', head.holding, sw.MAX_SLOTS)
        if problem then return sw.bad(problem) end
    end
end
