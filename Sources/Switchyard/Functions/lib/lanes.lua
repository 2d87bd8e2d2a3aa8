-- Lanes and classes. A lane is the pending tasks with the same requirements and the same resources; a class is the
-- workers with the same labels and the same capacity. Whether a class serves a lane is decided once for each pair of
-- them and remembered, so matching costs by their few kinds, not by tasks or workers (the idea is Nomad's computed
-- node class). Tasks that ask for nothing stand in `pending`, and a queue of only those never comes here.
--
-- The name of a lane, and of a class, is its own description, in canonical order:
--   lane   gpu,os=linux,zone!=eu,arch=arm|x86,+cpu=2,+memory_mb=4096
--   class  gpu,os=linux,zone=us,+cpu=8,+memory_mb=32768
-- A requirement is a label that must be there (gpu), have a value (os=linux), have one of several (arch=arm|x86), or not
-- have it (zone!=eu). A resource begins with +; an amount is a decimal number.

-- Remembered results of pure functions of names. They are forgotten all at once when there are many.
local parsed, matched, named, remembered = {}, {}, {}, 0
local REMEMBERED_MOST = 20000

local function remember(memo, key, value)
    remembered = remembered + 1
    if remembered > REMEMBERED_MOST then
        parsed, matched, named, remembered = {}, {}, {}, 0
        return value
    end
    memo[key] = value
    return value
end

local WORD = '^[A-Za-z0-9._:-]+$'

