-- switchyard_tick: processes everything that is due. Any number of replicas may call it, as often as they like.
--
-- Transition  assigned → pending | failed (never started); running → timeout, or as failed, or → pending for a retry
--             (lease expired, worker lost); pending held_by schedule, retry or ending → pending (due)
-- Keys        1: the queue's prefix, 2: its config
-- Arguments   limit (1 to 1000, default 25: the maximum number of tasks, of all kinds together), cleanup ("1": also
--             delete ended tasks whose retention is over), interval (ms, 1 to 3600000: the caller ticks at least this
--             often; if nobody ticked for much longer, no lease ends until live workers had time for a heartbeat)
-- Reply       pairs: expired, lost_workers, due (held tasks, and lanes with a due rate limit), purged, woken, more
--             ("1": a limit was reached, call again at once), schedules (ids of recurring schedules that are due:
--             call switchyard_fire; none while the queue is paused), resumed_at (ms since 1970: with schedules, when
--             the latest pause ended; 0: never), next_due (ms since 1970: when the next lease, worker, ending, held
--             task, rate limit, stage or schedule is due; 0: none), now, instance, ticks (how many the queue has had:
--             if a caller finds no more than before, Redis has an older state), partitions (how many the queue has),
--             database (which one its channels are named for), cleanup_interval_ms, forgiving_until (ms since 1970: no
--             lease ends before; 0: leases end as usual), set_back_ms (by how much the clock was set back; 0: it was
--             not)
-- Errors      BADREQUEST

-- Limit on the due schedules that one tick returns. Other calls fire them.
local SCHEDULES = 100

