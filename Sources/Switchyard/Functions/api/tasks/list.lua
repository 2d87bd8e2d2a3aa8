-- switchyard_list: returns a page of tasks: first the live ones, then those in line, waiting and held ones, and ended
-- ones, the latest first. With a batch, they are in the order of the batch.
--
-- Keys        1: the queue's prefix, 2: its config
-- Arguments   state, priority, kind, repo, worker, batch (filters), limit (1 to 500, default 50), cursor (of an
--             earlier reply), longest (bytes: leaves out a payload or result that is longer, and names it in the pair
--             `omitted`)
-- Reply       three values: the cursor of the next page ("" at the end), a list of tasks as in switchyard_get, and
--             scanned_until: when the last task examined was submitted or ended (ms since 1970; "" at the end). A
--             call examines at most 200 tasks and carries 1 MiB, so a page may be short or empty and still have a
--             next one. A state and a batch are found by an index; the other filters examine each task
-- Errors      BADREQUEST
local FILTERS = { 'state', 'priority', 'kind', 'repo', 'worker', 'batch' }
local LOOKED_AT = 200

-- The sections of the list, in order: an index, and the states of its tasks. `lanes` stands for the lines of all
-- lanes, in the order of their names.
local PENDING = { pending = true }
local SECTIONS = {
    { 'leases', sw.LIVE }, { 'pending', PENDING }, { 'lanes', PENDING }, { 'waiting', PENDING }, { 'held', PENDING },
    { 'finished', sw.TERMINAL },
}