-- The tokens of a list, sorted and without repetition; or nil and what is wrong. `check` answers what is wrong with one.
local function canonical(name, text, check)
    local tokens, seen = {}, {}
    if #text > 1000 then return nil, name .. ': at most 1000 bytes, found ' .. #text end
    for token in string.gmatch(text, '[^,]+') do
        local problem = check(token)
        if problem then return nil, name .. ': ' .. problem .. ', found ' .. sw.shown(token) end
        if not seen[token] then
            seen[token] = true
            tokens[#tokens + 1] = token
        end
    end
    table.sort(tokens)
    return tokens
end

-- `a|b` in canonical order, or nil when one of them is no word.
local function values_of(text)
    local values = {}
    for value in string.gmatch(text .. '|', '([^|]*)|') do
        if not string.find(value, WORD) then return nil end
        values[#values + 1] = value
    end
    return values
end

local function check_requirement(token)
    local key, value = string.match(token, '^([^=!]+)!?=(.+)$')
    if not string.find(key or token, WORD) or (key and not values_of(value)) then
        return 'expected label, label=value, label=one|other or label!=value'
    end
end

local function check_label(token)
    local key, value = string.match(token, '^([^=]+)=(.+)$')
    if not string.find(key or token, WORD) or (value and not string.find(value, WORD)) then
        return 'expected label or label=value'
    end
end

local function check_resource(token)
    local name, amount = string.match(token, '^([^=]+)=(%d+%.?%d*)$')
    if not name or not string.find(name, WORD) or #amount > 15 then
        return 'expected name=amount, such as cpu=0.5'
    end
end

-- The resources of a task or worker as tokens (+cpu=2), from its arguments cpu, memory_mb and resources.
local function resource_tokens(args)
    local parts = {}
    if args.cpu then parts[#parts + 1] = 'cpu=' .. args.cpu end
    if args.memory_mb then parts[#parts + 1] = 'memory_mb=' .. args.memory_mb end
    if args.resources then parts[#parts + 1] = args.resources end
    local tokens, problem = canonical('resources', table.concat(parts, ','), check_resource)
    if not tokens then return nil, problem end
    local names = {}
    local kept = {}
    for _, token in ipairs(tokens) do
        local name, amount = string.match(token, '^([^=]+)=(.+)$')
        if names[name] then return nil, 'resources: ' .. name .. ' is given twice' end
        names[name] = true
        if tonumber(amount) > 0 then
            kept[#kept + 1] = '+' .. name .. '=' .. string.format('%.10g', tonumber(amount))
        end
    end
    return kept
end

local function name_of(name, labels, args, check)
    local tokens, problem = canonical(name, labels or '', check)
    if not tokens then return nil, problem end
    local resources
    resources, problem = resource_tokens(args)
    if not resources then return nil, problem end
    for _, token in ipairs(resources) do tokens[#tokens + 1] = token end
    return table.concat(tokens, ',')
end

-- The lane of a task, from its arguments requires, cpu, memory_mb, resources. '' asks for nothing. Or nil and what is wrong.
function sw.lane_of(t)
    if not (t.requires or t.cpu or t.memory_mb or t.resources) then return '' end
    local asked = (t.requires or '') .. ' ' .. (t.cpu or '') .. ' ' .. (t.memory_mb or '') .. ' ' .. (t.resources or '')
    local known = named[asked]
    if known then return known end
    local lane, problem = name_of('requires', t.requires, t, check_requirement)
    if not lane then return nil, problem end
    return remember(named, asked, lane)
end

-- The class of a worker, from its arguments labels, cpu, memory_mb, resources. Or nil and what is wrong.
function sw.class_of(head)
    return name_of('labels', head.labels, head, check_label)
end

-- A lane's or class's name taken apart: labels (label → value, or true), needs (those of a lane: key, values, negated),
-- amounts (resource → number).
local function parse(name)
    local known = parsed[name]
    if known then return known end
    local result = { labels = {}, needs = {}, amounts = {} }
    for token in string.gmatch(name, '[^,]+') do
        local resource, amount = string.match(token, '^%+([^=]+)=(.+)$')
        if resource then
            result.amounts[resource] = tonumber(amount)
        else
            local key, negation, value = string.match(token, '^([^=!]+)(!?)=(.+)$')
            if key then
                result.labels[key] = value
                result.needs[#result.needs + 1] = { key = key, negated = negation == '!', values = values_of(value) }
            else
                result.labels[token] = true
                result.needs[#result.needs + 1] = { key = token }
            end
        end
    end
    return remember(parsed, name, result)
end

local function satisfied(need, labels)
    local value = labels[need.key]
    if not need.values then return value ~= nil end
    local among = false
    for _, wanted in ipairs(need.values) do among = among or wanted == value end
    return among ~= need.negated
end

-- Whether workers of `class` could ever run tasks of `lane`: they have the labels, and an empty one has the room.
function sw.serves(class, lane)
    if lane == '' then return true end
    local lanes = matched[class]
    if not lanes then lanes = remember(matched, class, {}) end
    local known = lanes[lane]
    if known ~= nil then return known end
    local worker, task = parse(class), parse(lane)
    local serves = true
    for _, need in ipairs(task.needs) do serves = serves and satisfied(need, worker.labels) end
    for resource, amount in pairs(task.amounts) do
        serves = serves and amount <= (worker.amounts[resource] or 0)
    end
    return remember(lanes, lane, serves)
end

-- Whether workers of `class` have capacity for anything but tasks that need none.
function sw.has_amounts(class)
    return next(parse(class).amounts) ~= nil
end

-- What is left of a worker's capacity under the attempts that it holds. Nothing is counted up and down: what is
-- reserved is read off the leases, so it cannot leak, however an attempt ends.
--   lanes   the lanes of the held attempts
function sw.room(class, lanes)
    local room = {}
    for resource, amount in pairs(parse(class).amounts) do room[resource] = amount end
    for _, lane in ipairs(lanes) do sw.take_room(room, lane) end
    return room
end

function sw.take_room(room, lane)
    for resource, amount in pairs(parse(lane).amounts) do room[resource] = (room[resource] or 0) - amount end
end

-- Sums of fractions such as 0.1 are not exact in binary.
local TOLERANCE = 1e-9

function sw.has_room(room, lane)
    for resource, amount in pairs(parse(lane).amounts) do
        if amount > (room[resource] or 0) + TOLERANCE then return false end
    end
    return true
end

-- The index `lanes` holds, for each lane that has tasks in line, the score of the first. Called by commit where tasks come into
-- line.
--   heads   by lane, the least score of those that came
function sw.commit_heads(q, heads)
    for lane, score in pairs(heads) do call('ZADD', q.prefix .. 'lanes', 'LT', score, lane) end
end

-- Called by commit where tasks leave their lines.
function sw.commit_lanes(q, lanes)
    for lane in pairs(lanes) do
        local first = call('ZRANGE', q.prefix .. sw.line_of(lane), 0, 0, 'WITHSCORES')
        if first[1] then
            call('ZADD', q.prefix .. 'lanes', first[2], lane)
        else
            call('ZREM', q.prefix .. 'lanes', lane)
        end
    end
end

-- How many pending tasks stand neither in `pending` nor in `held`: in lanes, blocked, or waiting for dependencies.
local function elsewhere(q)
    local total = 0
    if q.has_holds then
        for _, index in ipairs({ 'waiting', 'blocked', 'staged' }) do
            total = total + call('ZCARD', q.prefix .. index)
        end
    end
    if q.has_lanes then
        for _, n in ipairs(call('HMGET', q.prefix .. 'stats', 'in_lanes_critical', 'in_lanes_high',
            'in_lanes_normal', 'in_lanes_low')) do
            total = total + tonumber(n or 0)
        end
        -- With aging the counters have all that stands in line.
        if q.aging_ms > 0 then total = total - call('ZCARD', q.prefix .. 'pending') end
    end
    return total
end

-- How many pending tasks the queue has.
--   none_held   it is known that `held` is empty
function sw.length(q, none_held)
    local length = call('ZCARD', q.pending_key)
    if not none_held then length = length + call('ZCARD', q.held_key) end
    if q.has_holds or q.has_lanes then length = length + elsewhere(q) end
    return length
end

-- The classes of the registered workers, each with its number of workers, in pairs.
function sw.classes(q)
    return call('HGETALL', q.prefix .. 'classes')
end

-- Whether any registered worker could ever run tasks of `lane`.
function sw.is_served(q, lane)
    local classes = sw.classes(q)
    for i = 1, #classes, 2 do
        if sw.serves(classes[i], lane) then return true end
    end
    -- Workers without labels and capacity are of no class; they have not the labels that a lane does not want (zone!=eu).
    return sw.serves('', lane) and call('ZCARD', q.prefix .. 'workers') > call('HLEN', q.prefix .. 'class')
end
