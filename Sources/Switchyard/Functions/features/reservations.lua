-- Reservations: smaller tasks must not starve a task that needs more room than any worker has left.
--
-- This is EASY backfill (A. Mu'alem, D. Feitelson: Utilization, Predictability, Workloads, and User Runtime Estimates
-- in Scheduling the IBM SP2 with Backfilling, IEEE TPDS 2001). Of the tasks that a pulling worker's class serves and
-- that fit nowhere, the most urgent one gets a reservation once its lane has had the same first task, which did not
-- fit, for `reserve_after_ms`. The reserved worker is the one that will have the room soonest, by the time limits of
-- its attempts. A less urgent task then goes to that worker only if it does not delay the reserved task: it ends
-- before the room is free, or uses what is left beside it. A more urgent lane takes over the worker. A lane whose
-- tasks keep starting gets no reservation.
--
--   reserved   lane → "<worker> <ms since 1970 at which the room is expected>"
--   stuck      lane → "<id of its first task> <ms since 1970 since when it does not fit>"

-- Limit on the workers that are examined for the one that has room soonest.
local WORKERS_LOOKED_AT = 128

-- Returns when a worker has room for `lane`, in ms since 1970 (now, if it has the room already; math.huge: never),
-- and the room that is then left beside it, with the free slots as its entry "slots".
--   room     what is left now; `slots`: free slots
--   held     its leases, in pairs; `over`: those of them that end now
local function room_for(q, lane, room, slots, held, over)
    local wanted, left, ends = sw.parse_name(lane).amounts, {}, {}
    for resource, amount in pairs(room) do left[resource] = amount end
    left.slots = slots
    for i = 1, #held, 2 do
        if not over[held[i]] then
            local _, deadline, _, _, of = sw.lease_of(held[i + 1])
            deadline = tonumber(deadline or 0)
            if deadline == 0 then deadline = q.now + q.default_timeout_ms end
            ends[#ends + 1] = { math.max(deadline, q.now), of }
        end
    end
    table.sort(ends, function(one, other) return one[1] < other[1] end)
    local at, next_end = q.now, 1
    while true do
        local fits = left.slots >= 1
        for resource, amount in pairs(wanted) do fits = fits and amount <= (left[resource] or 0) + 1e-9 end
        if fits then break end
        local ending = ends[next_end]
        if not ending then return math.huge end
        at, next_end = ending[1], next_end + 1
        left.slots = left.slots + 1
        if ending[2] then sw.give_room(left, ending[2]) end
    end
    for resource, amount in pairs(wanted) do left[resource] = left[resource] - amount end
    left.slots = left.slots - 1
    return at, left
end

-- Returns when a worker other than the pulling one has room for `lane`; math.huge if never, or if the worker takes no
-- more tasks.
local function room_elsewhere(q, worker, class, lane)
    local found, held, state = call('HGETALL', q.attempts_prefix .. worker), {}, nil
    for i = 1, #found, 2 do
        if found[i] == '@state' then
            state = sw.worker_state(found[i + 1])
        elseif byte(found[i]) ~= 64 then
            held[#held + 1] = found[i]
            held[#held + 1] = found[i + 1]
        end
    end
    if not state or state.draining > 0 then return math.huge end
    local lanes = {}
    for i = 2, #held, 2 do
        local _, _, _, _, of = sw.lease_of(held[i])
        if of then lanes[#lanes + 1] = of end
    end
    return room_for(q, lane, sw.room(class, lanes), state.slots - #held / 2, held, {})
end

-- Returns the reservation of the pulling worker for `lane`, whose first task has `score`.
local function reservation_for(c, plan, lane, score, room, held)
    -- This includes what the pull has taken so far.
    local all = sw.planned_leases(plan.worker)
    for i = 1, #held do all[#all + 1] = held[i] end
    local at, left = room_for(c.q, lane, room, plan.free - plan.got, all, sw.planned_end_ids(plan.worker))
    return { lane = lane, score = score, at = at, left = left or {}, shape = sw.parse_name(lane).shape }
end

local function set(c, lane, worker, at)
    c.reservations.set = c.reservations.set or {}
    c.reservations.set[lane] = worker .. ' ' .. sw.digits(at)
end

-- Drops the reservation for `lane`. Its worker may sleep because of it, so the worker is woken and pulls (idle.lua).
local function unset(c, plan, lane)
    c.reservations.unset = c.reservations.unset or {}
    table.insert(c.reservations.unset, lane)
    if c.reservations.set then c.reservations.set[lane] = nil end
    local worker = plan.reserved[lane] and plan.reserved[lane].worker
    if worker and worker ~= plan.worker then c.lost_lease[worker] = true end
end

-- Reads the reservations for a pull. Returns that of the pulling worker, or nil.
function sw.reservation_of(c, plan, room, held)
    local q, pairs_, own = c.q, call('HGETALL', c.q.prefix .. 'reserved'), nil
    plan.reserved = {}
    for i = 1, #pairs_, 2 do
        local worker, at = match(pairs_[i + 1], '^(.*) (%d+)$')
        plan.reserved[pairs_[i]] = { worker = worker, at = tonumber(at) }
        if worker == plan.worker then own = pairs_[i] end
    end
    if not own then return nil end
    local first = call('ZSCORE', q.lanes_key, own) and call('ZRANGE', q.prefix .. sw.line_of(own), 0, 0, 'WITHSCORES')
    if first and first[1] and sw.serves(plan.class, own) then
        local reservation = reservation_for(c, plan, own, tonumber(first[2]), room, held)
        -- Tasks end before their time limits, so the room may be free earlier than expected.
        if reservation.at ~= plan.reserved[own].at and reservation.at ~= math.huge then
            set(c, own, plan.worker, reservation.at)
            plan.reserved[own].at = reservation.at
        end
        return reservation
    end
    -- No task waits for it any more.
    unset(c, plan, own)
    plan.reserved[own] = nil
    return nil
end

-- Returns since when the first task of a lane, which does not fit, has been its first task (ms since 1970).
local function stuck_since(c, lane, id)
    local q = c.q
    local before, since = match(call('HGET', q.prefix .. 'stuck', lane) or '', '^(.*) (%d+)$')
    -- The former first task has not started if it is still in line, behind a more urgent one.
    if before and (before == id or call('ZSCORE', q.prefix .. sw.line_of(lane), before)) then return tonumber(since) end
    c.reservations.stuck = c.reservations.stuck or {}
    c.reservations.stuck[lane] = id .. ' ' .. q.now_text
    return q.now
end

-- Returns workers of the classes that serve `lane`, with their classes.
local function workers_for(q, lane)
    local found, list = {}, nil
    if call('HLEN', q.prefix .. 'class') <= 1000 then
        list = call('HGETALL', q.prefix .. 'class')
    else
        list = call('HRANDFIELD', q.prefix .. 'class', 1000, 'WITHVALUES')
    end
    for i = 1, #list, 2 do
        if #found < WORKERS_LOOKED_AT and sw.serves(list[i + 1], lane) then
            found[#found + 1] = { list[i], list[i + 1] }
        end
    end
    return found
end

-- Returns the lane for which `worker` is reserved, or nil.
local function lane_reserved_by(plan, worker)
    for lane, reservation in pairs(plan.reserved) do
        if reservation.worker == worker then return lane end
    end
end

-- Whether `worker` may be reserved for a lane whose first task has `score`: it is not reserved for a more urgent
-- lane.
local function may_take_over(q, plan, worker, lane, score)
    local other = lane_reserved_by(plan, worker)
    if not other or other == lane then return true end
    local first = call('ZRANGE', q.prefix .. sw.line_of(other), 0, 0, 'WITHSCORES')
    return not first[2] or tonumber(first[2]) > score
end

-- Considers a reservation for the first task of `source`, the most urgent that does not fit the pulling worker: if
-- the task has waited long enough, reserves the worker that will have the room soonest. Returns the reservation if
-- that is the pulling worker.
function sw.consider_reservation(c, plan, source, room, held)
    local q, lane, id, score = c.q, source.lane, source.ids[1], source.score
    local current = plan.reserved[lane]
    if current and current.worker == plan.worker then return nil end
    if q.now - stuck_since(c, lane, id) < q.reserve_after_ms then return nil end
    local own = reservation_for(c, plan, lane, score, room, held)
    local best, best_at = nil, math.huge
    if may_take_over(q, plan, plan.worker, lane, score) then best, best_at = plan.worker, own.at end
    if current and current.at >= q.now then
        -- The reservation moves only to a worker that has the room earlier.
        if best_at >= current.at then return nil end
    else
        for _, entry in ipairs(workers_for(q, lane)) do
            local at = entry[1] ~= plan.worker and room_elsewhere(q, entry[1], entry[2], lane) or math.huge
            if at < best_at and may_take_over(q, plan, entry[1], lane, score) then best, best_at = entry[1], at end
        end
    end
    if not best or best_at == math.huge then return nil end
    local other = lane_reserved_by(plan, best)
    if other and other ~= lane then
        unset(c, plan, other)
        plan.reserved[other] = nil
    end
    if current and current.worker ~= best then unset(c, plan, lane) end
    set(c, lane, best, best_at)
    plan.reserved[lane] = { worker = best, at = best_at }
    if best == plan.worker then return own end
end

-- Whether the next task of `source` may go to the worker that has reservation `r`.
function sw.may_pass(c, r, source)
    if r.is_over or source.lane == r.lane or source.score < r.score then
        r.is_beside = false
        return true
    end
    local fits = r.left.slots and r.left.slots >= 1
    for resource, amount in pairs(sw.parse_name(source.lane).amounts) do
        fits = fits and amount <= (r.left[resource] or 0) + 1e-9
    end
    r.is_beside = fits
    if fits then return true end
    local timeout = call('HGET', c.q.task_prefix .. source.ids[source.at], 'timeout_ms') or c.q.default_timeout_ms
    return c.q.now + tonumber(timeout) <= r.at
end

-- Notes that a task of `lane` (nil: none) goes to the pulling worker.
function sw.note_taken(c, plan, r, lane)
    if lane and plan.reserved[lane] then
        unset(c, plan, lane)
        if r and r.lane == lane then r.is_over = true end
        plan.reserved[lane] = nil
    end
    if r and not r.is_over then
        if r.is_beside then
            r.left.slots = r.left.slots - 1
            if lane then sw.take_room(r.left, lane) end
        elseif r.at then
            -- The task was more urgent, or ends in time. What is left beside the reserved task is not known any more.
            r.left = {}
        end
    end
end

-- Called by commit. Writes the reservations.
function sw.commit_reservations(c)
    local noted, prefix = c.reservations, c.q.prefix
    if noted.unset then sw.derived('HDEL', prefix .. 'reserved', unpack(noted.unset)) end
    for lane, text in pairs(noted.set or {}) do sw.derived('HSET', prefix .. 'reserved', lane, text) end
    for lane, text in pairs(noted.stuck or {}) do sw.derived('HSET', prefix .. 'stuck', lane, text) end
end

-- Drops the reservations of a worker that takes no more tasks, so that other workers can be reserved.
function sw.unreserve_worker(q, worker)
    local reserved = call('HGETALL', q.prefix .. 'reserved')
    for i = 1, #reserved, 2 do
        if match(reserved[i + 1], '^(.*) %d+$') == worker then call('HDEL', q.prefix .. 'reserved', reserved[i]) end
    end
end
