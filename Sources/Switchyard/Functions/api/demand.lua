-- switchyard_demand: what autoscaling needs to know: how many tasks are ready in each lane, and how many workers there are of
-- each class and how busy. Looks at 1000 lanes and 1000 workers at most.
--
-- Keys        1: the queue's prefix
-- Arguments   class (the name of one that is to be listed also while no worker of it is registered)
-- Reply       two lists. 1: for each lane {its name ('': none), tasks in line, the classes of workers here that serve it…}.
--             2: for each class {its name ('': none), workers, slots, attempts held, draining workers}
-- Errors      BADREQUEST
local function demand(keys, args)
    local q, failure = sw.open(keys)
    if not q then return failure end
    local head, tasks = sw.parse(args)
    if not head then return tasks end
    if head.class and #head.class > 2000 then return sw.bad('class: at most 2000 bytes, found ' .. #head.class) end
    local classes, names = {}, {}
    if head.class then
        classes[head.class] = { head.class, 0, 0, 0, 0 }
        names[1] = head.class
    end
    local workers = call('ZRANGE', q.prefix .. 'workers', 0, 999)
    for _, worker in ipairs(workers) do
        local v = call('HMGET', q.prefix .. 'worker:' .. worker, 'slots', 'draining')
        local name = q.has_lanes and call('HGET', q.prefix .. 'class', worker) or ''
        local class = classes[name]
        if not class then
            class = { name, 0, 0, 0, 0 }
            classes[name] = class
            names[#names + 1] = name
        end
        class[2] = class[2] + 1
        class[3] = class[3] + tonumber(v[1] or 0)
        class[4] = class[4] + sw.busy_slots(q, worker)
        if v[2] == '1' then class[5] = class[5] + 1 end
    end
    table.sort(names)
    local lanes, by_class = {}, {}
    local function add(lane)
        local entry = { lane, call('ZCARD', q.prefix .. sw.line_of(lane ~= '' and lane or nil)) }
        for _, name in ipairs(names) do
            if sw.serves(name, lane) then entry[#entry + 1] = name end
        end
        lanes[#lanes + 1] = entry
    end
    add('')
    for _, lane in ipairs(q.has_lanes and call('ZRANGE', q.prefix .. 'lanes', 0, 999) or {}) do add(lane) end
    for i, name in ipairs(names) do by_class[i] = classes[name] end
    return { lanes, by_class }
end

redis.register_function{ function_name = 'switchyard_demand', flags = { 'no-writes' }, callback = demand }
