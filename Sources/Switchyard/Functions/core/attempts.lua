-- How an attempt ends without success: its record, and its retry or final state.

-- Returns a number in [-percent, +percent] / 100, from the clock, the id and the attempt, because math.random has the
-- same seed in each call. The hash is D. J. Bernstein's (times 33).
local function jitter(q, task, percent)
    local hash = q.now_us % 1000003 + task.attempt * 104729
    for i = 1, #task.id do hash = (hash * 33 + byte(task.id, i)) % 1000003 end
    -- Similar ids have similar hashes. These steps of a linear congruential generator spread them.
    for _ = 1, 3 do hash = (hash * 7919 + 104729) % 1000003 end
    return (hash % 2001 / 1000 - 1) * percent / 100
end

-- Returns the backoff before retry number `n` (1, 2, …), in ms: doubling, bounded, jittered.
local function backoff(q, task, n)
    local delay = math.min(q.retry_delay_max_ms, q.retry_delay_ms * 2 ^ math.min(n - 1, 40))
    return math.floor(math.max(0, delay * (1 + jitter(q, task, q.retry_jitter_percent))))
end

-- Limits on the records of earlier attempts of a task, and on the bytes of each record's message, so that the hash
-- stays small.
local RECORDS, MESSAGE_BYTES = 100, 4096

-- Returns the record of an ended attempt of a task that continues, as the field attempt:<n> of the task's hash. It is
-- JSON because people read it; the functions read only its `outcome` and `worker`.
function sw.record(q, task, outcome, error_code, error_message, exit_code)
    return 'attempt:' .. task.attempt, cjson.encode({
        attempt = task.attempt, worker = task.worker, assigned_at = tonumber(task.assigned_at or task.started_at),
        started_at = tonumber(task.started_at), finished_at = task.finished_at or q.now, outcome = outcome,
        error_code = error_code, error_message = error_message and string.sub(error_message, 1, MESSAGE_BYTES),
        exit_code = sw.number(exit_code),
    })
end

-- Returns the fields to delete when the task returns to its queue: those of the latest attempt, and the record that
-- exceeds RECORDS.
function sw.latest_fields(task)
    local fields = { 'worker', 'assigned_at', 'started_at', 'progress' }
    if task.attempt > RECORDS then fields[5] = 'attempt:' .. task.attempt - RECORDS end
    return fields
end

