-- The pull of a worker: from the line to the lease, and the assignment in the reply.

-- The fields of a task's hash that a pull reads. LONG: the value may be long. MORE: the reply of HGETALL cannot be
-- reused as the assignment.
local STATE, TAG, PRIORITY, LONG, TIMEOUT, BATCH, LANE, USES, ATTEMPT, AFFINITY, LIMITED, MORE, TENANT,
    WEIGHT = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14
local PART = { state = STATE, tag = TAG, place = TAG, priority = PRIORITY, payload = LONG,
    args = LONG, command = LONG, env = LONG,
    timeout_ms = TIMEOUT, batch = BATCH, lane = LANE, uses = USES, attempt = ATTEMPT, affinity_key = AFFINITY,
    concurrency_key = LIMITED, rate_key = LIMITED, ['payload.2'] = MORE, held_by = MORE, retry_count = MORE,
    fairness_key = TENANT, fairness_weight = WEIGHT }

-- Turns a pending task's hash, as HGETALL returned it, into the assignment of its first attempt, in place. The pairs
-- `state` and `tag`, which workers do not need, are replaced by task and attempt; the pair `lane` is removed. Returns
-- the new length.
local function reuse_as_assignment(id, fields, n, state, tag, lane)
    if lane then
        fields[lane], fields[lane + 1] = fields[n - 1], fields[n]
        fields[n - 1], fields[n] = nil, nil
        if state == n - 1 then state = lane elseif tag == n - 1 then tag = lane end
        n = n - 2
    end
    if state ~= 1 then
        fields[state], fields[state + 1] = fields[1], fields[2]
        if tag == 1 then tag = state end
    end
    if tag ~= 3 then fields[tag], fields[tag + 1] = fields[3], fields[4] end
    fields[1], fields[2], fields[3], fields[4] = 'task', id, 'attempt', '1'
    return n
end

-- Moves a task with limits, which a library before version 5 has put in line, to the lane that its limits now select.
local function move_to_its_lane(c, id)
    local task = sw.read(c.q, id)
    if task.new_lane then sw.move(c, task, 'pending', {}) end
end

-- Plans to hand a pending task of the line of `in_lane` (nil: without a lane) to the worker of `plan`. Returns
-- whether it did.
function sw.plan_assignment(c, plan, id, in_lane)
    local q = c.q
    local fields = call('HGETALL', q.task_prefix .. id)
    local n, bytes, has_more, is_limited = #fields, 0, not plan.starts, false
    local state, tag, timeout_ms, batch, at_lane, lane, priority, uses, attempt, affinity, tenant, weight
    local first = 1
    -- A small hash returns its fields in the order in which they were written.
    if fields[1] == 'state' and fields[3] == 'tag' and fields[5] == 'priority' then
        state, tag, priority, first = 1, 3, fields[6], 7
    end
    for i = first, n, 2 do
        local part = PART[fields[i]]
        if part then
            if part == STATE then state = i
            elseif part == TAG then tag = i
            elseif part == PRIORITY then priority = fields[i + 1]
            elseif part == LONG then bytes = bytes + #fields[i + 1]
            elseif part == TIMEOUT then
                timeout_ms = fields[i + 1]
                if timeout_ms ~= q.timeout and not sw.is_short_number(timeout_ms) then
                    timeout_ms = q.default_timeout_text
                    fields[i + 1] = timeout_ms
                end
            elseif part == BATCH then batch = fields[i + 1]
            elseif part == LANE then at_lane, lane = i, fields[i + 1]
            elseif part == USES then uses = fields[i + 1]
            elseif part == ATTEMPT then attempt, has_more = fields[i + 1], true
            elseif part == AFFINITY then affinity = fields[i + 1]
            elseif part == LIMITED then is_limited = true
            elseif part == TENANT then tenant = fields[i + 1]
            elseif part == WEIGHT then weight = fields[i + 1]
            else has_more = true
            end
        end
    end
    if not state or fields[state + 1] ~= 'pending' or not tag or lane ~= in_lane then
        -- The reconciler repairs a damaged state.
        if state and not sw.is_state(fields[state + 1]) and fields[state + 1] ~= 'purged' then return false end
        -- The entry has no such task. It is removed and counted as a repair, and the pull continues.
        sw.strike_from_line(c, id, in_lane)
        return false
    end
    if not sw.LEVEL[priority] then priority = 'normal' end
    if is_limited and not sw.has_gates(lane) then
        move_to_its_lane(c, id)
        return false
    end
    plan.bytes = plan.bytes + bytes
    if plan.bytes > plan.most_bytes and plan.n > 0 then
        plan.is_full = true
        return false
    end
    if q.is_fair then
        local value = fields[tag + 1]
        local number = fields[tag] == 'place' and sw.tag_in_score(q, value, priority) or sw.tag_in(value)
        sw.note_start(c, priority, number or sw.time_tag(q, 0), tenant or '', weight)
    end
    local number = attempt and string.format('%.0f', sw.attempt_in(q, attempt) + 1) or '1'
    local worker, to, deadline, lease_end, changes = plan.worker, 'running', nil, nil, nil
    if plan.starts then
        if q.timeout == (timeout_ms or q.default_timeout_ms) then
            deadline, lease_end = q.deadline, q.lease_end
        else
            deadline, lease_end = sw.lease_ends(q, timeout_ms or q.default_timeout_ms)
        end
        if attempt then
            changes = { 'attempt', number, 'worker', worker, 'started_at', q.now_text }
        else
            changes = plan.first_start
        end
    else
        to, lease_end = 'assigned', plan.lease
        plan.unstarted = plan.unstarted + 1
        changes = { 'attempt', number, 'worker', worker, 'assigned_at', q.now_text }
    end
    local entry
    if uses or batch or lane then
        entry = sw.lease_entry(number, deadline or '0', uses, batch, lane)
    else
        entry = number .. ':' .. (deadline or '0')
    end
    sw.hand_out(c, worker, id, to, lease_end, entry, changes, number, batch, lane, priority)
    if affinity then c.warm[affinity] = worker end
    local assignment
    if has_more then
        assignment = sw.assignment(q, id, number, deadline, fields)
    else
        assignment = fields
        n = reuse_as_assignment(id, fields, n, state, tag, at_lane)
        if not timeout_ms then
            fields[n + 1], fields[n + 2] = 'timeout_ms', q.default_timeout_text
            n = n + 2
        end
        fields[n + 1], fields[n + 2] = 'deadline_at', deadline
    end
    if uses then sw.add_dependency_results(q, plan, assignment) end
    plan.n = plan.n + 1
    plan.assignments[plan.n] = assignment
    plan.got = plan.got + 1
    return true
