-- What a tick makes of Redis's clock. Leases end by that clock, and three things move it past workers that are alive:
-- a suspended machine, a Redis that did not reply for long, and a clock that is set forward. In each case nobody ticked
-- meanwhile. A clock that is set back would keep the leases of dead workers for as long as it was set back.
--
-- Ticks are counted too. A caller that finds the count lower than before sees an older state of the queue: a restored
-- backup, or a primary that lacks the latest writes.

-- A tick that comes this many intervals of its caller after the last tick of anybody has found a gap.
local INTERVALS = 4
-- At least so many ms are a gap.
local LEAST_GAP_MS = 2000
-- The clock was set back if the last tick is more than this many ms in the future.
local LEAST_STEP_MS = 1000
-- Limit on the leases, and on the registrations, that one tick corrects.
local CORRECTED = 200

-- Returns the members of index `name` that the clock has left behind: their scores are above `bound`.
local function left_behind(q, name, bound)
    local found = call('ZRANGE', q.prefix .. name, '(' .. bound, '+inf', 'BYSCORE', 'LIMIT', 0, CORRECTED)
    return { key = q.prefix .. name, bound = bound, members = found }
end

-- Returns for how long no lease ends after a gap: live workers have time for a heartbeat, and for another if the first
-- is lost.
local function forgiven_ms(q)
    return 2 * q.heartbeat_ms + 1000
end

-- Looks at the clock for a tick, whose caller ticks at least every `interval` ms (nil: it does not say, and no gap is
-- found). Returns a table: `forgiving`: until when (ms) no lease and no registration ends, or nil; `back`: how far the
-- clock was set back (ms), or nil; `has_more`: there is more to correct; `ticks`: the number of ticks with this one;
-- and what sw.set_clock writes.
function sw.look_at_clock(q, interval)
    local v = call('HMGET', q.config_key, 'ticked_at', 'forgiving_until', 'ticks')
    local before, forgiving = sw.whole(v[1], q.now), sw.whole(v[2], 0)
    local back, ticks = before - q.now, sw.digits(sw.whole(v[3], 0) + 1)
    if back > LEAST_STEP_MS then
        local leases = left_behind(q, 'leases', sw.digits(q.now + math.max(q.lease_ms, q.assign_timeout_ms)))
        local workers = left_behind(q, 'workers', sw.digits(q.now + q.lease_ms))
        local has_more = #leases.members == CORRECTED or #workers.members == CORRECTED
        return { back = back, has_more = has_more, ticks = ticks, ticked_at = has_more and v[1] or q.now_text,
            until_text = '0', indexes = { leases, workers } }
    end
    -- Longer than a tick ever forgives.
    if forgiving > q.now + forgiven_ms(q) then forgiving = 0 end
    local clock = { ticks = ticks, ticked_at = q.now_text, indexes = {} }
    if interval and -back > math.max(LEAST_GAP_MS, INTERVALS * interval) then
        forgiving = q.now + forgiven_ms(q)
        clock.until_text = sw.digits(forgiving)
    end
    clock.forgiving = forgiving > q.now and forgiving or nil
    return clock
end

-- Writes what a tick has made of the clock.
function sw.set_clock(q, clock)
    for _, index in ipairs(clock.indexes) do
        for _, member in ipairs(index.members) do call('ZADD', index.key, 'XX', index.bound, member) end
    end
    call('HSET', q.config_key, 'ticked_at', clock.ticked_at, 'ticks', clock.ticks)
    if clock.until_text then call('HSET', q.config_key, 'forgiving_until', clock.until_text) end
end
