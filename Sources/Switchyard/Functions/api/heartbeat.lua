-- switchyard_heartbeat: a worker lives, and renews the leases of all that it runs. Costs the same few commands
-- for one task or a hundred.
--
-- Keys        1: the queue's prefix
-- Arguments   worker (id); of each task: task (id), attempt, progress (opaque, at most 1024 bytes)
-- Reply       pairs: lease_ms, heartbeat_ms, drain ("1": take no more work), partitions (how many the queue has), stop (a list of id, attempt, reason:
--             the attempts to end at once; reason is cancelled or lost)
-- Errors      BADREQUEST, WORKERNOTFOUND (register again: what it held is lost)
local function heartbeat(keys, args)
    local q, failure = sw.open(keys)
    if not q then return failure end
    local head, tasks = sw.parse(args)
    if not head then return tasks end
    local worker, bad = sw.worker_of(head)
    bad = bad or (#tasks > 0 and sw.check_attempts(tasks)) or nil
    if bad then return bad end
    local names = { '@state' }
    for i, t in ipairs(tasks) do names[i + 1] = t.task end
    local held = call('HMGET', q.attempts_prefix .. worker, unpack(names))
    if not held[1] then return sw.worker_not_found(worker) end
    local draining = sw.worker_state(held[1]).draining

    local leases, progress, stop = {}, {}, {}
    if #tasks > 0 then
        for i, t in ipairs(tasks) do
            local attempt, deadline = sw.lease_of(held[i + 1])
            if tonumber(attempt) ~= t.attempt then
                local state = call('HGET', q.prefix .. 'task:' .. t.task, 'state')
                stop[#stop + 1] = t.task
                stop[#stop + 1] = tostring(t.attempt)
                stop[#stop + 1] = state == 'cancelled' and 'cancelled' or 'lost'
            else
                if deadline ~= '0' then
                    leases[#leases + 1] = sw.digits(math.min(q.now + q.lease_ms, tonumber(deadline)))
                    leases[#leases + 1] = t.task
                end
                if t.progress then
                    if #t.progress > 1024 then
                        return sw.bad('progress of task ' .. t.task .. ': at most 1024 bytes, found ' .. #t.progress)
                    end
                    progress[#progress + 1] = { q.prefix .. 'task:' .. t.task, 'progress', t.progress }
                end
            end
        end
    end

    call('ZADD', q.prefix .. 'workers', sw.digits(q.now + q.lease_ms), worker)
    if #leases > 0 then call('ZADD', q.prefix .. 'leases', 'XX', unpack(leases)) end
    for _, set in ipairs(progress) do call('HSET', unpack(set)) end
    return { 'lease_ms', sw.digits(q.lease_ms), 'heartbeat_ms', sw.digits(q.heartbeat_ms),
        'drain', tostring(draining), 'partitions', sw.digits(q.partitions), 'stop', stop }
end

redis.register_function{ function_name = 'switchyard_heartbeat', flags = { 'allow-oom' }, callback = heartbeat }
