-- switchyard_demand: returns a page of the data for autoscaling: how many tasks are ready in each lane, how many
-- workers each class has, and how busy they are. Callers add up the pages.
--
-- Keys        1: the queue's prefix, 2: its config
-- Arguments   class (the name of a class to match even while it has no registered worker), cursor (of the last reply;
--             default: the beginning)
-- Reply       three values. 1: for each lane {what its tasks require ('': nothing), tasks that may start, the classes
--             that serve it…}. 2: for each class of the workers of this page {its name ('': none), workers, slots,
--             leased attempts, draining or cordoned workers}. 3: the cursor of the next page ('' at the end)
-- Errors      BADREQUEST

local WORKERS_PER_PAGE = 200
local PAIRS_PER_PAGE = 1000

-- Adds a page of workers from `rank` on to `by_class`. Returns the next rank, or nil.
local function add_workers(q, rank, by_class)
    local classes, names = {}, {}
    local workers = call('ZRANGE', q.prefix .. 'workers', rank, rank + WORKERS_PER_PAGE - 1)
    for _, worker in ipairs(workers) do
        local v = call('HMGET', q.prefix .. 'worker:' .. worker, 'slots', 'draining', 'cordoned_at')
        local name = q.has_lanes and call('HGET', q.prefix .. 'class', worker) or ''
        local class = classes[name]
        if not class then
            class = { name, 0, 0, 0, 0 }
            classes[name] = class
            names[#names + 1] = name
        end
        class[2] = class[2] + 1
        class[3] = class[3] + sw.whole(v[1], 0)
        class[4] = class[4] + sw.busy_slots(q, worker)
        if v[2] == '1' or v[3] then class[5] = class[5] + 1 end
    end
    table.sort(names)
    for i, name in ipairs(names) do by_class[i] = classes[name] end
    return #workers == WORKERS_PER_PAGE and rank + WORKERS_PER_PAGE or nil
end

local function demand(keys, args)
    local q, failure = sw.open(keys)
    if not q then return failure end
    local head, tasks = sw.parse(args)
    if not head then return tasks end
    if head.class and #head.class > 2000 then return sw.bad('class: at most 2000 bytes, found ' .. #head.class) end
    local section, at = match(head.cursor or 'workers 0', '^(%a+) (.*)$')
    if section ~= 'workers' and section ~= 'lanes' or section == 'workers' and not tonumber(at) then
        return sw.bad('cursor: expected one that an earlier page gave, found ' .. sw.shown(head.cursor))
    end
    local lanes, by_class = {}, {}
    if section == 'workers' then
        local following = add_workers(q, tonumber(at), by_class)
        if following then return { lanes, by_class, 'workers ' .. following } end
    end
    local c, classes, expected = sw.changes(q), sw.classes_of(q), head.class
    local has_classless = sw.has_classless_workers(q)
    for _, class in ipairs(classes) do
        if class == expected and (class ~= '' or has_classless) then expected = nil end
    end
    local function add(lane, count)
        local entry = { lane == '' and '' or sw.parse_name(lane).base, count }
        for _, class in ipairs(sw.classes_serving(q, lane)) do
            if class ~= '' or has_classless then entry[#entry + 1] = class end
        end
        if expected and sw.could_serve(expected, lane) then entry[#entry + 1] = expected end
        lanes[#lanes + 1] = entry
    end
    if section == 'workers' then
        add('', call('ZCARD', q.pending_key))
        at = ''
    end
    if not q.has_lanes then return { lanes, by_class, '' } end
    local limit = math.max(1, math.floor(PAIRS_PER_PAGE / #classes))
    local found = call('ZRANGEBYLEX', q.prefix .. 'lane_names', at == '' and '-' or '(' .. at, '+', 'LIMIT', 0, limit)
    for _, lane in ipairs(found) do
        local count = call('ZCARD', q.prefix .. sw.line_of(lane))
        if sw.has_gates(lane) then count = math.min(count, sw.free_starts(c, lane)) end
        if count > 0 then add(lane, count) end
    end
    return { lanes, by_class, #found == limit and 'lanes ' .. found[limit] or '' }
end

redis.register_function{ function_name = 'switchyard_demand', flags = { 'no-writes' }, callback = demand }
