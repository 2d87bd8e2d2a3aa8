-- Workers: the stored state of each, and what happens to its tasks when it leaves or is lost.

function sw.worker_not_found(worker)
    return redis.error_reply('WORKERNOTFOUND worker ' .. worker
        .. ' is not registered, or missed its heartbeats; call switchyard_register')
end

-- The state of a worker is stored in attempts:<worker> under field names that no task id can have, so that a call of
-- a busy worker reads and writes it along with its leases. The fields are `@state`, and `@last`, the time of the
-- worker's last assignment (µs).
--
-- `@state` is a line such as "slots=4 draining=0 unstarted=0 asleep=1 nonce=x room=+cpu=2 class=gpu,+cpu=8". `room`
-- is the room of the pool in which the worker last fell asleep; `nonce` and `room` are absent if there is none.
-- `draining` is 1 if the process takes no more tasks, and CORDONED if the worker is cordoned. Few lines differ, so
-- parsed lines are cached.
local states, state_count = {}, 0

-- The value of `draining` of a worker that is cordoned and does not drain.
sw.CORDONED = 2

-- The number of fields in attempts:<worker> that are not leases: @state and @last.
local NOT_LEASES = 2

function sw.worker_state(text)
    local state = states[text]
    if state then return state end
    local slots, draining, unstarted, asleep, rest =
        match(text, '^slots=(%d+) draining=(%d+) unstarted=(%d+) asleep=(%d+)(.*)$')
    rest = rest or ''
    state = { is_readable = slots ~= nil, slots = tonumber(slots or 1), draining = tonumber(draining or 0),
        unstarted = tonumber(unstarted or 0),
        asleep = tonumber(asleep or 0), nonce = match(rest, ' nonce=([^ ]*)'),
        room = match(rest, ' room=([^ ]*)') or '',
        class = match(rest, ' class=(.*)$') }
    if state_count == 1000 then states, state_count = {}, 0 end
    states[text] = state
    state_count = state_count + 1
    return state
end

function sw.state_text(slots, draining, unstarted, asleep, nonce, room, class)
    return 'slots=' .. slots .. ' draining=' .. draining .. ' unstarted=' .. unstarted .. ' asleep=' .. asleep
        .. (nonce and ' nonce=' .. nonce or '') .. (room ~= '' and ' room=' .. room or '') .. ' class=' .. class
end

-- Returns the class in the worker's state. A worker that registered with an early version has it in the hash `class`
-- only.
function sw.class_in(q, worker, state)
    return state.class or call('HGET', q.prefix .. 'class', worker) or ''
end

-- Writes the worker's state. `changes` has the new values of slots, draining, unstarted, asleep, nonce, room or
-- class.
function sw.set_state(q, worker, state, changes)
    local function new(name) if changes[name] ~= nil then return changes[name] end return state[name] end
    call('HSET', q.attempts_prefix .. worker, '@state', sw.state_text(new('slots'), new('draining'), new('unstarted'),
        new('asleep'), new('nonce') or nil, new('room'), changes.class or sw.class_in(q, worker, state)))
end

-- Returns the state of a registered worker, or nil and an error reply. Also refuses a call from a former process with
-- the same id, which a later registration has replaced.
function sw.registered(worker, text, nonce)
    if not text then return nil, sw.worker_not_found(worker) end
    local state = sw.worker_state(text)
    -- Something else has written into it. The worker registers again, which writes it anew.
    if not state.is_readable then return nil, sw.worker_not_found(worker) end
    if nonce and state.nonce and nonce ~= state.nonce then
        return nil, redis.error_reply('WORKERNOTFOUND worker ' .. worker
            .. ' is another process now, which registered with its id: stop the work')
    end
    return state
end

-- Returns an error reply if `nonce` is that of a former process of `worker`, or nil. Without a nonce it reads
-- nothing.
function sw.check_nonce(q, worker, nonce)
    if not nonce then return nil end
    local text = call('HGET', q.attempts_prefix .. worker, '@state')
    if not text then return nil end
    local _, refused = sw.registered(worker, text, nonce)
    return refused
end

-- Returns how many leases a worker has.
function sw.busy_slots(q, worker)
    return math.max(0, call('HLEN', q.attempts_prefix .. worker) - NOT_LEASES)
end

