-- Which lanes have work, for whom. A lane with tasks in line is open (in `lanes`) or its gate is closed (in `closed`);
-- `lane_names` has both, and `unserved` those that no class of workers serves.
--
-- The classes that serve a lane are its audience. Open lanes with the same audience and shape (what their tasks ask of a worker's
-- resources) are a group, so what a call writes does not grow with lanes times classes:
--   work:<group>     lanes of a group, with the scores that they have in `lanes`
--   work             groups with lanes
--   serves:<class>   groups of a class
-- All scores are lower bounds of the score of the first task. A bound is lowered when a more urgent task enters the queue, and
-- raised by the pull that looks at it (chooser.lua). The score of a group in `work` is the highest of its bounds in serves:<class>,
-- and none is above it: a task that stands behind it changes nothing of any class.
--
-- When a class appears or goes, lanes move to other groups in bounded steps. One that was left behind moves when it is looked at.
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

-- Lanes, and pairs of a lane and a class that are decided or written, in one step for a class that has appeared or gone.
local LANES_PER_STEP, PAIRS_PER_STEP = 150, 2000

-- What is remembered of a queue's audiences is begun anew when there is so much of it.
local LANES_REMEMBERED, CHANGES_REMEMBERED = 5000, 500

local pairs_decided = 0

local function forget_audiences(q)
    q.audiences, q.audience_of, q.audiences_count, q.class_changes = {}, {}, 0, {}
end

