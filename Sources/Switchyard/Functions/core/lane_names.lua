-- The names of lanes and classes, and which class serves which lane. A lane is the pending tasks with the same
-- requirements, resources and limits; a class is the workers with the same labels and capacity. Whether a class
-- serves a lane is decided once for each pair and cached, so the cost of matching depends on the number of lanes and
-- classes, not on the number of tasks or workers (the idea is Nomad's computed node class). Tasks without
-- requirements, resources and limits have no lane and are in `pending`.
--
-- The name of a lane or of a class is its description in canonical order:
--   lane   gpu,os=linux,zone!=eu,arch=arm|x86,+cpu=2,+memory_mb=4096,@deploy=1,~api=10/5
--   class  gpu,os=linux,zone=us,+cpu=8,+memory_mb=32768,!gpu
-- A requirement is a label that the worker must have (gpu), a value of a label (os=linux), one of several values
-- (arch=arm|x86), or a value that the label must not have (zone!=eu). A resource begins with "+"; its amount is a
-- decimal number. The rest are the gates of the lane: @key=limit is the maximum number of running tasks of the key,
-- and ~key=rate/burst is the maximum number that start in a second, after a burst (limits.lua). In a class, !label
-- restricts its workers to tasks that require one of these labels.

-- Cached results of pure functions of names, and of pairs of names. A cache that gets too large is emptied.
local parsed, named, names_remembered = {}, {}, 0
local matched, pairs_remembered = {}, 0
local REMEMBERED_MOST = 20000

local function remember(memo, key, value)
    names_remembered = names_remembered + 1
    if names_remembered > REMEMBERED_MOST then
        parsed, named, names_remembered = {}, {}, 0
        return value
    end
    memo[key] = value
    return value
end

local WORD = '^[A-Za-z0-9._:-]+$'

-- Returns the tokens of a list, sorted and without repetition; or nil and the error text. `check` returns the error
-- text of a token, or nil.
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

-- Returns the values of `a|b`, or nil if one of them is not a word.
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

-- Returns the resources of a task or worker as tokens (+cpu=2), from its arguments cpu, memory_mb and resources.
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

-- Escapes a key that a caller chose for the name of a lane: percent-encodes the characters that have a meaning there.
local function escaped(key)
    return (string.gsub(key, '[%%,= ]', function(character) return string.format('%%%02X', byte(character)) end))
end

local function unescaped(text)
    return (string.gsub(text, '%%(%x%x)', function(code) return string.char(tonumber(code, 16)) end))
end

-- Returns the gates of a task as tokens.
local function gate_tokens(t)
    local tokens = {}
    if t.concurrency_key then
        tokens[1] = '@' .. escaped(t.concurrency_key) .. '='
            .. string.format('%.0f', tonumber(t.concurrency_limit or 1))
    end
    if t.rate_key then
        tokens[#tokens + 1] = '~' .. escaped(t.rate_key) .. '='
            .. string.format('%.10g', tonumber(t.rate_per_second or 1))
            .. '/' .. string.format('%.0f', tonumber(t.rate_burst or 1))
    end
    return tokens
end

-- Returns the lane of a task, from its arguments requires, cpu, memory_mb, resources, concurrency_key,
-- concurrency_limit, rate_key, rate_per_second and rate_burst. '' means no lane. Returns nil and the error text if
-- one is invalid.
function sw.lane_of(t)
    local is_limited = t.concurrency_key or t.rate_key
    if not (t.requires or t.cpu or t.memory_mb or t.resources or is_limited) then return '' end
    local asked = (t.requires or '') .. ' ' .. (t.cpu or '') .. ' ' .. (t.memory_mb or '') .. ' ' .. (t.resources or '')
    if is_limited then asked = asked .. ' ' .. table.concat(gate_tokens(t), ',') end
    local known = named[asked]
    if known then return known end
    local lane, problem = name_of('requires', t.requires, t, check_requirement)
    if not lane then return nil, problem end
    for _, token in ipairs(gate_tokens(t)) do lane = lane == '' and token or lane .. ',' .. token end
    return remember(named, asked, lane)
end

local parse

-- Returns the class of a worker, from its arguments labels, cpu, memory_mb, resources and only; or nil and the error
-- text.
function sw.class_of(head)
    local class, problem = name_of('labels', head.labels, head, check_label)
    if not class or not head.only or head.only == '' then return class, problem end
    local only
    only, problem = canonical('only', head.only, function(token)
        if not string.find(token, WORD) then return 'expected a label' end
    end)
    if not only then return nil, problem end
    local labels = parse(class).labels
    for _, label in ipairs(only) do
        if not labels[label] then
            return nil, 'only: expected labels of the worker, found ' .. sw.shown(label) .. ', which it does not have'
        end
        class = class .. ',!' .. label
    end
    return class
end

-- Parses a name. Returns a table with labels (label → value, or true), needs (of a lane: key, values, negated),
-- amounts (resource → number), has_amounts, shape (the tokens of its amounts), base (the name without gates),
-- has_gates, concurrency (key, limit), rate (key, interval in µs, burst), only (a set of labels).
function parse(name)
    local known = parsed[name]
    if known then return known end
    local result = { labels = {}, needs = {}, amounts = {}, has_amounts = false }
    local shape, base = {}, {}
    for token in string.gmatch(name, '[^,]+') do
        local kind = sub(token, 1, 1)
        if kind == '@' then
            local key, limit = string.match(token, '^@(.*)=(%d+)$')
            result.concurrency = { key = unescaped(key), limit = tonumber(limit) }
        elseif kind == '~' then
            local key, rate, burst = string.match(token, '^~(.*)=([^/]+)/(%d+)$')
            result.rate = { key = unescaped(key), interval = 1000000 / tonumber(rate), burst = tonumber(burst) }
        elseif kind == '!' then
            result.only = result.only or {}
            result.only[sub(token, 2)] = true
        else
            base[#base + 1] = token
            local resource, amount = string.match(token, '^%+([^=]+)=(.+)$')
            local key, negation, value = string.match(token, '^([^=!]+)(!?)=(.+)$')
            if resource then
                result.amounts[resource] = tonumber(amount)
                result.has_amounts = true
                shape[#shape + 1] = token
            elseif key then
                result.labels[key] = value
                result.needs[#result.needs + 1] = { key = key, negated = negation == '!', values = values_of(value) }
            else
                result.labels[token] = true
                result.needs[#result.needs + 1] = { key = token }
            end
        end
    end
    result.shape, result.base = table.concat(shape, ','), table.concat(base, ',')
    result.has_gates = (result.concurrency or result.rate) ~= nil
    return remember(parsed, name, result)
end
sw.parse_name = parse

-- Whether a lane (false: none) has a gate.
function sw.has_gates(lane)
    return lane and parse(lane).has_gates
end

local function satisfied(need, labels)
    local value, values = labels[need.key], need.values
    if not values then return value ~= nil end
    if not values[2] then return (value == values[1]) ~= need.negated end
    local among = false
    for _, wanted in ipairs(need.values) do among = among or wanted == value end
    return among ~= need.negated
end

-- Whether the workers of a class with `only` may take a task with these needs.
local function is_wanted(only, needs)
    for _, need in ipairs(needs) do
        if not need.negated and only[need.key] then return true end
    end
    return false
end

-- Whether workers of `class` could ever run tasks of `lane` ('': tasks without a lane): they have the labels, and
-- enough room while they run nothing. Not cached.
function sw.could_serve(class, lane)
    local worker, task = parse(class), parse(lane)
    if worker.only and not is_wanted(worker.only, task.needs) then return false end
    local needs = task.needs
    for i = 1, #needs do
        if not satisfied(needs[i], worker.labels) then return false end
    end
    for resource, amount in pairs(task.amounts) do
        if amount > (worker.amounts[resource] or 0) then return false end
    end
    return true
end

-- Returns what workers of `class` lack to run tasks of `lane`, as texts such as "lacks cuda=13, has 12"; and a
-- measure of how much that is: a label with another value is nearer than none.
function sw.misses(class, lane)
    local worker, task, texts, much = parse(class), parse(lane), {}, 0
    local function miss(text, has)
        texts[#texts + 1] = text .. (has and ', has ' .. has or '')
        much = much + (has and 2 or 3)
    end
    if worker.only and not is_wanted(worker.only, task.needs) then
        local only = {}
        for label in pairs(worker.only) do only[#only + 1] = label end
        table.sort(only)
        miss('takes only tasks that require ' .. table.concat(only, ' or '))
    end
    for _, need in ipairs(task.needs) do
        local value = worker.labels[need.key]
        if not satisfied(need, worker.labels) then
            local token = need.key
            if need.values then token = token .. (need.negated and '!=' or '=') .. table.concat(need.values, '|') end
            miss('lacks ' .. token, value ~= true and value or value and need.key)
        end
    end
    local names = {}
    for resource in pairs(task.amounts) do names[#names + 1] = resource end
    table.sort(names)
    for _, resource in ipairs(names) do
        local wanted, has = task.amounts[resource], worker.amounts[resource]
        if wanted > (has or 0) then
            miss('lacks ' .. resource .. '=' .. string.format('%.10g', wanted),
                has and string.format('%.10g', has))
        end
    end
    return texts, much
end

-- The same as could_serve, cached.
function sw.serves(class, lane)
    lane = parse(lane).base
    local lanes = matched[class]
    local known = lanes and lanes[lane]
    if known ~= nil then return known end
    if pairs_remembered >= REMEMBERED_MOST then matched, pairs_remembered, lanes = {}, 0, nil end
    if not lanes then
        lanes = {}
        matched[class] = lanes
    end
    pairs_remembered = pairs_remembered + 1
    lanes[lane] = sw.could_serve(class, lane)
    return lanes[lane]
end

-- Whether workers of `class` offer resources, or tasks of a lane need some.
function sw.has_amounts(class)
    return parse(class).has_amounts
end

-- Returns what is left of a worker's capacity beside its attempts. No counter is kept: the room is computed from the
-- leases, so it cannot leak, however an attempt ends.
--   lanes   the lanes of its attempts
function sw.room(class, lanes)
    local room = {}
    for resource, amount in pairs(parse(class).amounts) do room[resource] = amount end
    for _, lane in ipairs(lanes) do sw.take_room(room, lane) end
    return room
end

function sw.take_room(room, lane)
    for resource, amount in pairs(parse(lane).amounts) do room[resource] = (room[resource] or 0) - amount end
end

function sw.give_room(room, lane)
    for resource, amount in pairs(parse(lane).amounts) do room[resource] = (room[resource] or 0) + amount end
end

-- Sums of fractions such as 0.1 are not exact in binary.
local TOLERANCE = 1e-9

-- Whether a task of `lane`, or of any lane with the same amounts, fits.
function sw.has_room(room, lane)
    for resource, amount in pairs(parse(lane).amounts) do
        if amount > (room[resource] or 0) + TOLERANCE then return false end
    end
    return true
end

-- Returns a room as text, such as "+cpu=2,+memory_mb=512". The order is canonical, so equal rooms have equal texts.
function sw.room_text(room)
    local tokens = {}
    for resource, left in pairs(room) do
        tokens[#tokens + 1] = '+' .. resource .. '=' .. string.format('%.6g', math.max(0, left))
    end
    table.sort(tokens)
    return table.concat(tokens, ',')
end
