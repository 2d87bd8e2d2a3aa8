-- The reconciler: a slow pass, in bounded pieces, that compares indexes, leases, limits, hashes and counters with
-- each other and repairs what disagrees. They disagree only if something else wrote to the queue's keys, or Redis
-- lost some.

-- The sections of a pass, in order. The cursor of a pass consists of a section, a rank and a lane.
local SECTIONS = { 'pending', 'held', 'waiting', 'leases', 'finished', 'finished:failed', 'finished:timeout',
    'finished:cancelled', 'logs', 'ending', 'lanes', 'work', 'workers', 'keys', 'counts' }

-- Limit on the lanes that a recount of counters reads. A queue with more keeps the counters as they are.
local LANES_COUNTED = 1000

-- Limit on the tasks and leases whose hashes a recount of a counter reads.
local TASKS_COUNTED = 2000

-- Compares a live task with the leases of its worker and the set of its concurrency key, and restores missing
-- entries. Returns the number of repairs.
local function check_live(q, id)
    local task, repaired = sw.read(q, id), 0
    local key = q.attempts_prefix .. task.worker
    local text = call('HGET', key, '@state')
    if text and call('HEXISTS', key, id) == 0 then
        local started_at = sw.whole(task.started_at, q.now)
        local deadline = task.state == 'running' and sw.digits(started_at + task.timeout_ms) or '0'
        call('HSET', key, id, sw.lease_entry(task.attempt, deadline, task.uses, task.batch, task.lane))
        local state = sw.worker_state(text)
        if deadline == '0' then sw.set_state(q, task.worker, state, { unstarted = state.unstarted + 1 }) end
        repaired = 1
    end
    local concurrency = task.lane and sw.parse_name(task.lane).concurrency
    if concurrency then
        repaired = repaired + sw.derived('SADD', q.prefix .. 'running:' .. concurrency.key, id)
    end
    if repaired > 0 then sw.add_to_stat(q, 'repaired', repaired) end
    return repaired
end

-- Removes the entries of `index` that do not belong there, and puts tasks back into the index where they belong.
-- Returns the number of repairs.
local function check_entries(q, index, ids)
    local repaired = 0
    for _, id in ipairs(ids) do
        local reply = pcall_redis('HMGET', q.task_prefix .. id, 'state', 'held_by', 'lane')
        local state = not reply.err and sw.is_task(reply[1]) and reply[1]
        if state and not sw.is_state(state) then
            state = sw.mend_state(q, id)
            repaired = repaired + (state and 1 or 0)
        end
        local home = state and sw.index_of(state, reply[2], reply[3])
        local side = state and sw.end_index(state)
        if index ~= home and index ~= side then
            call('ZREM', q.prefix .. index, id)
            sw.add_to_stat(q, 'repaired', 1)
            repaired = repaired + 1
            if not state then sw.note_gone(q, id) end
            if home and not call('ZSCORE', q.prefix .. home, id) then
                sw.put_back(q, id)
                sw.add_to_stat(q, 'repaired', -1)
            end
        elseif index == 'leases' then
            repaired = repaired + check_live(q, id)
        elseif index == side then
            sw.check_failure(q, id)
        end
    end
    return repaired
end

