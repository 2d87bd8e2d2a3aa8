-- Limits by key: the maximum number of running tasks (concurrency_key), and of tasks that start in a second
-- (rate_key).
--
-- The limits of a task are part of its lane (lane_names.lua), and a lane is open or closed as a whole: tasks that a
-- limit blocks are in the line of a closed lane, which no pull reads. A limit is checked at the moment of the start,
-- for the most urgent task; nothing is reserved for a waiting task. `running:<key>` is the set of the live tasks of a
-- key; its size counts. `rate:<key>` is the theoretical arrival time of the generic cell rate algorithm (ITU-T
-- I.371), in µs.
--
-- A pull closes a lane when it finds the lane's gate closed, or starts the last task that the gate lets through. The
-- end of a task of the concurrency key opens it (`waiters:<key>` is the set of lanes that wait for this), or the tick
-- after the rate limit is due.

-- Limit on the lanes of one key that one call opens. If all of these open and more wait, the key enters the set
-- `reopening`, and ticks continue.
local LANES_PER_KEY = 100

-- Sums of intervals of fractional µs are inexact, and stored values are rounded up.
local TOLERANCE_US = 2

-- Returns how many tasks of `key` run, including what this call changes.
local function count_running(c, key)
    local entry = c.running[key]
    if not entry then
        entry = { add = {}, rem = {}, count = false }
        c.running[key] = entry
    end
    if not entry.count then
        entry.count = call('SCARD', c.q.prefix .. 'running:' .. key)
        if not c.is_written then entry.count = entry.count + #entry.add - #entry.rem end
    end
    return entry.count
end

local function tat_of(c, rate)
    local planned = rawget(c, 'rates') and c.rates[rate.key]
    return planned or sw.whole(call('GET', c.q.prefix .. 'rate:' .. rate.key), 0)
end

-- Whether a task of `lane` may start now. If not, also returns when it may (ms), or 0 if it waits for the end of a
-- task.
function sw.gate_of(c, lane)
    local name = sw.parse_name(lane)
    local concurrency, rate = name.concurrency, name.rate
    if concurrency and count_running(c, concurrency.key) >= concurrency.limit then return false, 0 end
    if rate then
        local due = tat_of(c, rate) - (rate.burst - 1) * rate.interval
        if due > c.q.now_us + TOLERANCE_US then return false, math.ceil(due / 1000) end
    end
    return true
end

-- Returns how many tasks of `lane` may start now, one after the other.
function sw.free_starts(c, lane)
    local name = sw.parse_name(lane)
    local starts = math.huge
    if name.concurrency then starts = name.concurrency.limit - count_running(c, name.concurrency.key) end
    if name.rate then
        local late = math.max(tat_of(c, name.rate), c.q.now_us) - c.q.now_us
        starts = math.min(starts, math.floor(name.rate.burst - (late - TOLERANCE_US) / name.rate.interval))
    end
    return math.max(0, starts)
end

-- Called by transition.lua when task `id` of `lane` begins an attempt or ends one.
function sw.note_running(c, lane, id, runs)
    local name = sw.parse_name(lane)
    if not name.has_gates then return end
    local concurrency, rate = name.concurrency, name.rate
    if concurrency then
        local entry = c.running[concurrency.key]
        if not entry then
            entry = { add = {}, rem = {}, count = false }
            c.running[concurrency.key] = entry
        end
        local list = runs and entry.add or entry.rem
        list[#list + 1] = id
        if entry.count then entry.count = entry.count + (runs and 1 or -1) end
        if not runs then c.freed[concurrency.key] = true end
    end
    if rate and runs then c.rates[rate.key] = math.max(tat_of(c, rate), c.q.now_us) + rate.interval end
end

-- Notes the gate of `lane` if it is closed. Returns whether it is.
function sw.note_gate(c, lane)
    local is_open, due = sw.gate_of(c, lane)
    if not is_open then c.closing[lane] = due end
    return not is_open
end

-- Called by commit. Writes the sets of running tasks and the rates.
function sw.commit_limits(c)
    local prefix = c.q.prefix
    for key, entry in pairs(rawget(c, 'running') or {}) do
        if #entry.rem > 0 then sw.derived('SREM', prefix .. 'running:' .. key, unpack(entry.rem)) end
        if #entry.add > 0 then sw.derived('SADD', prefix .. 'running:' .. key, unpack(entry.add)) end
    end
    for key, tat in pairs(rawget(c, 'rates') or {}) do
        -- After its arrival time the rate limit allows a full burst, as it does without the key.
        call('SET', prefix .. 'rate:' .. key, sw.digits(math.ceil(tat)),
            'PXAT', sw.digits(math.ceil(tat / 1000) + 1000))
    end
end

-- Called by commit after the lines are written. Closes lanes.
function sw.commit_closing(c)
    for lane, due in pairs(c.closing) do sw.close_lane(c.q, lane, due) end
end

-- Opens `lane` if its gate allows it, and wakes workers for it.
local function open_and_wake(c, lane)
    if not sw.reopen(c, lane) then return end
    local count = call('ZCARD', c.q.prefix .. sw.line_of(lane))
    sw.plan_wake(c, { [lane] = count })
end

-- Opens some of the lanes that wait for the end of a task of `key`. A lane that stays closed waits again; a running
-- task then exists whose end will open it.
local function reopen_some(c, key)
    local prefix = c.q.prefix
    local waiters = prefix .. 'waiters:' .. key
    local lanes = call('SRANDMEMBER', waiters, LANES_PER_KEY)
    if #lanes > 0 then sw.derived('SREM', waiters, unpack(lanes)) end
    local left = #lanes == LANES_PER_KEY and call('SCARD', waiters) or 0
    for _, lane in ipairs(lanes) do open_and_wake(c, lane) end
    if left > 0 and call('SCARD', waiters) == left then sw.derived('SADD', prefix .. 'reopening', key) end
end

-- Called by commit. Opens lanes of keys whose tasks have ended.
function sw.reopen_lanes(c)
    for key in pairs(c.freed) do reopen_some(c, key) end
end

-- Called by tick. Continues with a key of which more lanes waited than one call opens. Returns whether more keys are
-- left.
function sw.reopen_more(q)
    local reopening = q.prefix .. 'reopening'
    local key = call('SRANDMEMBER', reopening)
    if not key then return false end
    call('SREM', reopening, key)
    local c = sw.changes(q)
    c.is_written = true
    reopen_some(c, key)
    sw.commit(c)
    return call('EXISTS', reopening) == 1
end

-- Called by tick. Opens up to `limit` lanes whose rate limit is due. Returns how many, and when the next one is due
-- (nil: none).
function sw.open_due_lanes(q, limit)
    local due = call('ZRANGEBYSCORE', q.closed_key, '(0', q.now_text, 'LIMIT', 0, limit)
    if #due > 0 then
        local c = sw.changes(q)
        c.is_written = true
        for _, lane in ipairs(due) do open_and_wake(c, lane) end
        sw.commit(c)
    end
    local following = call('ZRANGEBYSCORE', q.closed_key, '(0', '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
    return #due, following[2] and tonumber(following[2])
end
