-- Fast path of switchyard_finish: one task completes, and its worker takes the next one in the same call. A busy
-- worker without batches makes this call for each task. It runs the same commands as the general path, without its
-- lists.
--
-- Preconditions. The queue: no lane is open; it has no tenants, aging or affinity; it is not paused. The call: one
-- task, which completed, and a request for one more to start. The lease: the task's end concerns nothing else, or
-- only dependents, and it has none. The worker: it is awake, neither drains nor is cordoned, and has started and knows
-- of all its attempts. The first task in line: it is in its first attempt, and has no options that the lease would
-- contain. Otherwise returns nil (nothing written), and the fields of attempts:<worker> if it has read them.

if not (sw.MAY.running.completed and sw.MAY.pending.running) then
    error('switchyard: finish_one.lua disagrees with the table of transitions')
end

-- The arguments that it accepts. Any other argument requires the general path.
local KNOWN = { worker = 1, pull = 2, start = 3, holding = 4, nonce = 5, task = 6, attempt = 7, outcome = 8, result = 9,
    exit_code = 10, together = 11 }

-- The fields of the next task's hash that matter. STATE and TAG: pairs that task and attempt replace in the
-- assignment. OTHER: requires the general path.
local STATE, TAG, TIMEOUT, OTHER = 1, 2, 3, 4
local PART = { state = STATE, tag = TAG, timeout_ms = TIMEOUT, place = OTHER, lane = OTHER, batch = OTHER, uses = OTHER,
    attempt = OTHER, held_by = OTHER, retry_count = OTHER, affinity_key = OTHER, concurrency_key = OTHER,
    rate_key = OTHER,
    ['payload.2'] = OTHER }

local values = {}

function sw.finish_one(q, args)
    for i = 1, 11 do values[i] = false end
    local size = #args
    for i = 1, size, 2 do
        local at = KNOWN[args[i]]
        if not at or values[at] then return nil end
        values[at] = args[i + 1]
    end
    local worker, nonce, id, attempt, result, code, holding =
        values[1], values[5], values[6], values[7], values[9], values[10], values[4]
    if values[8] ~= 'completed' or values[2] ~= '1' or values[3] ~= '1' or not id or not worker or values[11] == '1'
        or result and #result > sw.MAX_VALUE_BYTES or code and not sw.COUNTS[code] then
        return nil
    end
    local attempts_key = q.attempts_prefix .. worker
    local held = call('HMGET', attempts_key, '@state', id)
    local text, entry = held[1], held[2]
    if not text or not entry then return nil, held end
    local live, ends, mark, batch, lane = sw.lease_of(entry)
    if live ~= attempt or ends == '0' or batch or lane
        or mark ~= '' and (mark ~= '+' or sw.has_dependents(q, id)) then
        return nil, held
    end
    local w = sw.worker_state(text)
    local used = call('HLEN', attempts_key) - 3
    if w.draining > 0 or w.unstarted > 0 or w.asleep == 1 or used >= w.slots or nonce and w.nonce and nonce ~= w.nonce
        or holding and used > (sw.COUNTS[holding] or 0) then
        return nil, held
    end
    if q.has_lanes and (call('EXISTS', q.lanes_key) == 1 or not sw.serves(w.class or '', '')) then return nil, held end
    local next_id = call('ZRANGE', q.pending_key, 0, 0)[1]
    if not next_id then return nil, held end
    local next_key = q.task_prefix .. next_id
    local fields = call('HGETALL', next_key)
    local n, state, tag, timeout_ms = #fields, nil, nil, nil
    for i = 1, n, 2 do
        local part = PART[fields[i]]
        if part then
            if part == STATE then state = i
            elseif part == TAG then tag = i
            elseif part == TIMEOUT then timeout_ms = fields[i + 1]
            else return nil, held
            end
        end
    end
    if not state or not tag or fields[state + 1] ~= 'pending' then return nil, held end
    if timeout_ms and timeout_ms ~= q.timeout and not sw.is_short_number(timeout_ms) then return nil, held end
    local deadline, lease_end = sw.lease_ends(q, timeout_ms or q.default_timeout_ms)
    if state ~= 1 then
        fields[state], fields[state + 1] = fields[1], fields[2]
        if tag == 1 then tag = state end
    end
    if tag ~= 3 then fields[tag], fields[tag + 1] = fields[3], fields[4] end
    fields[1], fields[2], fields[3], fields[4] = 'task', next_id, 'attempt', '1'
    if not timeout_ms then
        fields[n + 1], fields[n + 2] = 'timeout_ms', q.default_timeout_text
        n = n + 2
    end
    fields[n + 1], fields[n + 2] = 'deadline_at', deadline

    -- Checks the type of `leases`, which was not read. The first write checks that of `finished`.
    call('ZCARD', q.leases_key)
    local now, key = q.now_text, q.task_prefix .. id
    call('ZADD', q.finished_key, now, id)
    sw.add_to_stat(q, 'completed', 1)
    call('ZREM', q.pending_key, next_id)
    call('ZREM', q.leases_key, id)
    call('ZADD', q.leases_key, lease_end, next_id)
    call('HDEL', attempts_key, id)
    call('HSET', attempts_key, next_id, '1:' .. deadline, '@last', sw.now_us_text(q))
    local is_there = sw.write_done(key, now, result, code)
    pcall_redis('HSET', next_key, 'state', 'running', 'attempt', '1', 'worker', worker, 'started_at', now)
    if not is_there then sw.remove_vanished(q, id) end
    call(PUBLISH, q.results_key, id .. ' completed ' .. attempt)
    call(PUBLISH, q.events_key, next_id .. ' running 1')
    return { { is_there and 'completed' or sw.not_found(id) }, { fields } }
end
