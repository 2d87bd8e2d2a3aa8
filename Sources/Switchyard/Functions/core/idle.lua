-- Sleeping workers, and which of them a new task wakes. A worker falls asleep when a pull leaves it with free slots.
-- A woken worker is out of its pool until it falls asleep again. A wake-up is a hint without content; a tick makes up
-- for a lost one.
--
-- A pool is the sleeping workers of one class with the same room: `idle` for workers without labels and capacity,
-- `idle:<class>` or `idle:<class> <room>` for others. Its score is the time of a worker's last assignment.
-- `idle_pools` has the pools in the order in which they are woken: the pool with the fewest labels and cores first,
-- so that generic tasks leave scarce workers free, and among equal pools the one whose worker has slept longest.

-- Unit of the endowment in a pool's score. The part below it is the last assignment of the pool's longest sleeper, in
-- ms since 2024, which fits until 2058.
local ENDOWMENT = 1099511627776
local EPOCH_2024_MS = 1704067200000

-- Limit on the workers of one pool that a tick wakes.
local WAKES_PER_POOL = 64

-- Limit on the groups whose tasks are counted for a pool.
local GROUPS_COUNTED = 100

local function pool_key(q, pool)
    return pool == '' and q.idle_key or q.prefix .. 'idle:' .. pool
end

-- Returns the class of a pool, and the name of its room (the class itself if no capacity is taken).
local function parts_of(pool)
    local class, room = match(pool, '^([^ ]*) (.*)$')
    return class or pool, room or pool
end

-- Returns how much a pool has that not every task needs: first labels, then free cores.
local function endowment_of(pool)
    local class, room = parts_of(pool)
    local labels = 0
    for _ in pairs(sw.parse_name(class).labels) do labels = labels + 1 end
    local left = sw.parse_name(room).amounts
    local cores = left.cpu or (next(left) and 1) or 0
    return math.min(127, labels) * 64 + math.min(63, math.floor(cores))
end

-- Updates the pool's score in `idle_pools`, or removes an empty pool.
local function file_pool(q, pool)
    if pool == '' then return end
    local first = sw.derived('ZRANGE', pool_key(q, pool), 0, 0, 'WITHSCORES')
    if first[1] then
        local since = math.max(0, math.floor(tonumber(first[2]) / 1000) - EPOCH_2024_MS)
        sw.derived('ZADD', q.idle_pools_key, sw.digits(endowment_of(pool) * ENDOWMENT + since), pool)
    else
        sw.derived('ZREM', q.idle_pools_key, pool)
    end
end

-- Returns the pool in which a worker of `class` with `room` (a text, '' if no capacity is taken) sleeps.
function sw.pool_of(class, room)
    return room == '' and class or class .. ' ' .. room
end

-- Adds the worker to `pool`. `last` is the time of its last assignment, in µs since 1970, as text.
function sw.sleep_in(q, pool, worker, last)
    sw.derived('ZADD', pool_key(q, pool), last, worker)
    file_pool(q, pool)
end

function sw.leave_pool(q, pool, worker)
    if sw.derived('ZREM', pool_key(q, pool), worker) == 1 then file_pool(q, pool) end
end

-- Whether any worker sleeps.
local function anyone_sleeps(q)
    return call('EXISTS', q.idle_key, q.idle_pools_key) > 0
end

-- Whether the workers of a pool can start a task of `lane` ('': a task without a lane) now.
local function fits(pool, lane)
    local class, room = parts_of(pool)
    if not sw.serves(class, lane) then return false end
    return room == class or lane == '' or sw.has_room(sw.parse_name(room).amounts, lane)
end