-- The classes of the registered workers, in order, and '' (workers without labels and capacity). Cached until the hash `classes`
-- changes, which the setting classes_version tells. What has changed is noted, for the audiences that are remembered.
local function classes_of(q)
    local key = (q.instance or '') .. ' ' .. q.classes_version
    if q.classes_key == key then return q.classes end
    local before, is_same_queue = q.classes, q.instance and q.classes_instance == q.instance
    q.classes = call('HKEYS', q.prefix .. 'classes')
    q.classes[#q.classes + 1] = ''
    table.sort(q.classes)
    q.classes_key, q.classes_instance = key, q.instance
    if not is_same_queue or #q.class_changes > CHANGES_REMEMBERED then
        forget_audiences(q)
        return q.classes
    end
    local left = {}
    for _, class in ipairs(before) do left[class] = true end
    for _, class in ipairs(q.classes) do
        if left[class] then left[class] = nil else q.class_changes[#q.class_changes + 1] = { class, true } end
    end
    for class in pairs(left) do q.class_changes[#q.class_changes + 1] = { class, false } end
    return q.classes
end
sw.classes_of = classes_of

-- The audience of a sorted list of classes: there is one table for each. `name` is false if it is nobody.
local function audience_of_list(q, list)
    -- The end tells nobody from class ''.
    local key = table.concat(list, ' ') .. (#list > 0 and ' ' or '')
    local found = q.audiences[key]
    if not found then
        found = { classes = list, name = #list > 0 and sub(redis.sha1hex(key), 1, 12) or false }
        q.audiences[key] = found
    end
    return found
end

-- The audience with one class more, or less.
local function changed(q, audience, class, is_more)
    local memo = (is_more and '+' or '-') .. class
    local found = audience[memo]
    if not found then
        local list = {}
        for _, other in ipairs(audience.classes) do
            if other ~= class then list[#list + 1] = other end
        end
        if is_more then list[#list + 1] = class end
        table.sort(list)
        pairs_decided = pairs_decided + #list
        found = audience_of_list(q, list)
        audience[memo] = found
    end
    return found
end

-- The classes that serve `lane`.
local function audience_of(q, lane)
    local classes = classes_of(q)
    local changes, known = q.class_changes, q.audience_of[lane]
    if not known then
        local list = {}
        for _, class in ipairs(classes) do
            if sw.could_serve(class, lane) then list[#list + 1] = class end
        end
        pairs_decided = pairs_decided + #classes
        if q.audiences_count >= LANES_REMEMBERED then forget_audiences(q) end
        known = { audience_of_list(q, list), #q.class_changes }
        q.audience_of[lane] = known
        q.audiences_count = q.audiences_count + 1
        return known[1]
    end
    for i = known[2] + 1, #changes do
        local class, is_more = changes[i][1], changes[i][2]
        if sw.could_serve(class, lane) then known[1] = changed(q, known[1], class, is_more) end
        known[2] = i
        pairs_decided = pairs_decided + 1
    end
    return known[1]
end

-- The classes that serve `lane` ('': tasks without one), in order.
function sw.audience_of(q, lane) return audience_of(q, lane).classes end

-- Whether any registered worker could ever run tasks of `lane` ('': those without one).
function sw.is_served(q, lane)
    for _, class in ipairs(audience_of(q, lane).classes) do
        -- Class '' is always in the list; it has workers if some are in no other class.
        if class ~= '' or call('ZCARD', q.prefix .. 'workers') > call('HLEN', q.prefix .. 'class') then return true end
    end
    return false
end

local function group_in(audience, lane)
    return audience.name and audience.name .. '/' .. sw.parse_name(lane).shape or nil
end

-- The group of a lane, or nil if it has no audience.
function sw.group_of(q, lane) return group_in(audience_of(q, lane), lane) end

-- The shape of the lanes of a group.
function sw.shape_of(group) return sub(group, 14) end

function sw.work_key(q, group) return q.prefix .. 'work:' .. group end

function sw.serves_key(q, class) return q.prefix .. 'serves:' .. class end

-- Notes a lane that no class of workers serves.
local function note_unserved(q, lane)
    if not sw.is_served(q, lane) then derived('ZADD', q.prefix .. 'unserved', 0, lane) end
end

-- Puts `lane` into its group, with `score` of its first task.
--   is_sure   also tells the classes that should know of the group
local function add_to_group(q, lane, score, is_sure)
    local audience = audience_of(q, lane)
    local group = group_in(audience, lane)
    if not group then return end
    derived('ZADD', sw.work_key(q, group), 'LT', score, lane)
    if derived('ZADD', q.prefix .. 'work', 'LT', 'CH', score, group) == 1 or is_sure then
        pairs_decided = pairs_decided + #audience.classes
        for _, class in ipairs(audience.classes) do derived('ZADD', sw.serves_key(q, class), 'LT', score, group) end
    end
end

local function remove_from_group(q, lane)
    local group = sw.group_of(q, lane)
    if group then derived('ZREM', sw.work_key(q, group), lane) end
end

-- Opens the lane, whose first task has `score`: workers may pull from it.
local function open(q, lane, score)
    if derived('ZADD', q.lanes_key, 'LT', 'CH', score, lane) == 1 then
        derived('ZADD', q.prefix .. 'lane_names', 0, lane)
        add_to_group(q, lane, score)
        note_unserved(q, lane)
    end
end

-- Closes the lane: its gate lets no task start. `due`: when it may (ms), or 0 if the end of a task tells.
local function close(q, lane, due)
    local count = call('ZCARD', q.prefix .. sw.line_of(lane))
    derived('ZREM', q.lanes_key, lane)
    remove_from_group(q, lane)
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
    if is_right and bound then add_to_group(q, lane, bound, true) end
    note_unserved(q, lane)
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

-- A class has appeared or gone: moves a lane that it serves to the group of its new audience.
local function change_group(q, lane, class, is_add)
    if is_add then derived('ZREM', q.prefix .. 'unserved', lane) else note_unserved(q, lane) end
    local bound = derived('ZSCORE', q.lanes_key, lane)
    if not bound then return end
    local former = group_in(changed(q, audience_of(q, lane), class, not is_add), lane)
    if former then derived('ZREM', sw.work_key(q, former), lane) end
    add_to_group(q, lane, bound)
end

-- Called by a pull that found `lane` in `group`, which is not its group any more.
function sw.correct_group(q, lane, group)
    derived('ZREM', sw.work_key(q, group), lane)
    local bound = derived('ZSCORE', q.lanes_key, lane)
    if bound then add_to_group(q, lane, bound) end
end

-- Forgets the groups of a class that has gone, as far as one step goes. They leave `work`, so that a lane that enters one tells all
-- of its classes, also this one when it comes back. Lanes that were left behind in one move. Returns whether all are forgotten.
local function forget_groups_of(q, class)
    local key = sw.serves_key(q, class)
    local groups, left = derived('ZRANGE', key, 0, LANES_PER_STEP - 1), LANES_PER_STEP
    for _, group in ipairs(groups) do
        local strays = derived('ZRANGE', sw.work_key(q, group), 0, left - 1)
        for _, lane in ipairs(strays) do sw.correct_group(q, lane, group) end
        left = left - #strays - 1
        if left <= 0 then return false end
        derived('ZREM', q.prefix .. 'work', group)
        derived('ZREM', key, group)
    end
    return #groups < LANES_PER_STEP
end

-- A step for the first class that has appeared or gone. Returns whether there is more to do.
function sw.step_classes(q)
    local key = q.prefix .. 'class_work'
    local kind, class = match(call('LINDEX', key, 0) or '', '^(%a+) (.*)$')
    if not kind then return false end
    local is_add = call('HEXISTS', q.prefix .. 'classes', class) == 1
    local cursor = call('HGET', q.config_key, 'class_cursor')
    local lanes = derived('ZRANGEBYLEX', q.prefix .. 'lane_names', cursor and '(' .. cursor or '-', '+', 'LIMIT', 0, LANES_PER_STEP)
    local done = 0
    pairs_decided = 0
    while done < #lanes and pairs_decided < PAIRS_PER_STEP do
        done = done + 1
        if sw.serves(class, lanes[done]) then change_group(q, lanes[done], class, is_add) end
    end
    if done == LANES_PER_STEP or done < #lanes then
        call('HSET', q.config_key, 'class_cursor', lanes[done])
        return true
    end
    if not is_add and not forget_groups_of(q, class) then return true end
    call('LPOP', key)
    call('HDEL', q.config_key, 'class_cursor')
    return call('EXISTS', key) == 1
end

-- Compares the lanes of `group` from `rank` on, `limit` at most, with `lanes`: those without work leave it, those of another
-- group move there. Returns the next rank (nil: the end).
function sw.check_group(q, group, rank, limit)
    local key, gone, left = sw.work_key(q, group), {}, 0
    local lanes = derived('ZRANGE', key, rank, rank + limit - 1)
    for _, lane in ipairs(lanes) do
        if not derived('ZSCORE', q.lanes_key, lane) then
            gone[#gone + 1] = lane
        elseif sw.group_of(q, lane) ~= group then
            sw.correct_group(q, lane, group)
        else
            left = left + 1
        end
    end
    if #gone > 0 then derived('ZREM', key, unpack(gone)) end
    if #lanes == limit then return rank + left end
    if call('EXISTS', key) == 0 then derived('ZREM', q.prefix .. 'work', group) end
end

-- Forgets the groups of a queue that has neither lanes nor classes, as far as one call goes. Returns whether all are gone.
function sw.drop_groups(q)
    local groups = derived('ZRANGE', q.prefix .. 'work', 0, LANES_PER_STEP - 1)
    for _, group in ipairs(groups) do
        call('UNLINK', sw.work_key(q, group))
        call('ZREM', q.prefix .. 'work', group)
    end
    if #groups == LANES_PER_STEP then return false end
    call('UNLINK', sw.serves_key(q, ''))
    return true
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
