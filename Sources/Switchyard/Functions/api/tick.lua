-- switchyard_tick: makes time pass. Any number of replicas may call it, as often as they like.
--
-- Transition  assigned → pending | failed (never started); running → timeout, or as failed, or → pending for a retry
--             (lease expired, worker lost); pending held_by schedule or retry → pending (due)
-- Keys        1: the queue's prefix
-- Arguments   limit (1 to 1000, default 25: how many tasks at most, of all kinds together), cleanup ("1": also delete ended
--             tasks whose retention is over)
-- Reply       pairs: expired, lost_workers, due, purged, woken, more ("1": a limit was reached, call again at once),
--             schedules (ids of recurring schedules that are due: call switchyard_fire), next_due (ms since 1970: when the next lease, worker,
--             delay or schedule is due; 0: nothing), now, instance, partitions (how many the queue has)
-- Errors      BADREQUEST

-- Schedules that one tick answers: they are fired by calls of their own.
local SCHEDULES = 100

-- The members of index `name` that are due, and when the first of the others is due (nil: none).
local function due_of(q, name, limit)
    local found = call('ZRANGE', q.prefix .. name, 0, limit, 'WITHSCORES')
    local due = {}
    for i = 1, #found, 2 do
        local at = tonumber(found[i + 1])
        if at > q.now or #due == limit then return due, at end
        due[#due + 1] = found[i]
    end
    return due, nil
end

-- The time limit ends an attempt as timeout; a lease that was not renewed ends it as lost.
local function expire(c, task)
    local q = c.q
    local _, deadline = sw.lease_of(call('HGET', q.attempts_prefix .. task.worker, task.id))
    if task.state == 'running' and deadline and tonumber(deadline) <= q.now then
        sw.tell(c, task.worker, 'timeout ' .. task.id .. ' ' .. task.attempt)
        sw.end_attempt(c, task, 'timeout', {
            error_code = 'Timeout',
            error_message = 'attempt ' .. task.attempt .. ' on worker ' .. task.worker
                .. ' exceeded its time limit of ' .. task.timeout_ms / 1000 .. ' s' })
    else
        sw.lose_attempt(c, task, 'did not renew its lease')
    end
end

local function tick(keys, args)
    local q, failure = sw.open(keys)
    if not q then return failure end
    local head, tasks = sw.parse(args)
    if not head then return tasks end
    local problem = head.limit and sw.check_integer('limit', head.limit, 1, 1000)
    if problem then return sw.bad(problem) end
    -- What is urgent comes first, and what is left of the limit goes to the others.
    local left = tonumber(head.limit or sw.TASKS_PER_STEP)
    local c = sw.changes(q)
    local seen, next_due = {}, nil
    local function sooner(at)
        if at and (not next_due or at < next_due) then next_due = at end
    end

    local leases, next_lease = due_of(q, 'leases', left)
    sooner(next_lease)
    left = left - #leases
    for _, id in ipairs(leases) do
        local task = sw.read(q, id)
        if task and sw.LIVE[task.state] then
            seen[id] = true
            expire(c, task)
        else
            sw.strike(c, 'leases', id)
        end
    end

    local workers, next_worker = due_of(q, 'workers', left)
    sooner(next_worker)
    local gone, lost_workers = {}, 0
    for _, worker in ipairs(workers) do
        if left <= 0 then break end
        local v = call('HMGET', q.prefix .. 'worker:' .. worker, 'slots', 'leaves')
        local ended, is_over = sw.plan_farewell(c, worker, left, v[2] == '1', seen)
        left = left - ended
        if not is_over then break end
        left = left - 1
        sw.plan_gone(c, worker)
        gone[#gone + 1] = { worker, tonumber(v[1] or 0) }
        if v[2] ~= '1' then lost_workers = lost_workers + 1 end
    end

    local held, next_held = due_of(q, 'held', math.max(left, 0))
    sooner(next_held)
    left = left - #held
    for _, id in ipairs(held) do
        local task = not seen[id] and sw.read(q, id)
        if task and task.held_by and not c.moved[id] then
            sw.move(c, task, 'pending', task.place, {})
        elseif not seen[id] then
            sw.strike(c, 'held', id)
        end
    end

    if q.has_holds and left > 0 then left = left - sw.plan_cascade(c, left) end
    left = left - sw.follow_up(c, left)
    local woken = q.paused and 0 or sw.plan_wake_for_line(c)
    local overdue = {}
    if head.cleanup == '1' and left > 0 then
        overdue = call('ZRANGEBYSCORE', q.prefix .. 'finished', '-inf', sw.digits(q.now - q.retention_ms),
            'LIMIT', 0, left)
        left = left - #overdue
    end

    local scheduled, next_schedule = {}, nil
    if q.has_schedules then scheduled, next_schedule = due_of(q, 'schedules', SCHEDULES) end
    sooner(next_schedule)

    sw.ensure_instance(q)
    sw.commit(c)
    for _, w in ipairs(gone) do sw.forget_worker(q, w[1], w[2]) end
    local purged = #overdue > 0 and sw.delete_ended(q, overdue) or 0

    local has_rest = false
    if q.has_holds then
        local stepped = left > 0 and sw.step_batches(q, left)
        left = left - (stepped or 0)
        if head.cleanup == '1' and left > 0 then left = left - sw.drop_staged(q, left) end
        has_rest = stepped or call('EXISTS', q.prefix .. 'cascade') == 1
    end
    if head.cleanup == '1' and q.is_fair then sw.forget_tenants(q, sw.TASKS_PER_STEP) end
    local more = left <= 0 or has_rest
    return { 'expired', #leases, 'lost_workers', lost_workers, 'due', #held, 'purged', purged, 'woken', woken,
        'more', more and '1' or '0', 'next_due', sw.digits(next_due or 0), 'now', q.now_text,
        'cleanup_interval_ms', sw.digits(q.cleanup_interval_ms),
        'instance', q.instance, 'partitions', sw.digits(q.partitions), 'schedules', scheduled }
end

redis.register_function{ function_name = 'switchyard_tick', flags = { 'allow-oom' }, callback = tick }