-- Ends the live attempt of `task` with the outcome failed, timeout or lost. The task returns to the queue if it has
-- retries left; otherwise it ends with state timeout, or with failed for the other two outcomes.
--   report  error_code, error_message, exit_code, result, retryable ("0" forbids a retry), retry_after_ms (replaces the
--           backoff), deliveries (if it changed), at_once (no backoff)
--   told_to_end   the process still runs, and is told to end (endings.lua)
-- Returns the new state.
function sw.end_attempt(c, task, outcome, report, told_to_end)
    local q = c.q
    if report.retryable ~= '0' and task.retry_count < task.max_retries then
        local name, record = sw.record(q, task, outcome, report.error_code, report.error_message, report.exit_code)
        local fields = { name, record, 'retry_count', tostring(task.retry_count + 1) }
        if report.deliveries then
            fields[5] = 'deliveries'
            fields[6] = tostring(report.deliveries)
        end
        local delay = report.at_once and 0 or tonumber(report.retry_after_ms) or backoff(q, task, task.retry_count + 1)
        local opts = { clear = sw.latest_fields(task), told_to_end = told_to_end }
        if delay > 0 then opts.held_by, opts.due_at = 'retry', sw.digits(q.now + delay) end
        sw.move(c, task, 'pending', fields, opts)
        sw.count_stat('retries', 1)
        return 'pending'
    end
    local state = outcome == 'timeout' and 'timeout' or 'failed'
    local fields = { 'finished_at', q.now_text, 'outcome', outcome }
    for _, name in ipairs({ 'error_code', 'error_message', 'exit_code', 'result', 'deliveries' }) do
        if report[name] then
            fields[#fields + 1] = name
            fields[#fields + 1] = tostring(report[name])
        end
    end
    sw.move(c, task, state, fields, { told_to_end = told_to_end })
    return state
end

-- Returns a live attempt to its line, whose end says nothing about the task: it uses up no retry, and is no delivery.
function sw.return_attempt(c, task, outcome, error_code, error_message)
    local name, record = sw.record(c.q, task, outcome, error_code, error_message)
    sw.move(c, task, 'pending', { name, record }, { clear = sw.latest_fields(task) })
end

-- Returns an assignment that was never started to its line. If it expired (`counted`), it counts as a delivery, and
-- the task fails at `max_deliveries`; an assignment that its worker returns is not counted.
function sw.return_assignment(c, task, counted)
    local q = c.q
    local deliveries = task.deliveries + (counted and 1 or 0)
    if counted and deliveries >= q.max_deliveries then
        sw.move(c, task, 'failed', {
            'finished_at', q.now_text, 'outcome', 'lost', 'deliveries', tostring(deliveries),
            'error_code', 'WorkerNotFound', 'error_message',
            'delivered ' .. deliveries .. ' times, and no worker started it; the last was ' .. task.worker })
        return
    end
    local name, record = sw.record(q, task, counted and 'lost' or 'returned',
        counted and 'WorkerNotFound' or nil, counted and 'assigned, but never started' or nil)
    sw.move(c, task, 'pending',
        { name, record, 'deliveries', tostring(deliveries) }, { clear = sw.latest_fields(task) })
end

-- The host of a worker that hands tasks back, and not the task, needs time: the backoff is at least this long.
local LEAST_HAND_BACK_MS = 1000

-- Returns a live attempt to the queue because the worker's host cannot run it (no descriptors, no disk). It uses up no
-- retry, but it counts as a delivery, and the task fails at `max_deliveries`. The backoff leaves the task to other
-- workers. Returns the new state.
function sw.hand_back(c, task, reason)
    local q = c.q
    local deliveries = task.deliveries + 1
    if deliveries >= q.max_deliveries then
        sw.move(c, task, 'failed', {
            'finished_at', q.now_text, 'outcome', 'failed', 'deliveries', tostring(deliveries),
            'error_code', 'CannotStart', 'error_message', string.sub('delivered ' .. deliveries
                .. ' times, and no worker could run it; the last was ' .. task.worker .. ': ' .. reason, 1,
                MESSAGE_BYTES) })
        return 'failed'
    end
    local name, record = sw.record(q, task, 'returned', 'CannotStart', reason)
    local delay = math.max(LEAST_HAND_BACK_MS, backoff(q, task, deliveries))
    sw.move(c, task, 'pending', { name, record, 'deliveries', tostring(deliveries) },
        { clear = sw.latest_fields(task), held_by = 'retry', due_at = sw.digits(q.now + delay) })
    return 'pending'
end

-- Ends a live attempt whose worker vanished or whose lease expired. An assignment that was not started returns to its
-- line. A running attempt uses up a retry, the first time without a backoff, because one lost worker says nothing
-- about the task. Both count as deliveries: after `max_deliveries` of them the task fails even with retries left,
-- because the task itself may kill its workers. A worker that drains is expected to end, so its end counts for nothing.
function sw.lose_attempt(c, task, why)
    sw.count_stat('lost', 1)
    if sw.drains(c.q, task.worker) then
        return sw.return_attempt(c, task, 'lost', 'WorkerNotFound',
            'worker ' .. task.worker .. ' ' .. why .. ' while it drained')
    end
    if task.state == 'assigned' then return sw.return_assignment(c, task, true) end
    local deliveries = task.deliveries + 1
    local message = 'worker ' .. task.worker .. ' ' .. why .. ' while it ran attempt ' .. task.attempt
    local last = deliveries >= c.q.max_deliveries
    if last then message = message .. '; ' .. deliveries .. ' workers were lost with this task' end
    sw.end_attempt(c, task, 'lost', {
        error_code = 'WorkerNotFound', error_message = message, deliveries = deliveries,
        retryable = last and '0' or nil,
        at_once = deliveries == 1,
    })
end

-- Cancels a task that has not ended. The worker of a live attempt is told to stop it.
function sw.cancel_task(c, task, reason)
    local live, worker, attempt = sw.LIVE[task.state], task.worker, task.attempt
    sw.move(c, task, 'cancelled', { 'finished_at', c.q.now_text, 'outcome', 'cancelled',
        'error_code', 'Cancelled', 'error_message', reason }, { told_to_end = true })
    if live then sw.tell(c, worker, 'cancel ' .. task.id .. ' ' .. attempt) end
end

-- Ends a lease whose task's hash is gone: it occupies a slot, and possibly counts against a concurrency limit, for
-- nothing.
function sw.drop_lease(c, worker, id, entry)
    local _, _, _, _, lane = sw.lease_of(entry)
    c.dropped[#c.dropped + 1] = { worker, id }
    if lane then sw.note_running(c, lane, id, false) end
    sw.strike('leases', id)
    c.lost_lease[worker] = true
end

-- Called by commit. Deletes the dropped leases.
function sw.commit_dropped(c)
    for _, entry in ipairs(c.dropped) do call('HDEL', c.q.attempts_prefix .. entry[1], entry[2]) end
end
