-- Workers: who sleeps and may be woken, what is kept of each, and what becomes of its tasks when it goes.

-- Sleepers looked at for one call's wake-ups; a tick looks again.
local SLEEPERS = 64

local NOBODY = {}

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
