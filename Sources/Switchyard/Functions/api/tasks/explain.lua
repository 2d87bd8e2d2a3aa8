-- switchyard_explain: returns why a task does not run, with the numbers.
--
-- Keys        1: the queue's prefix, 2: its config
-- Arguments   task (id)
-- Reply       the task's state, then for each reason its pairs: code, message, and the numbers. The first reason
--             decides: without it the task could run, or the next one would decide. Codes: paused, schedule, backoff,
--             ending, dependencies, concurrency_limit, rate_limit, no_worker_matches (with nearest, a worker, and what
--             it lacks), workers_busy, insufficient_resources, reserved, cordoned, position (with looked_at, if there
--             are more workers than a call examines). Without a reason, the task runs or has ended. A task that no
--             index contained is put back.
-- Errors      BADREQUEST, TASKNOTFOUND
local SHOWN = 20

-- Limit on the workers whose slots are examined, which are read PIECE at a time, and on the classes among which the
-- nearest miss is looked for. Workers that serve the task are counted by class, without a limit.
local LOOKED_AT, PIECE, CLASSES = 2000, 500, 500

local function tasks_in_words(n) return n == 1 and '1 task' or n .. ' tasks' end

local function why_held(q, task, held_by)
    local key = q.prefix .. 'task:' .. task.id
    local due = sw.whole(call('HGET', key, 'due_at'), q.now)
    local seconds = math.max(0, math.ceil((due - q.now) / 1000))
    if held_by == 'schedule' then
        return { 'code', 'schedule', 'message', 'its run_at is in ' .. seconds .. ' s', 'due_at', sw.digits(due) }
    elseif held_by == 'retry' then
        return { 'code', 'backoff', 'message', 'attempt ' .. task.attempt .. ' did not succeed; retry '
            .. task.retry_count
            .. ' of ' .. task.max_retries .. ' is in ' .. seconds .. ' s', 'due_at', sw.digits(due), 'retry_count',
            task.retry_count, 'max_retries', task.max_retries }
    elseif held_by == 'ending' then
        local worker = sw.parse_ending(task.ending)
        return { 'code', 'ending', 'message', 'the process of its former attempt on worker ' .. (worker or '?')
            .. ' was told to end and is not gone; it waits for that, at most ' .. (seconds or 0) .. ' s',
            'due_at', sw.digits(due or 0) }
    elseif held_by == 'dependencies' then
        local open, n = {}, 0
        for id in string.gmatch(call('HGET', key, 'depends_on') or '', '[^,]+') do
            local state = call('HGET', q.prefix .. 'task:' .. id, 'state')
            if state ~= 'completed' then
                n = n + 1
                if n <= SHOWN then open[n] = id .. ' (' .. (state or 'gone') .. ')' end
            end
        end
        return { 'code', 'dependencies', 'message', 'it waits for ' .. tasks_in_words(n) .. ': '
            .. table.concat(open, ', ')
            .. (n > SHOWN and ', …' or ''), 'count', n }
    end
end

-- Returns the reason of a task whose lane is closed by a limit, or nil.
local function why_closed(q, task)
    local closed = task.lane and sw.has_gates(task.lane) and call('ZSCORE', q.closed_key, task.lane)
    if not closed then return nil end
    local name = sw.parse_name(task.lane)
    local rank = call('ZRANK', q.prefix .. sw.line_of(task.lane), task.id) or 0
    local ahead = rank .. (rank == 1 and ' other waits' or ' others wait') .. ' before it'
    if not name.concurrency or name.rate and tonumber(closed) > 0 then
        local seconds = math.max(0, math.ceil((tonumber(closed) - q.now) / 1000))
        return { 'code', 'rate_limit', 'message', 'tasks of rate_key ' .. name.rate.key .. ' start '
            .. string.format('%.10g', 1000000 / name.rate.interval) .. ' times a second; the next turn is in '
            .. seconds
            .. ' s, and ' .. ahead, 'key', name.rate.key, 'due_at', closed, 'ahead', rank }
    end
    local key, limit = name.concurrency.key, name.concurrency.limit
    local running = call('SCARD', q.prefix .. 'running:' .. key)
    return { 'code', 'concurrency_limit', 'message', tasks_in_words(running) .. ' of concurrency_key ' .. key
        .. (running == 1 and ' runs' or ' run') .. ', and its limit is ' .. limit .. '; ' .. ahead,
        'key', key, 'running', running,
        'limit', tostring(limit), 'ahead', rank }
