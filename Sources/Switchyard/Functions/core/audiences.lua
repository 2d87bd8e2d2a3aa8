-- Audiences: the classes of workers that serve a lane. There are few, so they are remembered, and brought up to date
-- by what has changed of the classes. Lanes with the same audience and shape are a group (lane_index.lua), named by a
-- digest of the audience and the shape: "1f3870be274f/+cpu=2".

-- What is remembered of a queue's audiences is begun anew when there is so much of it.
local LANES_REMEMBERED, CHANGES_REMEMBERED = 5000, 500

-- How many pairs of a lane and a class were decided or written since it was last set to 0.
sw.pairs_decided = 0

local function forget_audiences(q)
    q.audiences, q.audience_of, q.audiences_count, q.class_changes = {}, {}, 0, {}
end

-- The classes of the registered workers, in order, and '' (workers without labels and capacity). Cached until the
-- hash `classes` changes, which the setting classes_version tells. What has changed is noted, for the audiences that
-- are remembered.
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
        sw.pairs_decided = sw.pairs_decided + #list
        found = audience_of_list(q, list)
        audience[memo] = found
    end
    return found
end

-- The audience of `lane` ('': of tasks without one): its classes in order, and its name.
local function audience_of(q, lane)
    local classes = classes_of(q)
    local changes, known = q.class_changes, q.audience_of[lane]
    if not known then
        local list = {}
        for _, class in ipairs(classes) do
            if sw.could_serve(class, lane) then list[#list + 1] = class end
        end
        sw.pairs_decided = sw.pairs_decided + #classes
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
        sw.pairs_decided = sw.pairs_decided + 1
    end
    return known[1]
end

sw.changed_audience, sw.audience_of = changed, audience_of

-- Whether any registered worker could ever run tasks of `lane` ('': those without one).
function sw.is_served(q, lane)
    for _, class in ipairs(audience_of(q, lane).classes) do
        -- Class '' is always in the list; it has workers if some are in no other class.
        if class ~= '' or call('ZCARD', q.prefix .. 'workers') > call('HLEN', q.prefix .. 'class') then return true end
    end
    return false
end

-- The group of the lanes with this audience and the shape of `lane`, or nil if it is nobody.
local function group_in(audience, lane)
    return audience.name and audience.name .. '/' .. sw.parse_name(lane).shape or nil
end
sw.group_in = group_in

-- The group of a lane, or nil if it has no audience.
function sw.group_of(q, lane) return group_in(audience_of(q, lane), lane) end

-- The shape of the lanes of a group.
function sw.shape_of(group) return sub(group, 14) end

function sw.work_key(q, group) return q.prefix .. 'work:' .. group end

function sw.serves_key(q, class) return q.prefix .. 'serves:' .. class end
