-- Which lanes have work, for whom. A lane with tasks in line is open (in `lanes`) or its gate is closed (in `closed`);
-- `lane_names` has both, and `unserved` those that no class of workers serves.
--
-- Each class has an index of the lanes with work that it serves, by shape (what their tasks ask of a worker's resources):
--   work:<class>           shapes, only of a class with capacity
--   work:<class>/<shape>   lanes
-- Their scores are lower bounds of the score of the first task. A bound is lowered when a more urgent task enters the queue, and
-- raised, or the entry removed, by the pull that looks at it (chooser.lua), so that no call touches all classes of a lane
-- except the one that makes its head more urgent. The score of a lane in `lanes` is the highest of its bounds: a task
-- that stands behind it changes no bound.
--
-- All of this can be made again from the lines, so a key of a wrong type is replaced.

-- A command on an index that can be made again. Returns its reply.
local function derived(command, key, ...)
    local reply = pcall_redis(command, key, ...)
    if type(reply) == 'table' and reply.err then
        call('DEL', key)
        return call(command, key, ...)
    end
    return reply
end
sw.derived = derived

-- Steps that one call does for a class that has appeared or gone.
local LANES_PER_STEP = 250
local PAIRS_PER_STEP = 2000

-- The classes of the registered workers, and '' (workers without labels and capacity). Cached until the hash `classes`
-- changes, which the setting classes_version tells.
local function classes_of(q)
    local key = (q.instance or '') .. ' ' .. q.classes_version
    if q.classes_key ~= key then
        q.classes, q.serving, q.serving_count = { '' }, {}, 0
        for _, class in ipairs(call('HKEYS', q.prefix .. 'classes')) do q.classes[#q.classes + 1] = class end
        q.classes_key = key
    end
    return q.classes
end
sw.classes_of = classes_of

-- The classes that serve `lane`.
local function serving(q, lane)
    local classes = classes_of(q)
    local found = q.serving[lane]
    if found then return found end
    found = {}
    for _, class in ipairs(classes) do
        if sw.serves(class, lane) then found[#found + 1] = class end
    end
    if q.serving_count == 5000 then q.serving, q.serving_count = {}, 0 end
    q.serving[lane] = found
    q.serving_count = q.serving_count + 1
    return found
end

-- Whether any registered worker could ever run tasks of `lane` ('': those without one).
function sw.is_served(q, lane)
    for _, class in ipairs(serving(q, lane)) do
        -- Class '' is always in the list; it has workers if some are in no other class.
        if class ~= '' or call('ZCARD', q.prefix .. 'workers') > call('HLEN', q.prefix .. 'class') then return true end
    end
    return false
end

function sw.work_key(q, class, shape) return q.prefix .. 'work:' .. class .. '/' .. shape end

-- Lowers the bounds of `lane` in the index of one class.
local function add_to_class(q, class, lane, score)
    local shape = sw.parse_name(lane).shape
    derived('ZADD', sw.work_key(q, class, shape), 'LT', score, lane)
    if sw.has_amounts(class) then derived('ZADD', q.prefix .. 'work:' .. class, 'LT', score, shape) end
end

-- Notes a lane that no class of workers serves.
local function note_unserved(q, lane)
    if not sw.is_served(q, lane) then derived('ZADD', q.prefix .. 'unserved', 0, lane) end
end

-- Puts `lane` into the indexes of the classes that serve it, with `score` of its first task.
local function add_to_classes(q, lane, score)
    for _, class in ipairs(serving(q, lane)) do add_to_class(q, class, lane, score) end
    note_unserved(q, lane)
end

-- Opens the lane, whose first task has `score`: workers may pull from it.
local function open(q, lane, score)
    if derived('ZADD', q.lanes_key, 'LT', 'CH', score, lane) == 1 then
        derived('ZADD', q.prefix .. 'lane_names', 0, lane)
        add_to_classes(q, lane, score)
    end
end

-- Closes the lane: its gate lets no task start. `due`: when it may (ms), or 0 if the end of a task tells.
local function close(q, lane, due)
    local count = call('ZCARD', q.prefix .. sw.line_of(lane))
    derived('ZREM', q.lanes_key, lane)
    if count == 0 then return end
    if derived('ZADD', q.closed_key, sw.digits(due), lane) == 1 then sw.add_to_stat(q, 'blocked', count) end
    derived('ZADD', q.prefix .. 'lane_names', 0, lane)
    note_unserved(q, lane)
    if due == 0 then derived('SADD', q.prefix .. 'waiters:' .. sw.parse_name(lane).concurrency.key, lane) end
end
sw.close_lane = close

-- The lane has no task in line any more.
local function forget(q, lane)
    derived('ZREM', q.lanes_key, lane)
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

-- Called by commit: tasks came into the line of `lane`, the most urgent with `score`; `net` more than left it.
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

-- Called by commit: tasks left the line of `lane`; `net` is how many more came than left.
function sw.lane_lost(c, lane, net)
    local q = c.q
    if sw.parse_name(lane).has_gates and net ~= 0 and derived('ZSCORE', q.closed_key, lane) then
        sw.add_to_stat(q, 'blocked', net)
    end
    if call('EXISTS', q.prefix .. sw.line_of(lane)) == 0 then forget(q, lane) end
end

-- Opens a closed lane if its gate allows. Returns whether it is open now.
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

-- Makes the entry of a lane in the indexes again from its line. Returns whether it was wrong.
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
    if is_right and bound then add_to_classes(q, lane, bound) else note_unserved(q, lane) end
    if is_right then return false end
    derived('ZREM', q.lanes_key, lane)
    derived('ZREM', q.closed_key, lane)
    derived('ZADD', q.prefix .. 'lane_names', 0, lane)
    sw.reopen(c, lane)
    return true
end

-- Classes that have appeared or gone are worked on in steps: the list `class_work` holds "add <class>" or "gone <class>", and
-- the field class_cursor of `config` the lane that the first of them has come to.
local function begin_work(q, kind, class)
    sw.set_config(q, 'classes_version', sw.digits(q.classes_version + 1))
    derived('RPUSH', q.prefix .. 'class_work', kind .. ' ' .. class)
end

-- A worker of `class` registers. '' is the class without anything.
function sw.join_class(q, worker, class)
    local before = call('HGET', q.prefix .. 'class', worker) or ''
    if before == class then return end
    sw.leave_class(q, worker)
    if class ~= '' then
        call('HSET', q.prefix .. 'class', worker, class)
        if call('HINCRBY', q.prefix .. 'classes', class, 1) == 1 then
            begin_work(q, 'add', class)
            sw.step_classes(q)
        end
    end
end

function sw.leave_class(q, worker)
    local class = call('HGET', q.prefix .. 'class', worker)
    if class then
        call('HDEL', q.prefix .. 'class', worker)
        if call('HINCRBY', q.prefix .. 'classes', class, -1) <= 0 then
            call('HDEL', q.prefix .. 'classes', class)
            begin_work(q, 'gone', class)
            sw.step_classes(q)
        end
    end
    sw.unreserve_worker(q, worker)
end

-- A class has gone: its index, as far as one call goes. Returns whether all of it is deleted.
local function delete_index(q, class)
    if call('HEXISTS', q.prefix .. 'classes', class) == 1 then return true end
    local shapes = sw.has_amounts(class) and call('ZRANGE', q.prefix .. 'work:' .. class, 0, LANES_PER_STEP - 1) or { '' }
    for _, shape in ipairs(shapes) do
        call('UNLINK', sw.work_key(q, class, shape))
        call('ZREM', q.prefix .. 'work:' .. class, shape)
    end
    return #shapes < LANES_PER_STEP
end

-- A step for the first class that has appeared or gone. Returns whether there is more to do.
function sw.step_classes(q)
    local key = q.prefix .. 'class_work'
    local kind, class = match(call('LINDEX', key, 0) or '', '^(%a+) (.*)$')
    if not kind then return false end
    local is_add = kind == 'add'
    local limit = LANES_PER_STEP
    if not is_add then limit = math.max(1, math.floor(PAIRS_PER_STEP / #classes_of(q))) end
    local cursor = call('HGET', q.config_key, 'class_cursor')
    local lanes = derived('ZRANGEBYLEX', q.prefix .. 'lane_names', cursor and '(' .. cursor or '-', '+', 'LIMIT', 0, limit)
    for _, lane in ipairs(lanes) do
        if sw.serves(class, lane) then
            if not is_add then
                if not sw.is_served(q, lane) then derived('ZADD', q.prefix .. 'unserved', 0, lane) end
            else
                derived('ZREM', q.prefix .. 'unserved', lane)
                local bound = derived('ZSCORE', q.lanes_key, lane)
                if bound then add_to_class(q, class, lane, bound) end
            end
        end
    end
    if #lanes == limit then
        call('HSET', q.config_key, 'class_cursor', lanes[limit])
    elseif is_add or delete_index(q, class) then
        call('LPOP', key)
        call('HDEL', q.config_key, 'class_cursor')
    end
    return call('EXISTS', key) == 1
end

-- How many pending tasks stand neither in `pending` nor in `held`: in lanes, waiting for dependencies, or about to come into
-- line with their batch.
local function elsewhere(q)
    local total = 0
    local counts = call('HMGET', q.stats_key, 'opening', 'in_lanes_critical', 'in_lanes_high', 'in_lanes_normal',
        'in_lanes_low')
    if q.has_holds then total = call('ZCARD', q.prefix .. 'waiting') + (tonumber(counts[1] or 0)) end
    if q.has_lanes then
        for i = 2, 5 do total = total + tonumber(counts[i] or 0) end
        -- With aging the counters have all that stands in line.
        if q.aging_ms > 0 then total = total - call('ZCARD', q.pending_key) end
    end
    return total
end

-- How many pending tasks the queue has.
--   none_held   it is known that `held` is empty
function sw.length(q, none_held)
    local length = call('ZCARD', q.pending_key)
    sw.know('pending')
    if not none_held then length = length + call('ZCARD', q.held_key) end
    if q.has_holds or q.has_lanes then length = length + elsewhere(q) end
    return length
end