-- Ends at most `limit` of `worker`'s attempts: those that are live, and those whose process is ending.
--   how    left (the worker deregistered: assignments that it has not started return to their line and are not
--          counted), lost (it missed its heartbeats), or replaced (another process has registered with its id)
--   seen   the ids of tasks that the call has moved already; ids of ended attempts are added
-- Returns how many attempts it ended, and whether those were all.
function sw.plan_end_of_worker(c, worker, limit, how, seen)
    local held = sw.leases_of(c.q, worker)
    local ended = 0
    local why = how == 'left' and 'left'
        or how == 'replaced' and 'was replaced by another process' or 'missed its heartbeats'
    for i = 1, #held, 2 do
        if ended == limit then return ended, false end
        local id = held[i]
        local _, _, mark = sw.lease_of(held[i + 1])
        local task = mark ~= '!' and not seen[id] and sw.read(c.q, id)
        if mark == '!' then
            sw.drop_ending(c, id, worker)
            ended = ended + 1
        elseif task and sw.LIVE[task.state] and task.worker == worker then
            seen[id] = true
            if how == 'left' and task.state == 'assigned' then
                sw.return_assignment(c, task, false)
            else
                sw.lose_attempt(c, task, why)
            end
            ended = ended + 1
        elseif not seen[id] and not task then
            sw.drop_lease(c, worker, id, held[i + 1])
        end
    end
    return ended, true
end

-- Takes a sleeping worker out of its pool.
local function wake_up(q, worker, state)
    if state.asleep == 1 then
        sw.leave_pool(q, sw.pool_of(sw.class_in(q, worker, state), state.room), worker)
    end
end
sw.leave_sleep = wake_up

-- Marks the worker as draining: this process gets no more tasks, and attempts that it loses are not counted. The caller
-- tells the worker.
function sw.drain_worker(q, worker)
    call('HSET', q.prefix .. 'worker:' .. worker, 'draining', '1')
    local text = call('HGET', q.attempts_prefix .. worker, '@state')
    if text then
        local state = sw.worker_state(text)
        wake_up(q, worker, state)
        sw.set_state(q, worker, state, { draining = 1, asleep = 0 })
    end
    if q.has_lanes then sw.unreserve_worker(q, worker) end
end

-- Whether the end of the worker is expected, because it drains. A worker that leaves without having drained is marked
-- as draining too, so that it gets no tasks.
function sw.drains(q, worker)
    local v = call('HMGET', q.prefix .. 'worker:' .. worker, 'draining', 'leaves')
    return v[1] == '1' and v[2] ~= '1'
end

-- Cordons a registered worker: it gets no tasks until it is uncordoned, also after it has registered again. The hash
-- `cordoned` keeps this, and the worker's hash and state repeat it.
function sw.cordon_worker(q, worker)
    call('HSETNX', q.prefix .. 'cordoned', worker, q.now_text)
    call('HSETNX', q.prefix .. 'worker:' .. worker, 'cordoned_at', q.now_text)
    local text = call('HGET', q.attempts_prefix .. worker, '@state')
    local state = text and sw.worker_state(text)
    if state and state.draining == 0 then
        wake_up(q, worker, state)
        sw.set_state(q, worker, state, { draining = sw.CORDONED, asleep = 0 })
    end
    if q.has_lanes then sw.unreserve_worker(q, worker) end
end

-- Ends the cordon of a worker. If it is registered, a wake-up makes it pull.
function sw.uncordon_worker(q, worker)
    call('HDEL', q.prefix .. 'cordoned', worker)
    call('HDEL', q.prefix .. 'worker:' .. worker, 'cordoned_at')
    local text = call('HGET', q.attempts_prefix .. worker, '@state')
    local state = text and sw.worker_state(text)
    if state and state.draining == sw.CORDONED then
        sw.set_state(q, worker, state, { draining = 0 })
        local key = q.prefix .. 'wake:' .. worker
        if call('EXISTS', key) == 0 then call('LPUSH', key, '1') end
    end
end

-- A worker has deregistered and has more leases than this call has ended. The next ticks end the rest.
function sw.let_leave(q, worker)
    local has_drained = sw.drains(q, worker)
    sw.drain_worker(q, worker)
    call('HSET', q.prefix .. 'worker:' .. worker, 'leaves', has_drained and 'drained' or '1')
    call('ZADD', q.prefix .. 'workers', '0', worker)
end

function sw.forget_worker(q, worker, slots)
    local text = call('HGET', q.attempts_prefix .. worker, '@state')
    if text then wake_up(q, worker, sw.worker_state(text)) end
    local had_classless = q.has_lanes and sw.has_classless_workers(q)
    call('DEL', q.prefix .. 'worker:' .. worker, q.prefix .. 'wake:' .. worker, q.attempts_prefix .. worker)
    call('ZREM', q.prefix .. 'workers', worker)
    sw.add_to_stat(q, 'slots', -slots)
    if q.has_lanes then
        sw.leave_class(q, worker)
        sw.settle_classes(q, had_classless)
    end
end