-- Returns the members of index `name` that are due, and when the first of the others is due (nil: none).
local function due_of(q, name, limit)
    local found = call('ZRANGE', q.prefix .. name, 0, limit, 'WITHSCORES')
    sw.know(name)
    local due = {}
    for i = 1, #found, 2 do
        local at = tonumber(found[i + 1])
        if at > q.now or #due == limit then return due, at end
        due[#due + 1] = found[i]
    end
    return due, nil
end

-- Ends an attempt: as timeout if its time limit has passed, or else as lost, because its lease was not renewed.
local function expire(c, task)
    local q = c.q
    local _, deadline = sw.lease_of(call('HGET', q.attempts_prefix .. task.worker, task.id) or nil)
    if task.state == 'running' and deadline and tonumber(deadline) <= q.now then
        sw.tell(c, task.worker, 'timeout ' .. task.id .. ' ' .. task.attempt)
        -- Of a worker whose registration ends too, nobody will report the end of the process.
        local is_lost = (tonumber(call('ZSCORE', q.index_keys.workers, task.worker) or nil) or 0) <= q.now
        sw.end_attempt(c, task, 'timeout', {
            error_code = 'Timeout',
            error_message = 'attempt ' .. task.attempt .. ' on worker ' .. task.worker
                .. ' exceeded its time limit of ' .. task.timeout_ms / 1000 .. ' s' }, not is_lost)
    else
        sw.lose_attempt(c, task, 'did not renew its lease')
    end
end

-- Ends what is due, up to `left` tasks; no lease and no registration before `forgiving` (nil: as usual). Returns what
-- is left of the limit, the numbers for the reply, and the workers that are gone.
local function end_due(c, left, sooner, forgiving)
    local q, seen = c.q, {}
    local expired, next_lease = {}, forgiving
    if not forgiving then expired, next_lease = due_of(q, 'leases', left) end
    sooner(next_lease)
    left = left - #expired
    for _, id in ipairs(expired) do
        local task = sw.read(q, id)
        if task and sw.LIVE[task.state] then
            seen[id] = true
            expire(c, task)
        else
            sw.strike('leases', id)
        end
    end

    local workers, next_worker = {}, forgiving
    if not forgiving then workers, next_worker = due_of(q, 'workers', left) end
    sooner(next_worker)
    local gone, lost = {}, 0
    for _, worker in ipairs(workers) do
        if left <= 0 then break end
        local v = call('HMGET', q.prefix .. 'worker:' .. worker, 'slots', 'leaves')
        local ended, is_over = sw.plan_end_of_worker(c, worker, left, v[2] and 'left' or 'lost', seen)
        left = left - ended
        if not is_over then break end
        left = left - 1
        sw.plan_gone(c, worker)
        gone[#gone + 1] = { worker, sw.whole(v[1], 0) }
        if v[2] ~= '1' then lost = lost + 1 end
    end

    local over, next_ending = sw.end_due_endings(c, left)
    sooner(next_ending)
    left = left - over

    local held, next_held = due_of(q, 'held', math.max(left, 0))
    sooner(next_held)
    left = left - #held
    for _, id in ipairs(held) do
        local task = not seen[id] and sw.read(q, id)
        local is_planned = sw.planned_state(c, id)
        if task and task.held_by == 'ending' and not is_planned then
            sw.release_ending(c, task)
        elseif task and task.held_by and not is_planned then
            sw.move(c, task, 'pending', {})
        elseif not seen[id] and not is_planned then
            sw.strike('held', id)
        end
    end
    return left, #expired, lost, #held, gone
end

-- Continues work that takes several steps: batches, stages that were not opened, classes that appeared or
-- disappeared, lanes to open. Returns what is left of the limit, whether there is more to do, and when a stage is
-- due.
local function step(q, left)
    local has_more, stepped = false, nil
    if q.has_holds then
        stepped = left > 0 and sw.step_batches(q, left)
        left = left - (stepped or 0)
        has_more = stepped or call('EXISTS', q.prefix .. 'cascade') == 1
    end
    local dropped, next_stage = sw.drop_due_stage(q, math.max(1, left))
    if dropped > 0 then has_more = true end
    if q.has_lanes and sw.step_served(q) then has_more = true end
    if q.has_lanes and sw.reopen_more(q) then has_more = true end
    return left - dropped, has_more, next_stage
end

local function tick(keys, args)
    local q, failure = sw.enter(keys)
    if not q then return failure end
    local head, tasks = sw.parse(args)
    if not head then return tasks end
    local problem = head.limit and sw.check_integer('limit', head.limit, 1, 1000)
        or head.interval and sw.check_integer('interval', head.interval, 1, 3600000)
    if problem then return sw.bad(problem) end
    -- Urgent work comes first. The rest gets what is left of the limit.
    local left = tonumber(head.limit or sw.TASKS_PER_STEP)
    local next_due
    local function sooner(at)
        if at and (not next_due or at < next_due) then next_due = at end
    end
    sw.ensure_instance(q)
    local clock = sw.look_at_clock(q, tonumber(head.interval))
    local c = sw.changes(q)
    local expired, lost, due, gone
    left, expired, lost, due, gone = end_due(c, left, sooner, clock.forgiving)
    if q.has_holds and left > 0 then left = left - sw.plan_cascade(c, left) end
    left = left - sw.follow_up(c, left)
    local lines = sw.planned_lines()
    local woken = lines and sw.plan_wake(c, lines) or 0
    woken = woken + sw.plan_wake_for_work(c)
    sw.commit(c)
    sw.set_clock(q, clock)
    for _, w in ipairs(gone) do sw.forget_worker(q, w[1], w[2]) end

    if q.has_lanes then
        local opened, next_lane = sw.open_due_lanes(q, math.max(1, left))
        left, due = left - opened, due + opened
        sooner(next_lane)
    end
    local purged, has_more, next_stage = 0, false, nil
    if head.cleanup == '1' and left > 0 then
        local examined
        purged, examined = sw.delete_overdue(q, left)
        left = left - examined
    end
    left, has_more, next_stage = step(q, left)
    has_more = sw.trim_logs(q) or has_more
    sooner(next_stage)
    if head.cleanup == '1' then sw.drop_unused_flags(q) end

    local scheduled, next_schedule = {}, nil
    local resumed_at
    if q.has_schedules and not q.paused then scheduled, next_schedule = due_of(q, 'schedules', SCHEDULES) end
    sooner(next_schedule)
    if scheduled[1] then resumed_at = call('HGET', q.config_key, 'resumed_at') end
    return { 'expired', expired, 'lost_workers', lost, 'due', due, 'purged', purged, 'woken', woken,
        'more', (left <= 0 or has_more or clock.has_more) and '1' or '0', 'next_due', sw.digits(next_due or 0),
        'now', q.now_text, 'cleanup_interval_ms', sw.digits(q.cleanup_interval_ms),
        'instance', q.instance, 'ticks', clock.ticks, 'partitions', sw.digits(q.partitions),
        'database', sw.digits(q.database), 'schedules', scheduled, 'resumed_at', resumed_at or '0',
        'forgiving_until', sw.digits(clock.forgiving or 0), 'set_back_ms', sw.digits(clock.back or 0) }
end

redis.register_function{ function_name = 'switchyard_tick', flags = { 'allow-oom' }, callback = tick }
