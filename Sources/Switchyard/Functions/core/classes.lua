-- The classes of the registered workers, and the lanes that none of them serves.

-- Limits on the lanes of one step, and on the pairs of lane and class that it checks; the last lane may exceed the
-- second.
local LANES_PER_STEP, PAIRS_PER_STEP = 150, 1000

-- The number of pairs of lane and class checked since this was last set to 0.
local decided = 0

-- Returns the sorted classes of the registered workers, and '' (workers without labels and capacity). Cached until
-- the hash `classes` changes, which the field classes_version of `config` shows.
local function classes_of(q)
    local key = (q.instance or '') .. ' ' .. q.classes_version
    if q.classes_key == key then return q.classes end
    q.classes = call('HKEYS', q.prefix .. 'classes')
    q.classes[#q.classes + 1] = ''
    table.sort(q.classes)
    q.classes_with = {}
    for _, class in ipairs(q.classes) do
        for label in pairs(sw.parse_name(class).labels) do
            local list = q.classes_with[label]
            if not list then
                list = {}
                q.classes_with[label] = list
            end
            list[#list + 1] = class
        end
    end
    q.classes_key = key
    return q.classes
end
sw.classes_of = classes_of

-- Returns a sorted list that contains all classes that serve `lane`: if the lane requires labels, the classes with
-- the rarest of these.
local function candidates(q, lane)
    local found = classes_of(q)
    for _, need in ipairs(sw.parse_name(lane).needs) do
        if not need.negated then
            local list = q.classes_with[need.key]
            if not list then return {} end
            if #list < #found then found = list end
        end
    end
    return found
end

-- Returns the classes that serve `lane` ('': tasks without a lane), sorted.
function sw.classes_serving(q, lane)
    local found = {}
    for _, class in ipairs(candidates(q, lane)) do
        if sw.could_serve(class, lane) then found[#found + 1] = class end
    end
    return found
end

-- Whether the queue has workers of class ''. The list of classes always contains ''.
local function has_classless_workers(q)
    return call('ZCARD', q.prefix .. 'workers') > call('HLEN', q.prefix .. 'class')
end
sw.has_classless_workers = has_classless_workers

-- Whether any registered worker could ever run tasks of `lane` ('': tasks without a lane).
function sw.is_served(q, lane)
    for _, class in ipairs(candidates(q, lane)) do
        decided = decided + 1
        if sw.could_serve(class, lane) and (class ~= '' or has_classless_workers(q)) then return true end
    end
    return false
end

-- Notes that a class has appeared or disappeared.
local function note_change(q)
    sw.set_config(q, 'classes_version', sw.digits(q.classes_version + 1))
end

-- Called after a worker is registered or forgotten, when its class and the set of workers are updated.
--   had   whether the queue had workers of class '' before
function sw.settle_classes(q, had)
    if not q.has_lanes then return end
    if had ~= has_classless_workers(q) then note_change(q) end
    sw.step_served(q)
end

-- Records the class of a worker that registers. '' is the class without labels, capacity and restriction.
function sw.join_class(q, worker, class)
    local before = call('HGET', q.prefix .. 'class', worker) or ''
    if before == class then return end
    sw.leave_class(q, worker)
    if class ~= '' then
        call('HSET', q.prefix .. 'class', worker, class)
        if sw.increase(q.prefix .. 'classes', class, 1) == 1 then note_change(q) end
    end
end

function sw.leave_class(q, worker)
    local class = call('HGET', q.prefix .. 'class', worker)
    if class then
        call('HDEL', q.prefix .. 'class', worker)
        if sw.increase(q.prefix .. 'classes', class, -1) <= 0 then
            call('HDEL', q.prefix .. 'classes', class)
            note_change(q)
        end
    end
    sw.unreserve_worker(q, worker)
end

-- Records in `unserved` whether any class of workers serves the lane.
function sw.note_served(q, lane)
    if sw.is_served(q, lane) then
        sw.derived('ZREM', q.prefix .. 'unserved', lane)
    else
        sw.derived('ZADD', q.prefix .. 'unserved', 0, lane)
    end
end

-- Adds a lane to `unserved` if no class of workers serves it.
function sw.note_unserved(q, lane)
    if not sw.is_served(q, lane) then sw.derived('ZADD', q.prefix .. 'unserved', 0, lane) end
end

-- After classes have appeared or disappeared, does one bounded step of a pass over the lanes that corrects
-- `unserved`, which only statistics read. Two fields of `config` keep the progress: served_version is the version of
-- the classes for which `unserved` is correct; served_pass is the version with which the present pass began, and the
-- last lane that it has checked. Returns whether more steps are needed.
function sw.step_served(q)
    local v = call('HMGET', q.config_key, 'served_version', 'served_pass')
    local now = sw.digits(q.classes_version)
    if (v[1] or '0') == now then return false end
    local version, from = match(v[2] or '', '^(%d+) (.*)$')
    version, from = version or now, from or ''
    local lanes = sw.derived('ZRANGEBYLEX', q.prefix .. 'lane_names', from == '' and '-' or '(' .. from, '+',
        'LIMIT', 0, LANES_PER_STEP)
    local done = 0
    decided = 0
    while done < #lanes and decided < PAIRS_PER_STEP do
        done = done + 1
        sw.note_served(q, lanes[done])
    end
    if done == LANES_PER_STEP or done < #lanes then
        call('HSET', q.config_key, 'served_pass', version .. ' ' .. lanes[done])
        return true
    end
    call('HSET', q.config_key, 'served_version', version)
    call('HDEL', q.config_key, 'served_pass')
    return version ~= now
end