end

-- Sends again the assignments of an earlier pull that the worker has not started, or (`sends_started`) does not know
-- of, as many as a reply carries.
local function send_again(c, plan, held, sends_started)
    local q, unstarted, over, size = c.q, 0, sw.planned_end_ids(plan.worker), #held
    -- The start varies with the clock, so that what one reply cannot carry comes with another.
    local start = math.floor(q.now_us / 1000) % math.max(1, size / 2) * 2
    for k = 1, size, 2 do
        local i = (start + k - 1) % size + 1
        local attempt, deadline, mark = sw.lease_of(held[i + 1])
        local started = deadline ~= '0'
        if not started then unstarted = unstarted + 1 end
        -- A damaged entry has no attempt, or one that no worker reads. The reconciler deletes it.
        local is_readable = attempt and sw.is_short_number(attempt)
        if is_readable and (not started or sends_started and mark ~= '!') and not over[held[i]]
            and not plan.is_full then
            local fields = call('HGETALL', q.task_prefix .. held[i])
            local bytes = sw.bytes_of(fields)
            if #fields == 0 then
                sw.drop_lease(c, plan.worker, held[i], held[i + 1])
            elseif plan.n == 100 or plan.n > 0 and plan.bytes + bytes > plan.most_bytes then
                -- The next pull sends the others.
                plan.is_full = true
            else
                plan.bytes = plan.bytes + bytes
                local assignment = sw.assignment(q, held[i], attempt, started and deadline or nil, fields)
                sw.add_dependency_results(q, plan, assignment)
                plan.n = plan.n + 1
                plan.assignments[plan.n] = assignment
            end
        end
    end
    plan.unstarted = unstarted
end

local NOTHING = {}

-- The plan of the call that pulls. A call pulls at most once.
--   state       the worker's state (workers.lua); class; free: its free slots; starts: whether the tasks are started
--   assignments, n, got (how many of them are new), unstarted, bytes, most_bytes, is_full: what the reply carries
--   idle        the worker has free slots left, and falls asleep
--   room        if a worker of a class with capacity falls asleep: its room, as text
--   groups      the groups with work for the class, if the pull has looked at the first of them only
--   reserved, raised, stale_lanes, stale_groups, gated: notes of the chooser (chooser.lua, reservations.lua)
local the_plan = { worker = false, state = false, class = false, assignments = false, unstarted = 0, got = 0,
    n = 0, bytes = 0, most_bytes = 0,
    starts = false, idle = false, is_full = false, lease = false, free = 0, first_start = false, reserved = false,
    raised = false, stale_lanes = false, stale_groups = false, groups = false, gated = false, room = '' }

