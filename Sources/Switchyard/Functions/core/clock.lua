-- What a tick makes of Redis's clock. Leases end by that clock, and three things move it past workers that are alive:
-- a suspended machine, a Redis that did not reply for long, and a clock that is set forward. In each case nobody ticked
-- meanwhile. A clock that is set back would keep the leases of dead workers for as long as it was set back.

-- A tick that comes this many intervals of its caller after the last tick of anybody has found a gap.
local INTERVALS = 4
-- At least so many ms are a gap.
local LEAST_GAP_MS = 2000
-- The clock was set back if the last tick is more than this many ms in the future.
local LEAST_STEP_MS = 1000
-- Limit on the leases, and on the registrations, that one tick corrects.
local CORRECTED = 200

-- Bounds the scores of index `name`, which the clock has left behind, by `bound`. Returns whether there may be more.
local function bring_back(q, name, bound)
    local key = q.prefix .. name
    local found = call('ZRANGE', key, '(' .. bound, '+inf', 'BYSCORE', 'LIMIT', 0, CORRECTED)
    for _, member in ipairs(found) do call('ZADD', key, 'XX', bound, member) end
    return #found == CORRECTED
end

-- Looks at the clock for a tick, whose caller ticks at least every `interval` ms (nil: it does not say, and no gap is
-- found). Writes. Returns until when (ms) no lease and no registration ends, or nil; how far the clock was set back
-- (ms), or nil; and whether there is more to correct.
function sw.look_at_clock(q, interval)
    local v = call('HMGET', q.config_key, 'ticked_at', 'forgiving_until')
    local before, forgiving = tonumber(v[1] or q.now), tonumber(v[2] or 0)
    local back = before - q.now
    if back > LEAST_STEP_MS then
        local bound = sw.digits(q.now + math.max(q.lease_ms, q.assign_timeout_ms))
        local more = bring_back(q, 'leases', bound)
        more = bring_back(q, 'workers', sw.digits(q.now + q.lease_ms)) or more
        if not more then call('HSET', q.config_key, 'ticked_at', q.now_text, 'forgiving_until', '0') end
        return nil, back, more
    end
    if interval and -back > math.max(LEAST_GAP_MS, INTERVALS * interval) then
        -- Live workers have time for a heartbeat, and for another if the first is lost.
        forgiving = q.now + 2 * q.heartbeat_ms + 1000
        call('HSET', q.config_key, 'ticked_at', q.now_text, 'forgiving_until', sw.digits(forgiving))
    else
        call('HSET', q.config_key, 'ticked_at', q.now_text)
    end
    return forgiving > q.now and forgiving or nil, nil, false
end
