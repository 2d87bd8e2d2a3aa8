-- Workers: who sleeps and may be woken, what a worker takes, and what becomes of its tasks when it goes.

-- Sleepers looked at for one call's wake-ups; a tick looks again.
local SLEEPERS = 64

local NOBODY = {}

local digits = sw.digits

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
    c.wake = NOBODY
    -- While all are busy, the size of the index is the cheaper look.
    if n < 1 or call('ZCARD', q.idle_key) == 0 then return 0 end
    local most = math.min(n, SLEEPERS)
    local sleepers = call('ZRANGE', q.idle_key, 0, (q.has_lanes and SLEEPERS or most) + c.gone_count - 1)
    c.wake = {}
    local classes = q.has_lanes and call('HMGET', q.prefix .. 'class', unpack(sleepers))
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
    local ready = call('ZCARD', q.pending_key) + #(c.add.pending or {}) / 2
    if not q.has_lanes then return ready > 0 and sw.plan_wake(c, math.min(ready, most or ready)) or 0 end
    local lanes = { [''] = ready }
    for _, lane in ipairs(call('ZRANGE', q.prefix .. 'lanes', 0, 999)) do lanes[lane] = SLEEPERS end
    for lane in pairs(c.lanes or NOBODY) do lanes[lane] = SLEEPERS end
    for lane in pairs(c.heads or NOBODY) do lanes[lane] = SLEEPERS end
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
    call('ZREM', c.q.prefix .. 'idle', unpack(c.wake))
    for _, worker in ipairs(c.wake) do call('LPUSH', c.q.prefix .. 'wake:' .. worker, '1') end
end

function sw.worker_not_found(worker)
    return redis.error_reply('WORKERNOTFOUND worker ' .. worker
        .. ' is not registered, or missed its heartbeats; call switchyard_register')
end

-- Ends the attempts that `worker` still holds, at most `limit` of them.
--   leaves   it said good-bye: what it had not started goes back in line uncounted. Otherwise it missed its heartbeats
--   seen     ids of tasks that the call has moved already, to which it adds
-- Answers how many attempts it ended, and whether those were all.
function sw.plan_farewell(c, worker, limit, leaves, seen)
    local held = sw.leases_of(c.q, worker)
    local ended = 0
    for i = 1, #held, 2 do
        if ended == limit then return ended, false end
        local id = held[i]
        local task = not seen[id] and sw.read(c.q, id)
        if task and sw.LIVE[task.state] and task.worker == worker then
            seen[id] = true
            if leaves and task.state == 'assigned' then
                sw.return_assignment(c, task, false)
            else
                sw.lose_attempt(c, task, leaves and 'left' or 'missed its heartbeats')
            end
            ended = ended + 1
        end
    end
    return ended, true
end

-- The worker takes no more work. It is told by whoever calls this.
function sw.drain_worker(q, worker)
    call('HSET', q.prefix .. 'worker:' .. worker, 'draining', '1')
    sw.set_state(q, worker, nil, '1')
    call('ZREM', q.prefix .. 'idle', worker)
    if q.has_lanes then sw.unreserve_worker(q, worker) end
end

-- A worker has said good-bye, and holds more than the call has ended: the next ticks end the rest, as it would have.
function sw.let_leave(q, worker)
    sw.drain_worker(q, worker)
    call('HSET', q.prefix .. 'worker:' .. worker, 'leaves', '1')
    call('ZADD', q.prefix .. 'workers', '0', worker)
end

function sw.forget_worker(q, worker, slots)
    call('DEL', q.prefix .. 'worker:' .. worker, q.prefix .. 'wake:' .. worker, q.prefix .. 'attempts:' .. worker)
    call('ZREM', q.prefix .. 'workers', worker)
    call('ZREM', q.prefix .. 'idle', worker)
    call('HINCRBY', q.prefix .. 'stats', 'slots', -slots)
    if q.has_lanes then sw.leave_class(q, worker) end
end

-- What the functions themselves keep of a worker stands in attempts:<worker>, under names that no task can have, so that a
-- busy worker's call reads and writes it along with its leases: `@state`, and `@last`, when it last got work (µs).
--
-- `@state` is a line such as "slots=4 draining=0 unstarted=0 asleep=1 class=gpu,+cpu=8": few different ones, so their meaning is
-- remembered.
local states, state_count = {}, 0

