-- switchyard_heartbeat: renews the registration of a worker and the leases of its running attempts. It needs the same
-- few commands for one task or a hundred.
--
-- Keys        1: the queue's prefix, 2: its config
-- Arguments   worker (id), nonce (of its process); of each task: task (id), attempt, progress (opaque, at most 1024
--             bytes; a longer one is ignored: the other leases must not end for it)
-- Reply       pairs: lease_ms, heartbeat_ms, drain ("1": pull no more tasks), partitions (how many the queue has),
--             stop (a list of id, attempt, reason: the attempts to end at once; reason is cancelled or lost), ignored
--             (a list of texts: what was not accepted, and why)
-- Errors      BADREQUEST, WORKERNOTFOUND (register again: its attempts are lost)
local function heartbeat(keys, args)
    local q, failure = sw.enter(keys)
    if not q then return failure end
    local head, tasks = sw.parse(args)
    if not head then return tasks end
    local worker, bad = sw.worker_of(head)
    bad = bad or (#tasks > 0 and sw.check_attempts(tasks)) or nil
    if bad then return bad end
    local names = { '@state' }
    for i, t in ipairs(tasks) do names[i + 1] = t.task end
    local held = call('HMGET', q.attempts_prefix .. worker, unpack(names))
    local state, refused = sw.registered(worker, held[1], head.nonce)
    if not state then return refused end

    local renewed, progress, stop, ignored = {}, {}, {}, {}
    for i, t in ipairs(tasks) do
        local attempt, deadline, mark = sw.lease_of(held[i + 1] or nil)
        if tonumber(attempt) ~= t.attempt or mark == '!' then
            local found = call('HGET', q.task_prefix .. t.task, 'state')
            stop[#stop + 1] = t.task
            stop[#stop + 1] = tostring(t.attempt)
            stop[#stop + 1] = found == 'cancelled' and 'cancelled' or 'lost'
        else
            if deadline ~= '0' then
                renewed[#renewed + 1] = sw.renewed_lease(q, deadline)
                renewed[#renewed + 1] = t.task
            end
            if t.progress and #t.progress > 1024 then
                ignored[#ignored + 1] = 'progress of task ' .. t.task .. ': at most 1024 bytes, found ' .. #t.progress
            elseif t.progress then
                progress[#progress + 1] = { q.task_prefix .. t.task, 'progress', t.progress }
            end
        end
    end

    if #renewed > 0 then call('ZCARD', q.index_keys.workers) end
    if #renewed > 0 then call('ZADD', q.leases_key, 'XX', unpack(renewed)) end
    call('ZADD', q.index_keys.workers, sw.digits(q.now + q.lease_ms), worker)
    local changes = {}
    for i, set in ipairs(progress) do
        pcall_redis('HSET', unpack(set))
        changes[i] = string.sub(set[1], #q.task_prefix + 1) .. ' running 1'
    end
    if #changes > 0 then call(PUBLISH, q.events_key, table.concat(changes, '\n')) end
    return { 'lease_ms', sw.digits(q.lease_ms), 'heartbeat_ms', sw.digits(q.heartbeat_ms),
        'drain', state.draining == 1 and '1' or '0', 'partitions', sw.digits(q.partitions), 'stop', stop,
        'ignored', ignored }
end

redis.register_function{ function_name = 'switchyard_heartbeat', flags = { 'allow-oom' }, callback = heartbeat }