-- Returns the sections that can have a task of `state`. Each terminal state except completed has an index of its own.
local function sections_for(state)
    if not state then return SECTIONS end
    local index = sw.end_index(state)
    if index then return { { index, sw.TERMINAL, is_end = true } } end
    local found = {}
    for _, section in ipairs(SECTIONS) do
        if section[2][state] then found[#found + 1] = section end
    end
    return found
end

local function is_of_ended(index) return sub(index, 1, 8) == 'finished' end

-- Returns the rank at which to continue after the last task of a page: the one after it, or, if the task has moved,
-- that of its former score. (A heartbeat moves a lease towards the end; tasks between the two positions must not be
-- skipped.)
local function rank_after(q, index, score, id)
    local key = q.prefix .. index
    local reverse = is_of_ended(index)
    local now = call('ZSCORE', key, id)
    if now and sw.digits(tonumber(now)) == score then
        return call(reverse and 'ZREVRANK' or 'ZRANK', key, id) + 1
    end
    if reverse then return call('ZCOUNT', key, '(' .. score, '+inf') end
    return call('ZCOUNT', key, '-inf', '(' .. score)
end

-- Whether task `id` matches the filters.
local function matches(q, id, filters, names)
    if #names == 0 then return true end
    local v = call('HMGET', q.task_prefix .. id, unpack(names))
    for i, name in ipairs(names) do
        if v[i] ~= filters[name] then return false end
    end
    return true
end

-- Makes an empty page. add(id) returns whether the page is full.
local function new_page(q, filters, limit, longest)
    local names = {}
    for name in pairs(filters) do names[#names + 1] = name end
    local page = { tasks = {}, looked = 0, bytes = 0, last = nil }
    function page.add(id)
        page.looked = page.looked + 1
        page.last = id
        if matches(q, id, filters, names) then
            local fields = sw.describe(q, id, true, longest)
            if fields then
                page.tasks[#page.tasks + 1] = fields
                page.bytes = page.bytes + sw.bytes_of(fields)
            end
        end
        return #page.tasks >= limit or page.looked >= LOOKED_AT or page.bytes >= sw.REPLY_BYTES
    end
    function page.reply(cursor)
        local v = page.last and call('HMGET', q.task_prefix .. page.last, 'finished_at', 'submitted_at') or {}
        return { cursor, page.tasks, cursor ~= '' and (v[1] or v[2]) or '' }
    end
    return page
end

-- Adds the tasks of `index` from `rank` on. Returns the cursor at which the page is full, or nil.
local function add_index(q, page, index, rank)
    local options = is_of_ended(index) and { 'REV', 'WITHSCORES' } or { 'WITHSCORES' }
    while true do
        local chunk = call('ZRANGE', q.prefix .. index, rank, rank + 99, unpack(options))
        for i = 1, #chunk, 2 do
            if page.add(chunk[i]) then return index .. '~' .. sw.digits(tonumber(chunk[i + 1])) .. '~' .. chunk[i] end
        end
        if #chunk < 200 then return nil end
        rank = rank + 100
    end
end

-- Adds the tasks of the lanes from `lane` on ('': from the first), and from `rank` on in that lane.
local function add_lanes(q, page, lane, rank)
    local names, from = q.prefix .. 'lane_names', '-'
    if lane ~= '' then
        local cursor = add_index(q, page, sw.line_of(lane), rank)
        if cursor then return cursor end
        from = '(' .. lane
    end
    while true do
        local lanes = call('ZRANGEBYLEX', names, from, '+', 'LIMIT', 0, 50)
        for _, name in ipairs(lanes) do
            local cursor = add_index(q, page, sw.line_of(name), 0)
            if cursor then return cursor end
            from = '(' .. name
        end
        if #lanes < 50 then return nil end
    end
end

-- Returns a page of the members of a batch, from position `from` on.
local function list_batch(q, page, batch, from)
    while true do
        local ids = call('LRANGE', q.prefix .. 'members:' .. batch, from, from + 99)
        for i, id in ipairs(ids) do
            -- A member's id may have been reused since the member was deleted.
            if call('HGET', q.task_prefix .. id, 'batch') == batch then
                if page.add(id) then return page.reply('members~' .. from + i .. '~' .. id) end
            else
                page.looked = page.looked + 1
                if page.looked >= LOOKED_AT then return page.reply('members~' .. from + i .. '~' .. id) end
            end
        end
        if #ids < 100 then return page.reply('') end
        from = from + 100
    end
end

local function list(keys, args)
    local q, failure = sw.open(keys)
    if not q then return failure end
    local given, tasks = sw.parse(args)
    if not given then return tasks end
    local problem = given.limit and sw.check_integer('limit', given.limit, 1, 500)
        or given.longest and sw.check_integer('longest', given.longest, 0, sw.MAX_VALUE_BYTES)
    if problem then return sw.bad(problem) end
    if given.state and (given.state == 'none' or not sw.MAY[given.state]) then
        return sw.bad('state: expected pending, assigned, running, completed, failed, timeout or cancelled, found '
            .. sw.shown(given.state))
    end
    if given.priority and not sw.LEVEL[given.priority] then
        return sw.bad('priority: expected critical, high, normal or low, found ' .. sw.shown(given.priority))
    end
    if given.batch and not sw.is_name(given.batch) then return sw.bad('batch: no id: ' .. sw.shown(given.batch)) end
    local first, score, after
    if given.cursor and given.cursor ~= '' then
        first, score, after = match(given.cursor, '^(.+)~(%d+)~([A-Za-z0-9._:-]+)$')
        if not first then
            return sw.bad('cursor: expected one that an earlier page gave, found ' .. sw.shown(given.cursor))
        end
    end
    local filters = {}
    for _, name in ipairs(FILTERS) do filters[name] = given[name] end
    if given.batch then filters.batch = nil end
    local page = new_page(q, filters, tonumber(given.limit or 50), tonumber(given.longest))
    if given.batch then
        return list_batch(q, page, given.batch, first == 'members' and tonumber(score) or 0)
    end

    local first_lane = first and match(first, '^pending:(.*)$')
    local section_of_first = first_lane and 'lanes' or first
    local reached = first == nil
    for _, section in ipairs(sections_for(given.state)) do
        local index, cursor = section[1], nil
        local is_first = not reached and index == section_of_first
        if reached or is_first then
            reached = true
            if index == 'lanes' then
                local rank = is_first and rank_after(q, first, score, after) or 0
                cursor = add_lanes(q, page, is_first and first_lane or '', rank)
            else
                cursor = add_index(q, page, index, is_first and rank_after(q, index, score, after) or 0)
            end
        end
        if cursor then return page.reply(cursor) end
    end
    return page.reply('')
end

redis.register_function{ function_name = 'switchyard_list', flags = { 'no-writes' }, callback = list }
