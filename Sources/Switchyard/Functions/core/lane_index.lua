-- The indexes of lanes with work. A lane with tasks in line is either open or closed. An open lane is in `lanes`,
-- with a lower bound of the score of its first task, and in its group (lane_groups.lua). A closed lane, whose gate lets
-- no task start, is in `closed`. `lane_names` has both kinds, and `unserved` the lanes that no class of workers serves.
-- All of this can be rebuilt from the lines, so a key of a wrong type is deleted and written again.

-- Runs a command on a key that can be rebuilt; deletes the key first if it has a wrong type. Returns the reply.
local function derived(command, key, ...)
    local reply = pcall_redis(command, key, ...)
    if type(reply) == 'table' and reply.err then
        call('DEL', key)
        return call(command, key, ...)
    end
    return reply
end
sw.derived = derived

local function remove_from_group(q, lane)
    derived('ZREM', sw.work_key(q, sw.group_of(lane)), lane)
end

-- Opens the lane, whose first task has `score`: workers may pull from it.
local function open(q, lane, score)
    if derived('ZADD', q.lanes_key, 'LT', 'CH', score, lane) == 1 then
        derived('ZADD', q.prefix .. 'lane_names', 0, lane)
        sw.add_to_group(q, lane, score)
        sw.note_unserved(q, lane)
    end
end

-- Closes the lane: its gate lets no task start. `due` is the time at which it may open (ms), or 0 if the end of a
-- task opens it.
local function close(q, lane, due)
    local count = call('ZCARD', q.prefix .. sw.line_of(lane))
    derived('ZREM', q.lanes_key, lane)
    remove_from_group(q, lane)
    if count == 0 then return end
    if derived('ZADD', q.closed_key, sw.digits(due), lane) == 1 then sw.add_to_stat(q, 'blocked', count) end
    derived('ZADD', q.prefix .. 'lane_names', 0, lane)
    sw.note_unserved(q, lane)
    if due == 0 then derived('SADD', q.prefix .. 'waiters:' .. sw.parse_name(lane).concurrency.key, lane) end
end
sw.close_lane = close

-- Removes a lane that has no task in line from all indexes.
local function forget(q, lane)
    derived('ZREM', q.lanes_key, lane)
    remove_from_group(q, lane)
    derived('ZREM', q.prefix .. 'lane_names', lane)
    derived('ZREM', q.prefix .. 'unserved', lane)
    local name = sw.parse_name(lane)
    if name.has_gates then
        derived('ZREM', q.closed_key, lane)
        if name.concurrency then derived('SREM', q.prefix .. 'waiters:' .. name.concurrency.key, lane) end
    end
    if name.has_amounts then
        derived('HDEL', q.prefix .. 'reserved', lane)
        derived('HDEL', q.prefix .. 'stuck', lane)
    end
end

sw.forget_lane = forget

-- Called by commit after tasks entered the line of `lane`, the most urgent with `score`. `net` is how many more
-- entered than left.
function sw.lane_gained(c, lane, score, net)
    local q, name = c.q, sw.parse_name(lane)
    if name.has_gates then
        if derived('ZSCORE', q.closed_key, lane) then
            if net ~= 0 then sw.add_to_stat(q, 'blocked', net) end
            return
        end
        local is_open, due = sw.gate_of(c, lane)
        if not is_open then return close(q, lane, due) end
    end
    open(q, lane, sw.digits(score))
end

-- Called by commit after tasks left the line of `lane`. `net` is how many more entered than left.
function sw.lane_lost(c, lane, net)
    local q = c.q
    if sw.parse_name(lane).has_gates and net ~= 0 and derived('ZSCORE', q.closed_key, lane) then
        sw.add_to_stat(q, 'blocked', net)
    end
    if call('EXISTS', q.prefix .. sw.line_of(lane)) == 0 then forget(q, lane) end
end

-- Opens a closed lane if its gate allows it. Returns whether the lane is open now.
function sw.reopen(c, lane)
    local q = c.q
    local first = call('ZRANGE', q.prefix .. sw.line_of(lane), 0, 0, 'WITHSCORES')
    if not first[1] then
        forget(q, lane)
        return false
    end
    local is_open, due = sw.gate_of(c, lane)
    if not is_open then
        derived('ZADD', q.closed_key, sw.digits(due), lane)
        if due == 0 then derived('SADD', q.prefix .. 'waiters:' .. sw.parse_name(lane).concurrency.key, lane) end
        return false
    end
    if derived('ZREM', q.closed_key, lane) == 1 then
        sw.add_to_stat(q, 'blocked', -call('ZCARD', q.prefix .. sw.line_of(lane)))
    end
    open(q, lane, first[2])
    return true
end

-- Rebuilds the entries of a lane in the indexes from its line. Returns whether they were wrong.
function sw.check_lane(c, lane)
    local q = c.q
    local first = call('ZRANGE', q.prefix .. sw.line_of(lane), 0, 0, 'WITHSCORES')
    local bound, closed = derived('ZSCORE', q.lanes_key, lane), derived('ZSCORE', q.closed_key, lane)
    if not first[1] then
        if not (bound or closed) then return false end
        forget(q, lane)
        return true
    end
    local is_right = (bound and not closed and tonumber(bound) <= tonumber(first[2])) or (closed and not bound)
    if is_right and bound then sw.add_to_group(q, lane, bound) end
    sw.note_served(q, lane)
    if is_right then return false end
    derived('ZREM', q.lanes_key, lane)
    derived('ZREM', q.closed_key, lane)
    derived('ZADD', q.prefix .. 'lane_names', 0, lane)
    sw.reopen(c, lane)
    return true
end

-- Returns how many pending tasks are neither in `pending` nor in `held`: in lanes, waiting for dependencies, or about
-- to enter the queue with their batch.
local function elsewhere(q)
    local total = 0
    local counts = call('HMGET', q.stats_key, 'opening', 'in_lanes_critical', 'in_lanes_high', 'in_lanes_normal',
        'in_lanes_low')
    if q.has_holds then total = call('ZCARD', q.prefix .. 'waiting') + sw.whole(counts[1], 0) end
    if q.has_lanes then
        for i = 2, 5 do total = total + sw.whole(counts[i], 0) end
        -- With aging, the counters include the tasks in `pending`.
        if q.aging_ms > 0 then total = total - call('ZCARD', q.pending_key) end
    end
    return total
end

-- Returns how many pending tasks the queue has.
--   none_held   the caller knows that `held` is empty
function sw.length(q, none_held)
    local length = call('ZCARD', q.pending_key)
    sw.know('pending')
    if not none_held then length = length + call('ZCARD', q.held_key) end
    if q.has_holds or q.has_lanes then length = length + elsewhere(q) end
    return length
end

-- Plans to remove an entry of a line that is not a pending task of that line.
function sw.strike_from_line(c, id, lane)
    local q = c.q
    local line = sw.line_of(lane)
    if lane and q.aging_ms == 0 then
        -- Only the score tells the priority of the entry.
        local score = call('ZSCORE', q.prefix .. line, id)
        if score then sw.count_stat('in_lanes_' .. sw.level_in(tonumber(score)), -1) end
    end
    sw.strike(line, id)
end