end

-- Returns how many registered workers serve `lane`. Counts by class, so the cost does not grow with the workers.
local function count_serving(q, lane)
    if not q.has_lanes then return call('ZCARD', q.prefix .. 'workers') end
    local count = 0
    for _, class in ipairs(sw.classes_serving(q, lane)) do
        count = count + (class == '' and call('ZCARD', q.prefix .. 'workers') - call('HLEN', q.prefix .. 'class')
            or tonumber(call('HGET', q.prefix .. 'classes', class) or nil) or 0)
    end
    return count
end

-- Calls `visit` with the id and the class of each worker, in pages, until it returns true or LOOKED_AT are visited.
local function each_worker(q, visit)
    for from = 0, LOOKED_AT - 1, PIECE do
        local workers = call('ZRANGE', q.prefix .. 'workers', from, from + PIECE - 1)
        local classes = q.has_lanes and workers[1] and call('HMGET', q.prefix .. 'class', unpack(workers)) or {}
        for i, worker in ipairs(workers) do
            if visit(worker, classes[i] or '') then return end
        end
        if #workers < PIECE then return end
    end
end

-- Returns the worker that lacks least of what `lane` needs, and what it lacks, as text; or nil.
local function nearest_miss(q, lane)
    local nearest, least, lacks
    local has_classless = sw.has_classless_workers(q)
    for i, class in ipairs(sw.classes_of(q)) do
        if i > CLASSES then break end
        local texts, misses = sw.misses(class, lane)
        if (class ~= '' or has_classless) and (not least or misses < least) then
            nearest, least, lacks = class, misses, table.concat(texts, ', and ')
        end
    end
    if not nearest then return nil end
    local name
    each_worker(q, function(worker, class)
        if class == nearest then name = worker end
        return name
    end)
    return name, lacks
end