-- Checks a piece of the tasks that wait for dependencies, from `rank` on. A task may have a thousand dependencies, so
-- a piece ends when it has seen that many. Returns the next rank (nil: the end), and the number of repairs.
local function check_waiting(q, rank, limit)
    local ids, looked, repaired, done = call('ZRANGE', q.prefix .. 'waiting', rank, rank + limit - 1), 0, 0, 0
    for _, id in ipairs(ids) do
        if looked >= sw.MAX_DEPENDENCIES then break end
        local count, by = sw.check_awaited(q, id)
        looked, repaired, done = looked + count, repaired + by, done + 1
    end
    local entries = { unpack(ids, 1, done) }
    repaired = repaired + check_entries(q, 'waiting', entries)
    local left = 0
    for _, id in ipairs(entries) do
        if call('ZSCORE', q.prefix .. 'waiting', id) then left = left + 1 end
    end
    return (done < #ids or #ids == limit) and rank + left or nil, repaired
end

-- Limit on the entries of logs that a piece reads.
local LOG_ENTRIES = 2000

-- Checks a piece of the tasks with a log, from `rank` on. Returns the next rank (nil: the end), and the number of
-- repairs.
local function check_logs(q, rank, limit)
    local ids, read, left, repaired, done = call('ZRANGE', q.prefix .. 'logs', rank, rank + limit - 1), 0, 0, 0, 0
    for _, id in ipairs(ids) do
        if read >= LOG_ENTRIES then break end
        local entries, by, stands = sw.check_log(q, id)
        read, repaired, done = read + entries, repaired + by, done + 1
        if stands then left = left + 1 end
    end
    if repaired > 0 then sw.add_to_stat(q, 'repaired', repaired) end
    return (done < #ids or #ids == limit) and rank + left or nil, repaired
end

-- Removes tasks that are neither live nor ending from the set of a lane's concurrency key; checks up to 100 of the set,
-- at random.
local function check_running(c, lane)
    local q, concurrency = c.q, sw.parse_name(lane).concurrency
    if not concurrency then return 0 end
    local key, repaired = q.prefix .. 'running:' .. concurrency.key, 0
    for _, id in ipairs(call('SRANDMEMBER', key, 100)) do
        local v = call('HMGET', q.task_prefix .. id, 'state', 'concurrency_key', 'ending')
        if not ((sw.LIVE[v[1]] or v[3]) and v[2] == concurrency.key) then
            call('SREM', key, id)
            repaired = repaired + 1
        end
    end
    if repaired > 0 then
        sw.add_to_stat(q, 'repaired', repaired)
        c.freed[concurrency.key] = true
    end
    return repaired
end

-- Checks a piece of the lines of lanes: of `lane`, from `rank` on. Returns the next rank and lane (nil: the end), and
-- the number of repairs.
local function check_lanes(q, rank, lane, limit)
    local c = sw.changes(q)
    c.is_written = true
    local names = q.prefix .. 'lane_names'
    if lane == '' then
        lane = call('ZRANGEBYLEX', names, '-', '+', 'LIMIT', 0, 1)[1]
        if not lane then return nil, nil, 0 end
    end
    local line = sw.line_of(lane)
    local ids = call('ZRANGE', q.prefix .. line, rank, rank + limit - 1)
    local repaired = check_entries(q, line, ids)
    if #ids == limit then return rank + limit - repaired, lane, repaired end
    repaired = repaired + check_running(c, lane)
    if sw.check_lane(c, lane) then
        repaired = repaired + 1
        sw.add_to_stat(q, 'repaired', 1)
    end
    if sw.has(c, 'freed') then sw.reopen_lanes(c) end
    rawset(c, 'is_general', true)
    sw.commit(c)
    local following = call('ZRANGEBYLEX', names, '(' .. lane, '+', 'LIMIT', 0, 1)[1]
    return following and 0, following, repaired
end

-- Checks a piece of the group at `rank`, from its lane at rank `from` on. Returns the next rank and `from` (nil: the
-- end).
local function check_group(q, rank, from, limit)
    if rank == 0 then sw.forget_groups(q) end
    local group = sw.derived('ZRANGE', q.prefix .. 'work', rank, rank)[1]
    if not group then return nil, nil end
    local following = sw.check_group(q, group, tonumber(match(from, '^%d+$') or 0), limit)
    if following then return rank, string.format('%.0f', following) end
    return sw.derived('ZSCORE', q.prefix .. 'work', group) and rank + 1 or rank, ''
end

-- Compares the leases of the worker at `rank` with the tasks' hashes. Returns whether there was a worker, and the
-- number of repairs.
local function check_worker(q, rank)
    local worker = call('ZRANGE', q.prefix .. 'workers', rank, rank)[1]
    if not worker then return false, 0 end
    local c, repaired = sw.changes(q), 0
    local held = sw.leases_of(q, worker)
    for i = 1, #held, 2 do
        local attempt, _, mark = sw.lease_of(held[i + 1])
        local v = call('HMGET', q.task_prefix .. held[i], 'state', 'worker', 'attempt')
        if mark == '!' then
            if not call('ZSCORE', q.prefix .. 'ending', held[i] .. ' ' .. worker) then
                sw.drop_ending(c, held[i], worker)
                sw.count_stat('repaired', 1)
                repaired = repaired + 1
            end
        elseif not (sw.LIVE[v[1]] and v[2] == worker and v[3] == attempt) then
            repaired = repaired + 1
            if sw.LIVE[v[1]] then
                call('HDEL', q.attempts_prefix .. worker, held[i])
                sw.add_to_stat(q, 'repaired', 1)
            else
                sw.drop_lease(c, worker, held[i], held[i + 1])
                sw.note_gone(q, held[i])
            end
        end
    end
    sw.commit(c)
    return true, repaired
end

-- The types of the keys of which a queue has several, by the part of the key before the colon.
local TYPE_OF = { task = 'hash', worker = 'hash', attempts = 'hash', batch = 'hash', schedule = 'hash', stage = 'hash',
    stage_task = 'hash', pending = 'zset', finished = 'zset', failures = 'zset', idle = 'zset', work = 'zset',
    tenants = 'zset', past_tenants = 'zset', dependents = 'zset', running = 'set', waiters = 'set', wake = 'list',
    members = 'list', stage_members = 'list', log = 'stream', affinity = 'string', rate = 'string', unique = 'string' }

-- Repairs a task that is in no index, or whose lane is missing in `lane_names`. Returns the number of repairs.
local function check_hash(q, key)
    local id = sub(key, #q.task_prefix + 1)
    local v = call('HMGET', key, 'state', 'held_by', 'lane', 'ending')
    if v[4] and sw.check_ending_field(q, id, v[4]) then return 1 end
    if sw.is_task(v[1]) and not sw.is_state(v[1]) then
        if not sw.mend_state(q, id) then sw.set_aside(q, id) end
        return 1
    end
    if sw.is_task(v[1]) and not call('ZSCORE', q.prefix .. sw.index_of(v[1], v[2], v[3]), id) then
        sw.put_back(q, id)
        return 1
    elseif v[1] == 'pending' and not v[2] and v[3] and not call('ZSCORE', q.prefix .. 'lane_names', v[3]) then
        call('ZADD', q.prefix .. 'lane_names', 0, v[3])
    end
    return 0
end

-- Checks a piece of the queue's keys: deletes keys of a wrong type, and checks the hashes of tasks. SCAN visits a
-- bounded number of the server's keys. Returns the next cursor of SCAN ("0": the end), and the number of repairs.
local function check_keys(q, cursor, limit)
    local page = call('SCAN', cursor, 'MATCH', q.prefix .. '*', 'COUNT', limit)
    local repaired = 0
    for _, key in ipairs(page[2]) do
        local family = match(key, '^([a-z_]+):', #q.prefix + 1)
        local expected = TYPE_OF[family]
        local found = expected and call('TYPE', key).ok
        if found == 'none' or not expected then
            -- The key is gone, or is the only one of its kind, which sw.check_types checks.
        elseif found ~= expected then
            call('DEL', key)
            sw.add_to_stat(q, 'repaired', 1)
            repaired = repaired + 1
        elseif family == 'task' then
            repaired = repaired + check_hash(q, key)
        elseif family == 'log' and not call('ZSCORE', q.prefix .. 'logs', sub(key, #q.prefix + 5)) then
            -- Of an earlier library, which did not count the bytes of logs, or the index has lost it.
            local _, by = sw.check_log(q, sub(key, #q.prefix + 5))
            if by > 0 then sw.add_to_stat(q, 'repaired', by) end
            repaired = repaired + by
        end
    end
    return page[1], repaired
end

-- Sets a counter of `stats` to the counted value. Returns 1 if it was wrong, or 0.
local function set_stat(q, name, count)
    local reply = pcall_redis('HGET', q.stats_key, name)
    local before = type(reply) ~= 'table' and sw.number(reply or 0)
    if before == count then return 0 end
    if before then sw.add_to_stat(q, name, count - before) else call('HSET', q.stats_key, name, count) end
    sw.add_to_stat(q, 'repaired', 1)
    return 1
end

-- Recounts the tasks in the lines of lanes by priority, and the tasks in closed lanes. With aging, `pending` counts
-- too, and the hashes are read because scores do not tell the priority. Returns the number of repairs.
local function check_lines(q)
    local lines, counts, blocked, total, repaired = {}, {}, 0, 0, 0
    if q.aging_ms > 0 then lines[1] = q.pending_key end
    for _, lane in ipairs(call('ZRANGE', q.prefix .. 'lane_names', 0, -1)) do
        local key = q.prefix .. sw.line_of(lane)
        lines[#lines + 1] = key
        if call('ZSCORE', q.closed_key, lane) then blocked = blocked + call('ZCARD', key) end
    end
    repaired = set_stat(q, 'blocked', blocked)
    for _, key in ipairs(lines) do total = total + call('ZCARD', key) end
    if q.aging_ms > 0 and total > TASKS_COUNTED then return repaired end
    for _, key in ipairs(lines) do
        if q.aging_ms > 0 then
            for _, id in ipairs(call('ZRANGE', key, 0, -1)) do
                local priority = pcall_redis('HGET', q.task_prefix .. id, 'priority')
                if sw.LEVEL[priority] then counts[priority] = (counts[priority] or 0) + 1 end
            end
        else
            for _, priority in ipairs(sw.PRIORITIES) do
                local low, high = sw.band(priority)
                counts[priority] = (counts[priority] or 0) + call('ZCOUNT', key, low, high)
            end
        end
    end
    for _, priority in ipairs(sw.PRIORITIES) do
        repaired = repaired + set_stat(q, 'in_lanes_' .. priority, counts[priority] or 0)
    end
    return repaired
end

-- Recounts the counters whose recount has a bounded cost. Returns the number of repairs.
local function check_counts(q)
    local repaired = 0
    local v = call('HMGET', q.stats_key, 'purged_completed', 'purged_failed', 'purged_timeout', 'purged_cancelled')
    local completed = call('ZCARD', q.finished_key)
    for i, state in ipairs({ 'failed', 'timeout', 'cancelled' }) do
        local kept = call('ZCARD', q.prefix .. 'finished:' .. state)
        completed = completed - kept
        repaired = repaired + set_stat(q, state, kept + sw.whole(v[i + 1], 0))
    end
    repaired = repaired + set_stat(q, 'completed', completed + sw.whole(v[1], 0))
    if call('ZCARD', q.prefix .. 'lane_names') <= LANES_COUNTED then repaired = repaired + check_lines(q) end
    if call('ZCARD', q.leases_key) <= TASKS_COUNTED then
        local assigned = 0
        for _, id in ipairs(call('ZRANGE', q.leases_key, 0, -1)) do
            if call('HGET', q.task_prefix .. id, 'state') == 'assigned' then assigned = assigned + 1 end
        end
        repaired = repaired + set_stat(q, 'assigned', assigned)
    end
    if call('ZCARD', q.prefix .. 'workers') <= 1000 then
        local slots = 0
        for _, worker in ipairs(call('ZRANGE', q.prefix .. 'workers', 0, -1)) do
            slots = slots + sw.whole(call('HGET', q.prefix .. 'worker:' .. worker, 'slots'), 0)
        end
        repaired = repaired + set_stat(q, 'slots', slots)
    end
    if call('ZCARD', q.prefix .. 'logs') <= TASKS_COUNTED then
        local bytes = 0
        for _, id in ipairs(call('ZRANGE', q.prefix .. 'logs', 0, -1)) do
            bytes = bytes + tonumber(call('HGET', q.task_prefix .. id, 'log_bytes') or 0)
        end
        repaired = repaired + set_stat(q, 'log_bytes', bytes)
    end
    local opening = 0
    for _, work in ipairs(call('LRANGE', q.prefix .. 'batch_work', 0, 999)) do
        local id = match(work, '^open ([^ ]+) .')
        if id then
            local counts = call('HMGET', q.prefix .. 'batch:' .. id, 'total', 'done')
            opening = opening + math.max(0, sw.whole(counts[1], 0) - sw.whole(counts[2], 0))
        end
    end
    return repaired + set_stat(q, 'opening', opening)
end

-- Does one piece of a pass, of about `limit` entries, from `cursor` ('': the beginning) on. Returns the next cursor
-- ('': the end), and the number of repairs.
function sw.reconcile(q, cursor, limit)
    local section, rank, lane = match(cursor, '^([^ ]+) (%d+) ?(.*)$')
    local at = 1
    for i, name in ipairs(SECTIONS) do
        if name == section then at = i end
    end
    section, rank, lane = SECTIONS[at], tonumber(rank or 0), lane or ''
    local repaired, next_rank, next_lane = 0, nil, nil
    if section == 'lanes' then
        next_rank, next_lane, repaired = check_lanes(q, rank, lane, limit)
    elseif section == 'work' then
        next_rank, next_lane = check_group(q, rank, lane, limit)
    elseif section == 'workers' then
        local found
        found, repaired = check_worker(q, rank)
        next_rank = found and rank + 1 or nil
    elseif section == 'logs' then
        next_rank, repaired = check_logs(q, rank, limit)
    elseif section == 'ending' then
        next_rank, repaired = sw.check_endings(q, rank, limit)
    elseif section == 'waiting' then
        next_rank, repaired = check_waiting(q, rank, limit)
    elseif section == 'keys' then
        local following
        following, repaired = check_keys(q, string.format('%.0f', rank), limit)
        next_rank = following ~= '0' and tonumber(following) or nil
    elseif section == 'counts' then
        repaired = check_counts(q)
    else
        local ids = call('ZRANGE', q.prefix .. section, rank, rank + limit - 1)
        repaired = check_entries(q, section, ids)
        if #ids == limit then next_rank = rank + limit - repaired end
    end
    if next_rank then
        return section .. ' ' .. string.format('%.0f', next_rank) .. (next_lane and ' ' .. next_lane or ''), repaired
    end
    return SECTIONS[at + 1] and SECTIONS[at + 1] .. ' 0' or '', repaired
end
