-- switchyard_log: appends output of a running attempt to the task's log, a capped stream whose entries have the
-- fields attempt, stream (stdout|stderr) and data.
--
-- Keys        1: the queue's prefix, 2: its config
-- Arguments   worker (id), nonce (of its process), task (id), attempt, then any number of pairs (stdout or stderr,
--             bytes: at most 65536 each)
-- Reply       how many entries were appended
-- Errors      BADREQUEST, WORKERNOTFOUND by the nonce, TASKNOTFOUND, LEASELOST
local function log(keys, args)
    local q, failure = sw.enter(keys)
    if not q then return failure end
    local head, tasks = sw.parse(args)
    if not head then return tasks end
    local worker, bad = sw.worker_of(head)
    bad = bad or sw.check_attempts(tasks) or sw.check_nonce(q, worker, head.nonce)
    if bad then return bad end
    if #tasks > 1 then return sw.bad('task: one in a call, found ' .. #tasks) end
    local t = tasks[1]
    local held = call('HGET', q.prefix .. 'attempts:' .. worker, t.task)
    if not held or string.match(held, '^%d+') ~= tostring(t.attempt) then
        local task = sw.read(q, t.task)
        if not task then return sw.not_found(t.task) end
        return sw.lease_lost(t.task, worker, t.attempt, task)
    end
    local entries = {}
    for i = 1, #args, 2 do
        if args[i] == 'stdout' or args[i] == 'stderr' then
            if #args[i + 1] > 65536 then
                return sw.bad(args[i] .. ': at most 65536 bytes in an entry, found ' .. #args[i + 1])
            end
            entries[#entries + 1] = { args[i], args[i + 1] }
        end
    end
    for _, entry in ipairs(entries) do
        call('XADD', q.prefix .. 'log:' .. t.task, 'MAXLEN', '~', sw.digits(q.log_max_entries), '*',
            'attempt', tostring(t.attempt), 'stream', entry[1], 'data', entry[2])
    end
    return #entries
end

redis.register_function{ function_name = 'switchyard_log', callback = log }