-- Returns the line that has the `want` most urgent tasks for the worker's class, and its lane (nil: `pending`).
-- Returns nil if this takes more than a quick look: more than one task is wanted and there are several lines, the
-- lane has limits, or there is a reservation.
local function first_line(q, plan, has_amounts, want)
    if not q.has_lanes then return 'pending', nil end
    local class = plan.class
    local groups = sw.groups_for(q, class)
    local group = groups.members[1]
    plan.groups = groups
    local next_bound = groups.members[4]
    if (next_bound or groups.has_more) and want > 1 or groups.has_more and not next_bound then return nil end
    if group and has_amounts and call('EXISTS', q.prefix .. 'reserved') == 1 then return nil end
    local lanes = group and call('ZRANGE', sw.work_key(q, group), 0, 1, 'WITHSCORES') or NOTHING
    local lane, serves_pending = lanes[1], sw.serves(class, '')
    if not lane then return serves_pending and not next_bound and 'pending' or nil end
    if lanes[3] and want > 1 or sw.has_gates(lane) or sw.group_of(lane) ~= group
        or serves_pending and call('EXISTS', q.pending_key) == 1 then
        return nil
    end
    local line = sw.line_of(lane)
    if next_bound or lanes[3] then
        -- Other lanes may have a more urgent task.
        local score = tonumber(call('ZRANGE', q.prefix .. line, 0, 0, 'WITHSCORES')[2])
        if not score or score > tonumber(next_bound or lanes[4]) or score > tonumber(lanes[4] or next_bound) then
            return nil
        end
    end
    return line, lane
end

-- Common case: hands out the first tasks of the line with the most urgent ones. Returns whether the pull is complete.
--   seen   receives the ids that were tried
local function take_first(c, plan, line, lane, held, want, seen)
    local q = c.q
    local ids = call('ZRANGE', q.index_keys[line] or q.prefix .. line, 0, want)
    sw.know(line)
    local size = #ids
    local most = size > want and want or size
    local room = lane and held and sw.has_amounts(lane) and sw.room_left(plan.class, held, plan.worker)
    for i = 1, most do
        if room then
            if not sw.has_room(room, lane) then return false end
            sw.take_room(room, lane)
        end
        seen[ids[i]] = true
        sw.plan_assignment(c, plan, ids[i], lane)
        if plan.is_full then return true end
    end
    -- Some entries may not have been tasks. The chooser continues with the entries after them.
    if plan.got < most then return false end
    plan.idle = plan.got < want
    if plan.idle and held and q.has_lanes and sw.has_amounts(plan.class) then
        plan.room = sw.room_name(plan.class, held, plan.worker, plan)
    end
    return true
end

-- Plans what `switchyard_pull`, and `switchyard_finish` with "pull", hand out: collects it in `c` for commit.
--   state     the worker's state
--   head      max: how many tasks at most (0: none, and another worker is woken if there is work); max_bytes; start:
--             "1" to start the tasks at once; holding: how many attempts the worker knows of, so that those of a lost
--             reply are sent again
-- Returns the plan, which sw.commit_pull completes.
function sw.plan_pull(c, worker, state, head)
    local q, w = c.q, state
    local ended = sw.planned_ends(worker)
    local class, held, used = '', nil, nil
    local has_amounts = false
    if q.has_lanes then
        class = sw.class_in(q, worker, w)
        has_amounts = sw.has_amounts(class)
    end
    if has_amounts then
        held = sw.leases_of(q, worker)
        used = #held / 2 - ended
    else
        used = sw.busy_slots(q, worker) - ended
    end
    local free = w.slots - used
    local most = head.max or 1
    local want = free
    if want > most then want = most elseif want < 0 then want = 0 end
    local starts = head.start == '1'
    local plan = the_plan
    plan.worker, plan.state, plan.class, plan.assignments, plan.unstarted = worker, w, class, {}, w.unstarted
    plan.got, plan.n, plan.bytes, plan.starts, plan.idle, plan.is_full, plan.free = 0, 0, 0, starts, false, false, free
    plan.stale_groups, plan.groups, plan.room = false, false, ''
    plan.most_bytes = head.max_bytes or sw.REPLY_BYTES
    c.pull = plan

    local unknown = head.holding and used > head.holding
    if plan.unstarted > 0 or unknown then
        held = held or sw.leases_of(q, worker)
        send_again(c, plan, held, unknown)
        if plan.is_full then return plan end
    end

    if want == 0 or q.paused or w.draining > 0 then
        plan.idle = want > 0 and w.draining == 0
        if (most == 0 or w.draining == sw.CORDONED) and not q.paused then
            -- The worker was woken, but tasks of another partition have taken its slots, or it was cordoned since.
            -- Another worker is woken in its place.
            sw.plan_gone(c, worker)
            sw.plan_wake_for_work(c, 1)
        end
        if plan.idle and has_amounts then plan.room = sw.room_name(class, held, worker) end
        return plan
    end
    if starts then
        plan.first_start = { 'attempt', '1', 'worker', worker, 'started_at', q.now_text }
    else
        plan.lease = sw.digits(q.now + q.assign_timeout_ms)
    end
    local seen = {}
    if not q.has_affinity and head.together ~= '1' then
        local line, lane = first_line(q, plan, has_amounts, want)
        if line and take_first(c, plan, line, lane, held, want, seen) then return plan end
    end
    return sw.plan_choices(c, plan, held, want, head.together == '1', seen)