function sw.worker_state(text)
    local state = states[text]
    if state then return state end
    local numbers, class = string.match(text, '^(.-) class=(.*)$')
    state = { class = class }
    for name, value in string.gmatch(numbers or text, '(%a+)=(%d+)') do state[name] = tonumber(value) end
    if state_count == 1000 then states, state_count = {}, 0 end
    states[text] = state
    state_count = state_count + 1
    return state
end

-- Pairs in attempts:<worker> that are not leases: @state and @last.
local NOT_LEASES = 2

function sw.state_text(slots, draining, unstarted, asleep, class)
    return 'slots=' .. slots .. ' draining=' .. draining .. ' unstarted=' .. unstarted .. ' asleep=' .. asleep
        .. ' class=' .. class
end

-- The class in the worker's state. One that registered with an earlier library has it elsewhere only.
function sw.class_in(q, worker, state)
    return state.class or call('HGET', q.prefix .. 'class', worker) or ''
end

-- Writes the worker's state, keeping what is not given.
function sw.set_state(q, worker, slots, draining, class)
    local key = q.attempts_prefix .. worker
    local text = call('HGET', key, '@state')
    local state = text and sw.worker_state(text) or { slots = slots, draining = 0, unstarted = 0, asleep = 0 }
    call('HSET', key, '@state', sw.state_text(slots or state.slots, draining or state.draining, state.unstarted, state.asleep,
        class or sw.class_in(q, worker, state)))
    call('HSETNX', key, '@last', '0')
end

-- The leases of a worker: task id and entry, in pairs.
function sw.leases_of(q, worker)
    local found, leases, n = call('HGETALL', q.attempts_prefix .. worker), {}, 0
    for i = 1, #found, 2 do
        if string.byte(found[i]) ~= 64 then
            leases[n + 1], leases[n + 2] = found[i], found[i + 1]
            n = n + 2
        end
    end
    return leases
end

-- How many leases a worker has.
function sw.busy_slots(q, worker)
    return math.max(0, call('HLEN', q.attempts_prefix .. worker) - NOT_LEASES)
end

-- What a pull looks for in a task's hash: 1 what every task has, 2 what makes it more than a plain one, or not the first
-- attempt at it.
local STATE, PLACE, TIMEOUT, PIECE, BATCH, LANE, MORE = 1, 2, 3, 4, 5, 6, 7
local PART = { state = STATE, place = PLACE, timeout_ms = TIMEOUT, ['payload.2'] = PIECE, batch = BATCH, lane = LANE, attempt = MORE,
    uses = MORE, affinity_key = MORE, held_by = MORE, rate_granted = MORE }

-- Makes of a plain pending task's hash, as HGETALL answered it, the assignment of its first attempt, in place: what the worker
-- has no use for makes room for what it needs besides.
-- Answers the deadline, the lease's end, the task's batch, its lane, and with a lane its priority; or nil: the task is not a
-- plain one, and its fields say what they said.
function sw.assign_plain(q, id, fields)
    local n, state, place, timeout_ms, batch, at_lane, lane, priority = #fields, nil, nil, nil, nil, nil, nil, nil
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
        q.timeout, q.deadline = timeout_ms, digits(q.now + timeout_ms)
        q.lease_end = timeout_ms + 0 < q.lease_ms and q.deadline or digits(q.now + q.lease_ms)
    end
    local deadline = q.deadline
    if state ~= 1 then
        fields[state], fields[state + 1] = fields[1], fields[2]
        if place == 1 then place = state end
    end
    if place ~= 3 then fields[place], fields[place + 1] = fields[3], fields[4] end
    fields[1], fields[2], fields[3], fields[4] = 'task', id, 'attempt', '1'
    fields[n + 1], fields[n + 2] = 'deadline_at', deadline
    return deadline, q.lease_end, batch, lane, priority
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
        local deadline, lease, batch, found, priority = sw.assign_plain(q, id, fields)
        if deadline then
            sw.start_plain(c, plan.worker, id, lease, deadline, batch, found, priority)
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
    for id in pairs(rawget(c, 'ending_now') or NOBODY) do ids[id] = true end
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
        used = call('HLEN', q.attempts_prefix .. worker) - NOT_LEASES - ended
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
