-- The room that the logs of a queue take. A task's hash has the bytes of its log (`log_bytes`), the index `logs` has
-- the tasks with a log by their latest output, and the counter `log_bytes` of `stats` has the sum.
--
-- Beyond the queue's budget, the logs of ended tasks are deleted, those that ended first before the others. The task's
-- hash then has the bytes of output that its log had seen (`log_removed`), and says so to readers.

-- What an entry takes in Redis besides its output, about.
local ENTRY_BYTES = 32

-- The budget if neither the queue nor Redis has a limit: 1 GiB. With `maxmemory`, it is one of SHARES shares of that.
local DEFAULT_BUDGET, SHARES = 1073741824, 4

-- How long what Redis said about its memory is believed.
local BELIEVED_MS = 60000

-- Limits on the logs that one call looks at, and on those that it deletes.
local LOOKED_AT, MOST_REMOVED = 100, 20

-- A log with more entries is not recounted.
local ENTRIES_COUNTED = 5000

-- Returns the bytes that an entry with this output counts.
function sw.size_of_entry(data) return #data + ENTRY_BYTES end

-- Returns the queue's budget for logs, in bytes. A caller who may not ask Redis about its memory gets what is known.
function sw.log_budget(q)
    if q.log_budget_bytes > 0 then return q.log_budget_bytes end
    if not q.budget_asked_at or math.abs(q.now - q.budget_asked_at) > BELIEVED_MS then
        local info = pcall_redis('INFO', 'memory')
        local most = type(info) == 'string' and tonumber(match(info, '\nmaxmemory:(%d+)'))
        if most then
            q.budget_asked_at = q.now
            q.found_budget = most > 0 and math.floor(most / SHARES) or DEFAULT_BUDGET
        end
    end
    return q.found_budget or DEFAULT_BUDGET
end

-- Adds to the bytes of the queue's logs. Returns the sum.
local function add_to_sum(q, by)
    sw.add_to_stat(q, 'log_bytes', by)
    return sw.whole(call('HGET', q.stats_key, 'log_bytes'), 0)
end

-- Notes that the log of task `id` grew by `by` bytes (or shrank), and keeps to the budget.
function sw.note_log(q, id, by)
    call('HINCRBY', q.task_prefix .. id, 'log_bytes', by)
    sw.derived('ZADD', q.prefix .. 'logs', q.now_text, id)
    sw.keep_log_budget(q, add_to_sum(q, by))
end

-- Returns how many bytes of output the log of a task has seen: where its next entry begins.
function sw.end_of_log(q, id)
    local last = call('XREVRANGE', q.prefix .. 'log:' .. id, '+', '-', 'COUNT', '1')[1]
    if not last then return sw.whole(call('HGET', q.task_prefix .. id, 'log_removed'), 0), nil end
    local ms, offset = match(last[1], '^(%d+)-(%d+)$')
    -- Entries of an earlier library have no data in few cases, and offsets that are too small.
    local size = 1
    for i = 1, #last[2], 2 do
        if last[2][i] == 'data' then size = math.max(1, #last[2][i + 1]) end
    end
    return tonumber(offset) + size, last[1], tonumber(ms)
end

-- Deletes the log of an ended task, of `bytes` bytes.
local function remove(q, id, bytes)
    local key = q.task_prefix .. id
    call('HSET', key, 'log_removed', sw.digits(sw.end_of_log(q, id)))
    call('HDEL', key, 'log_bytes', 'log_head')
    call('UNLINK', q.prefix .. 'log:' .. id)
    sw.derived('ZREM', q.prefix .. 'logs', id)
    sw.add_to_stat(q, 'log_bytes', -bytes)
    sw.add_to_stat(q, 'logs_removed', 1)
end

-- Deletes logs of ended tasks while `sum`, the bytes of all logs, is beyond the budget. Returns whether the next call
-- may find more.
function sw.keep_log_budget(q, sum)
    local over = sum - sw.log_budget(q)
    if over <= 0 then return false end
    local index = q.prefix .. 'logs'
    local ids, ended, live, removed = sw.derived('ZRANGE', index, 0, LOOKED_AT - 1), {}, {}, 0
    for _, id in ipairs(ids) do
        local v = pcall_redis('HMGET', q.task_prefix .. id, 'state', 'finished_at', 'log_bytes')
        if not v.err and sw.TERMINAL[v[1]] then
            ended[#ended + 1] = { id, sw.whole(v[2], 0), sw.whole(v[3], 0) }
        elseif not v.err and v[1] then
            live[#live + 1], live[#live + 2] = q.now_text, id
        end
    end
    table.sort(ended, function(a, b) return a[2] < b[2] or a[2] == b[2] and a[1] < b[1] end)
    for _, log in ipairs(ended) do
        if over <= 0 or removed == MOST_REMOVED then break end
        remove(q, log[1], log[3])
        over, removed = over - log[3], removed + 1
    end
    if over <= 0 or #ids < LOOKED_AT then return over > 0 and removed == MOST_REMOVED end
    -- Tasks that have not ended make room for those behind them.
    if live[1] then sw.derived('ZADD', index, 'XX', unpack(live)) end
    return removed > 0
end

-- Called by tick. Returns whether the next call may find more to delete.
function sw.trim_logs(q)
    local sum = pcall_redis('HGET', q.stats_key, 'log_bytes')
    return type(sum) == 'string' and sw.keep_log_budget(q, tonumber(sum) or 0)
end

-- Notes that the logs of these deleted tasks, of `bytes` bytes, are gone.
function sw.forget_logs(q, ids, bytes)
    sw.derived('ZREM', q.prefix .. 'logs', unpack(ids))
    sw.add_to_stat(q, 'log_bytes', -bytes)
end

-- Called by the reconciler. Recounts the log of task `id`, and deletes it if there is no such task. Returns how many
-- entries it read, the number of repairs, and whether the task is in `logs` afterwards.
function sw.check_log(q, id)
    local key, task_key = q.prefix .. 'log:' .. id, q.task_prefix .. id
    local v = pcall_redis('HMGET', task_key, 'state', 'log_bytes')
    if v.err or not sw.is_task(v[1]) then
        local lost = call('UNLINK', key) + sw.derived('ZREM', q.prefix .. 'logs', id)
        return 1, math.min(lost, 1), false
    end
    local count = call('XLEN', key)
    if count == 0 then
        call('HDEL', task_key, 'log_bytes')
        sw.add_to_stat(q, 'log_bytes', -sw.whole(v[2], 0))
        return 1, sw.derived('ZREM', q.prefix .. 'logs', id), false
    end
    local is_new = sw.derived('ZADD', q.prefix .. 'logs', 'NX', q.now_text, id)
    if count > ENTRIES_COUNTED and v[2] then return 1, is_new, true end
    local bytes = 0
    for _, entry in ipairs(call('XRANGE', key, '-', '+', 'COUNT', ENTRIES_COUNTED)) do
        for i = 1, #entry[2], 2 do
            if entry[2][i] == 'data' then bytes = bytes + sw.size_of_entry(entry[2][i + 1]) end
        end
    end
    local wrong = bytes - sw.whole(v[2], 0)
    if wrong == 0 then return count, is_new, true end
    call('HSET', task_key, 'log_bytes', sw.digits(bytes))
    sw.add_to_stat(q, 'log_bytes', wrong)
    -- The log of an earlier library, which counted no bytes, is not damaged.
    return count, v[2] and 1 or 0, true
end