end

-- The general case of a pull: a chooser selects the tasks from several lines, or not in the order of one line.
--   seen   the ids that the pull has tried
function sw.plan_choices(c, plan, held, want, together, seen)
    local q = c.q
    plan.raised, plan.stale_lanes, plan.stale_groups, plan.gated = {}, {}, {}, {}
    plan.reserved = NOTHING
    local chooser = sw.chooser(c, plan, held, want, together)
    while plan.got < want and not plan.is_full do
        local id, lane = chooser.next()
        if not id then break end
        if not seen[id] then
            seen[id] = true
            if sw.plan_assignment(c, plan, id, lane) then chooser.took(lane) end
        end
    end
    if chooser.finish then chooser.finish() end
    for lane in pairs(plan.gated) do
        sw.note_gate(c, lane)
    end
    plan.idle = plan.got < want and not plan.is_full
    if plan.idle and q.has_lanes and sw.has_amounts(plan.class) then
        plan.room = sw.room_name(plan.class, held, plan.worker, plan)
    end
    return plan
end

-- Returns the room of a worker that falls asleep, as its pool's name contains it; '' if its leases take no capacity.
--   plan   its pull, if it may get tasks with it
function sw.room_name(class, held, worker, plan)
    local lanes, over = {}, sw.planned_end_ids(worker)
    for i = 1, #held, 2 do
        local _, _, _, _, lane = sw.lease_of(held[i + 1])
        if lane and not over[held[i]] then lanes[#lanes + 1] = lane end
    end
    if plan then
        for _, lane in ipairs(sw.planned_lanes(worker)) do lanes[#lanes + 1] = lane end
    end
    local uses_some = false
    for _, lane in ipairs(lanes) do uses_some = uses_some or sw.has_amounts(lane) end
    return uses_some and sw.room_text(sw.room(class, lanes)) or ''
end

-- Called by commit. Writes the worker's side of a pull: the time of its last assignment, and whether it sleeps now.
function sw.commit_pull(c, plan)
    local q, w, worker = c.q, plan.state, plan.worker
    local key = q.attempts_prefix .. worker
    if plan.stale_groups then sw.commit_corrections(q, plan) end
    local pool = w.asleep == 1 and sw.pool_of(plan.class, w.room)
    local new_pool = plan.idle and sw.pool_of(plan.class, plan.room)
    if pool and pool ~= new_pool then sw.leave_pool(q, pool, worker) end
    if plan.idle then
        -- This pull has consumed the wake-ups sent before it.
        call('DEL', q.prefix .. 'wake:' .. worker)
        sw.sleep_in(q, new_pool, worker, plan.got > 0 and sw.now_us_text(q) or call('HGET', key, '@last') or '0')
    elseif plan.is_full and call('EXISTS', q.prefix .. 'wake:' .. worker) == 0 then
        -- There are more tasks than a reply carries. The wake-up makes the worker pull again at once.
        call('LPUSH', q.prefix .. 'wake:' .. worker, '1')
    end
    local asleep = plan.idle and 1 or 0
    if w.asleep ~= asleep or w.unstarted ~= plan.unstarted or w.room ~= plan.room and plan.idle then
        sw.set_state(q, worker, w, { unstarted = plan.unstarted, asleep = asleep, room = plan.idle and plan.room or '',
            class = sw.class_in(q, worker, w) })
    end
    plan.assignments = false
end

-- Checks the arguments of a pull, and converts them to numbers. Returns an error reply, or nil.
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
    if head.max_bytes then
        problem = sw.check_integer('max_bytes', head.max_bytes, 1, sw.REPLY_BYTES)
        if problem then return sw.bad(problem) end
        head.max_bytes = tonumber(head.max_bytes)
    end
end