-- Plans to wake up to `wanted` workers of `pool`. Returns how many.
local function wake_from(c, pool, wanted)
    if wanted < 1 then return 0 end
    local chosen = c.awake[pool]
    local passed = #(chosen or {}) + (sw.has(c, 'gone') and c.gone_count or 0)
    local found = 0
    for _, worker in ipairs(call('ZRANGE', pool_key(c.q, pool), 0, wanted + passed - 1)) do
        if found == wanted then break end
        if not c.woken[worker] and not (sw.has(c, 'gone') and c.gone[worker]) then
            c.woken[worker] = true
            chosen = chosen or {}
            chosen[#chosen + 1] = worker
            found = found + 1
        end
    end
    c.awake[pool] = chosen
    return found
end

-- Calls `visit` with each pool of workers with labels or capacity, in the order in which pools are woken, until it
-- returns true.
local function each_pool(q, visit)
    local from = 0
    while true do
        local pools = call('ZRANGE', q.idle_pools_key, from, from + 63)
        for _, pool in ipairs(pools) do
            if visit(pool) then return end
        end
        if #pools < 64 then return end
        from = from + 64
    end
end

-- Plans to wake a worker for each of `n` tasks of `lane` ('': without a lane). Returns how many.
local function wake_for_lane(c, lane, n)
    local left = n
    if sw.serves('', lane) then left = left - wake_from(c, '', left) end
    if left > 0 then
        each_pool(c.q, function(pool)
            if fits(pool, lane) then left = left - wake_from(c, pool, left) end
            return left <= 0
        end)
    end
    return n - left
end

-- Plans to wake workers for tasks that enter the queue. `lines`: lane ('': none) → number of tasks. Returns how many
-- workers.
function sw.plan_wake(c, lines)
    rawset(c, 'is_wake_planned', true)
    local q = c.q
    if q.paused or not anyone_sleeps(q) then return 0 end
    local woken = 0
    for lane, n in pairs(lines) do
        local wanted = n
        if lane ~= '' and sw.has_gates(lane) then
            wanted = math.min(n, sw.free_starts(c, lane))
            if call('ZSCORE', q.closed_key, lane) then wanted = 0 end
        end
        if wanted > 0 then woken = woken + wake_for_lane(c, lane, wanted) end
    end
    return woken
end

-- Called by commit. Plans to wake workers for the tasks that the call puts in line, unless the call has planned this.
function sw.plan_wake_for_lines(c)
    if rawget(c, 'is_wake_planned') then return end
    local lines = sw.planned_lines()
    if lines then sw.plan_wake(c, lines) end
end

-- Returns how many tasks the workers of a pool have in the most urgent lanes that they serve and that fit; at most
-- WAKES_PER_POOL.
local function count_work(q, pool)
    local class, room = parts_of(pool)
    local left, count = sw.parse_name(room).amounts, 0
    local groups = sw.groups_for(q, class)
    for _ = 1, GROUPS_COUNTED do
        if not groups.bound then break end
        local group = sw.advance(groups)
        if sw.has_room(left, group) then
            for _, lane in ipairs(call('ZRANGE', sw.work_key(q, group), 0, 3)) do
                count = count + call('ZCARD', q.prefix .. sw.line_of(lane))
                if count >= WAKES_PER_POOL then return WAKES_PER_POOL end
            end
        end
    end
    return count
end

-- Plans to wake workers for the tasks in line, at most `most` of each pool if it is given. Returns how many.
function sw.plan_wake_for_work(c, most)
    local q = c.q
    if q.paused or not anyone_sleeps(q) then return 0 end
    local pending = call('ZCARD', q.pending_key)
    local wanted, woken = math.min(pending, most or WAKES_PER_POOL), 0
    if wanted > 0 then woken = wake_from(c, '', wanted) end
    if wanted == 0 and q.has_lanes then
        woken = wake_from(c, '', math.min(most or WAKES_PER_POOL, count_work(q, '')))
    end
    if q.has_lanes then
        local left = wanted - woken
        each_pool(q, function(pool)
            local class = parts_of(pool)
            local take = left > 0 and sw.serves(class, '') and left
                or math.min(most or WAKES_PER_POOL, count_work(q, pool))
            if take > 0 then
                local found = wake_from(c, pool, take)
                left, woken = left - found, woken + found
            end
        end)
    end
    return woken
end

-- Notes that `worker` must not be woken by this call, because the call forgets it or it has no free slot.
function sw.plan_gone(c, worker)
    c.gone[worker] = true
    rawset(c, 'gone_count', (rawget(c, 'gone_count') or 0) + 1)
end

-- Called by commit. Takes the chosen workers out of their pools and wakes them.
function sw.commit_wake(c)
    local q = c.q
    for pool, workers in pairs(c.awake) do
        sw.derived('ZREM', pool_key(q, pool), unpack(workers))
        file_pool(q, pool)
        for _, worker in ipairs(workers) do sw.derived('LPUSH', q.prefix .. 'wake:' .. worker, '1') end
    end
end

-- Called by commit. Wakes sleeping workers whose attempts this call has ended: they have more room now.
function sw.wake_freed(c)
    local q = c.q
    for worker in pairs(c.lost_lease) do
        if not (c.pull and c.pull.worker == worker) and not (sw.has(c, 'gone') and c.gone[worker])
            and not (sw.has(c, 'woken') and c.woken[worker]) then
            local text = call('HGET', q.attempts_prefix .. worker, '@state')
            local state = text and sw.worker_state(text)
            if state and state.asleep == 1 and state.class and state.class ~= '' and sw.has_amounts(state.class) then
                local pool = sw.pool_of(state.class, state.room)
                if sw.derived('ZREM', pool_key(q, pool), worker) == 1 then
                    file_pool(q, pool)
                    sw.derived('LPUSH', q.prefix .. 'wake:' .. worker, '1')
                end
            end
        end
    end
end
