-- switchyard_log: appends output of an attempt to the task's log, a stream whose entries have the fields attempt,
-- stream (stdout|stderr) and data. The second part of an entry's id is its offset: how many bytes of output precede it.
-- The first HEAD_BYTES and the last TAIL_BYTES of a log are kept. Entries between them are deleted, and also if there
-- are more than `log_max_entries`; the offsets show how much is missing. Beyond the queue's `log_budget`, logs of ended
-- tasks are deleted (features/logs.lua).
--
-- The attempt is running, or it is the task's latest one and ended on this worker at most a lease and `grace_ms` ago.
--
-- Keys        1: the queue's prefix, 2: its config
-- Arguments   worker (id), nonce (of its process), grace_ms (how long an attempt may take to end, 0 to 3600000; default
--             10000), missing_bytes (output that was lost before the first of these entries; default 0), task (id),
--             attempt, then any number of pairs (stdout or stderr, bytes: 1 to 65536 each; an empty one is dropped)
-- Reply       how many entries were appended
-- Errors      BADREQUEST, WORKERNOTFOUND by the nonce, TASKNOTFOUND, LEASELOST

-- 4 MiB in all. The head has a sixteenth of the bytes, and at most a sixteenth of the entries.
local HEAD_BYTES, TAIL_BYTES, HEAD_SHARE = 262144, 3932160, 16

-- Limit on the entries that one call deletes. An entry has at most 64 KiB, and a call may append many, so this is a
-- bound for the case that small entries precede large ones; the next call continues.
local MAX_DELETED = 1000

-- Whether the task's latest attempt is this one, and ended on `worker` a short time ago.
local function ended_lately(q, task, worker, attempt, grace_ms)
    if task.attempt ~= attempt or sw.LIVE[task.state] then return false end
    local v = call('HMGET', q.task_prefix .. task.id, 'finished_at', 'attempt:' .. attempt)
    local by, at = task.worker, sw.whole(v[1])
    if not sw.TERMINAL[task.state] then
        local is_json, record = pcall(cjson.decode, v[2] or '')
        if not is_json or type(record) ~= 'table' then return false end
        by, at = record.worker, tonumber(record.finished_at)
    end
    return by == worker and at ~= nil and q.now - at <= q.lease_ms + grace_ms
end

-- Deletes entries between the head, which ends with the entry `head`, and the tail. `count` entries have been written,
-- and `total` bytes of output. Returns how many bytes the deleted entries counted.
local function cut(q, key, head, count, total)
    local cut_bytes = 0
    for _ = 1, MAX_DELETED do
        local oldest = call('XRANGE', key, '(' .. head, '+', 'COUNT', '1')[1]
        if not oldest then break end
        local data = ''
        for i = 1, #oldest[2], 2 do
            if oldest[2][i] == 'data' then data = oldest[2][i + 1] end
        end
        local oldest_end = tonumber(match(oldest[1], '%-(%d+)$')) + math.max(1, #data)
        if count <= q.log_max_entries and total - oldest_end < TAIL_BYTES then break end
        call('XDEL', key, oldest[1])
        count, cut_bytes = count - 1, cut_bytes + sw.size_of_entry(data)
    end
    return cut_bytes
end

local function append(q, id, attempt, entries, missing)
    local key, task_key = q.prefix .. 'log:' .. id, q.task_prefix .. id
    local total, last_id, last_ms = sw.end_of_log(q, id)
    -- Redis's clock may have been set back.
    local ms, grown = math.max(q.now, last_ms or 0), 0
    last_id, total = last_id or '0-0', total + missing
    local count, head = call('XLEN', key), call('HGET', task_key, 'log_head')
    for _, entry in ipairs(entries) do
        if not head and (total + #entry[2] > HEAD_BYTES or count >= math.floor(q.log_max_entries / HEAD_SHARE)) then
            head = last_id
            call('HSET', task_key, 'log_head', head)
        end
        last_id = sw.digits(ms) .. '-' .. sw.digits(total)
        call('XADD', key, last_id, 'attempt', tostring(attempt), 'stream', entry[1], 'data', entry[2])
        total, count, grown = total + #entry[2], count + 1, grown + sw.size_of_entry(entry[2])
    end
    if head then grown = grown - cut(q, key, head, count, total) end
    sw.note_log(q, id, grown)
end

local function log(keys, args)
    local q, failure = sw.enter(keys)
    if not q then return failure end
    local head, tasks = sw.parse(args)
    if not head then return tasks end
    local worker, bad = sw.worker_of(head)
    bad = bad or sw.check_attempts(tasks) or sw.check_nonce(q, worker, head.nonce)
    if bad then return bad end
    if #tasks > 1 then return sw.bad('task: one in a call, found ' .. #tasks) end
    local grace, missing = head.grace_ms or '10000', head.missing_bytes or '0'
    local problem = sw.check_integer('grace_ms', grace, 0, 3600000)
        or sw.check_integer('missing_bytes', missing, 0, 1e12)
    if problem then return sw.bad(problem) end
    local t = tasks[1]
    local held = call('HGET', q.prefix .. 'attempts:' .. worker, t.task)
    if not held or string.match(held, '^%d+') ~= tostring(t.attempt) then
        local task = sw.read(q, t.task)
        if not task then return sw.not_found(t.task) end
        if not ended_lately(q, task, worker, t.attempt, tonumber(grace)) then
            return sw.lease_lost(t.task, worker, t.attempt, task)
        end
    end
    local entries = {}
    for i = 1, #args, 2 do
        if args[i] == 'stdout' or args[i] == 'stderr' then
            if #args[i + 1] > 65536 then
                return sw.bad(args[i] .. ': at most 65536 bytes in an entry, found ' .. #args[i + 1])
            end
            if #args[i + 1] > 0 then entries[#entries + 1] = { args[i], args[i + 1] } end
        end
    end
    if #entries > 0 then append(q, t.task, t.attempt, entries, tonumber(missing)) end
    return #entries
end

redis.register_function{ function_name = 'switchyard_log', callback = log }