-- Adds the reason of a task that no registered worker serves, if that is so. Returns whether it is, and else how many
-- workers serve it.
local function why_no_match(q, lane, reasons)
    local total = call('ZCARD', q.prefix .. 'workers')
    if total == 0 then
        reasons[#reasons + 1] = { 'code', 'no_worker_matches', 'message', 'no worker is registered; start one',
            'workers', 0 }
        return true
    end
    local matching = count_serving(q, lane)
    if matching > 0 then return false, matching end
    local wanted = sw.parse_name(lane).base
    local nearest, lacks = nearest_miss(q, lane)
    local reason = { 'code', 'no_worker_matches', 'message', (total == 1 and 'the one worker does not serve'
        or 'none of ' .. total .. ' workers serves') .. ' what it needs (' .. (wanted == '' and 'nothing' or wanted)
        .. ')' .. (nearest and '; the nearest: ' .. nearest .. ' ' .. lacks or '') .. '; register one that does',
        'workers', total, 'matching', 0 }
    if nearest then
        reason[#reason + 1], reason[#reason + 2] = 'nearest', nearest
        reason[#reason + 1], reason[#reason + 2] = 'lacks', lacks
    end
    reasons[#reasons + 1] = reason
    return true
end

-- Returns what is left of a worker's capacity.
local function room_of(q, worker, class)
    local held, lanes = sw.leases_of(q, worker), {}
    for i = 2, #held, 2 do
        local _, _, _, _, lane = sw.lease_of(held[i])
        if lane then lanes[#lanes + 1] = lane end
    end
    return sw.room(class, lanes)
end

-- Adds the reasons of the workers that serve the task's lane and cannot take it. Returns whether one can.
local function why_no_worker(q, lane, reasons)
    local is_unmatched, matching = why_no_match(q, lane, reasons)
    if is_unmatched then return false end
    local busy, small, reserved, draining, cordoned, free, looked = 0, 0, 0, 0, 0, 0, 0
    local reservations = q.has_lanes and call('HGETALL', q.prefix .. 'reserved') or {}
    local reserved_for = {}
    for i = 1, #reservations, 2 do reserved_for[match(reservations[i + 1], '^(.*) %d+$') or ''] = reservations[i] end
    each_worker(q, function(worker, class)
        if not sw.serves(class, lane) then return end
        local text = call('HGET', q.attempts_prefix .. worker, '@state')
        local state = sw.worker_state(text or '')
        looked = looked + 1
        if state.draining == 1 then draining = draining + 1
        elseif state.draining == sw.CORDONED then cordoned = cordoned + 1
        elseif reserved_for[worker] and reserved_for[worker] ~= lane then reserved = reserved + 1
        elseif sw.busy_slots(q, worker) >= state.slots then busy = busy + 1
        elseif not sw.has_amounts(lane) or sw.has_room(room_of(q, worker, class), lane) then free = free + 1
        else small = small + 1 end
    end)
    local of = ' of ' .. matching .. (matching == 1 and ' worker that serves it ' or ' workers that serve it ')
    local function add(code, n, one, many)
        if n > 0 then
            reasons[#reasons + 1] = { 'code', code, 'message', n .. of .. (n == 1 and one or many)
                .. (looked < matching and ' (' .. looked .. ' were looked at)' or ''),
                'workers', n, 'matching', matching }
        end
    end
    add('workers_busy', busy, 'has all slots taken', 'have all slots taken')
    local base = ', but not enough left of what it needs (' .. sw.parse_name(lane).base .. ')'
    add('insufficient_resources', small, 'has a slot' .. base, 'have a slot' .. base)
    add('reserved', reserved, 'is reserved for a bigger task', 'are reserved for a bigger task')
    add('workers_busy', draining, 'is draining', 'are draining')
    add('cordoned', cordoned, 'is cordoned; uncordon it', 'are cordoned; uncordon one')
    return free > 0
end

-- Adds the reasons of a task in line: the decisive one first. Its position decides only if a worker has room for it.
local function why_in_line(q, task, reasons)
    local rank = call('ZRANK', q.prefix .. sw.line_of(task.lane), task.id) or 0
    local position = { 'code', 'position', 'message', rank == 0 and 'it is first in its line'
        or tasks_in_words(rank) .. (rank == 1 and ' stands' or ' stand') .. ' before it in its line',
        'ahead', rank, 'priority', task.priority }
    local total = call('ZCARD', q.prefix .. 'workers')
    if total > LOOKED_AT then
        position[4] = position[4] .. '; of ' .. total .. ' workers ' .. LOOKED_AT .. ' were looked at'
        position[#position + 1], position[#position + 2] = 'looked_at', LOOKED_AT
    end
    local at = #reasons + 1
    local has_room = why_no_worker(q, task.lane or '', reasons)
    table.insert(reasons, has_room and at or #reasons + 1, position)
end

local function explain(keys, args)
    local q, failure = sw.enter_checked(keys)
    if not q then return failure end
    local head, tasks = sw.parse(args)
    if not head then return tasks end
    if #tasks ~= 1 then return sw.bad('task: expected one, found ' .. #tasks) end
    local id = tasks[1].task
    -- Puts the task back if no index contains it.
    local task = sw.describe(q, id) and sw.read(q, id)
    if not task then return sw.not_found(id) end
    local reasons = {}
    if task.state == 'pending' then
        if q.paused then
            reasons[1] = { 'code', 'paused', 'message', 'the queue is paused; resume it' }
        end
        local closed = not task.held_by and why_closed(q, task)
        if task.held_by then
            reasons[#reasons + 1] = why_held(q, task, task.held_by)
        elseif closed then
            reasons[#reasons + 1] = closed
        else
            why_in_line(q, task, reasons)
        end
    end
    local reply = { task.state }
    for _, reason in ipairs(reasons) do reply[#reply + 1] = reason end
    return reply
end

redis.register_function{ function_name = 'switchyard_explain', flags = { 'allow-oom' }, callback = explain }
