-- switchyard_list: a page of tasks: first the live ones, then those in line, those held, and the ended, latest first.
--
-- Keys        1: the queue's prefix
-- Arguments   state, priority, repo, worker, batch (filters), limit (1 to 500, default 50), cursor (of an earlier reply)
-- Reply       two values: the cursor of the next page ("": there is none), and a list of tasks as in switchyard_get.
--             A call looks at no more than 1000 tasks, so a page may be short, or empty, and have a next one.
-- Errors      BADREQUEST
local PENDING = { pending = true }
local FILTERS = { 'state', 'priority', 'repo', 'worker', 'batch' }
local LOOKED_AT = 1000

-- The indexes in the order of the list, each with the states that stand in it.
local function sections_of(q)
    local sections = { { 'leases', sw.LIVE }, { 'pending', PENDING } }
    if q.has_lanes then
        local lanes = call('ZRANGE', q.prefix .. 'lanes', 0, 999)
        table.sort(lanes)
        for _, lane in ipairs(lanes) do sections[#sections + 1] = { sw.line_of(lane), PENDING } end
    end
    for _, index in ipairs(q.has_holds and { 'blocked', 'waiting', 'held' } or { 'held' }) do
        sections[#sections + 1] = { index, PENDING }
    end
    sections[#sections + 1] = { 'finished', sw.TERMINAL }
    return sections
end

-- The rank from which to go on after the task that ended a page: behind it, or where its score would stand if it has
-- moved meanwhile (a heartbeat moves a lease to the end: what stood between must not be passed over).
local function rank_after(q, section, score, id)
    local key = q.prefix .. section
    local reverse = section == 'finished'
    local now = call('ZSCORE', key, id)
    if now and sw.digits(tonumber(now)) == score then
        return call(reverse and 'ZREVRANK' or 'ZRANK', key, id) + 1
    end
    if reverse then return call('ZCOUNT', key, '(' .. score, '+inf') end
    return call('ZCOUNT', key, '-inf', '(' .. score)
end

local function matches(head, fields)
    local wanted = 0
    for _, name in ipairs(FILTERS) do if head[name] then wanted = wanted + 1 end end
    if wanted == 0 then return true end
    for i = 1, #fields, 2 do
        if head[fields[i]] and fields[i] ~= 'limit' and fields[i] ~= 'cursor' then
            if head[fields[i]] ~= fields[i + 1] then return false end
            wanted = wanted - 1
        end
    end
    return wanted == 0
end

local function list(keys, args)
    local q, failure = sw.open(keys)
    if not q then return failure end
    local given, tasks = sw.parse(args)
    if not given then return tasks end
    local problem = given.limit and sw.check_integer('limit', given.limit, 1, 500)
    if problem then return sw.bad(problem) end
    if given.state and not sw.MAY[given.state] then
        return sw.bad('state: expected pending, assigned, running, completed, failed, timeout or cancelled, found '
            .. sw.shown(given.state))
    end
    if given.priority and not sw.LEVEL[given.priority] then
        return sw.bad('priority: expected critical, high, normal or low, found ' .. sw.shown(given.priority))
    end
    local head = {}
    for _, name in ipairs(FILTERS) do head[name] = given[name] end
    local limit = tonumber(given.limit or 50)
    local first, score, after
    if given.cursor and given.cursor ~= '' then
        first, score, after = string.match(given.cursor, '^([^~]+)~(%d+)~([A-Za-z0-9._:-]+)$')
        if not first then
            return sw.bad('cursor: expected one that an earlier page gave, found ' .. sw.shown(given.cursor))
        end
    end

    local found, looked, reached = {}, 0, first == nil
    for _, entry in ipairs(sections_of(q)) do
        local section, states = entry[1], entry[2]
        reached = reached or section == first
        if reached and (not head.state or states[head.state]) then
            local rank = section == first and rank_after(q, section, score, after) or 0
            while true do
                local chunk = call('ZRANGE', q.prefix .. section, rank, rank + 99,
                    unpack(section == 'finished' and { 'REV', 'WITHSCORES' } or { 'WITHSCORES' }))
                for i = 1, #chunk, 2 do
                    looked = looked + 1
                    local fields = sw.describe(q, chunk[i])
                    if fields and matches(head, fields) then found[#found + 1] = fields end
                    if #found == limit or looked == LOOKED_AT then
                        return { section .. '~' .. sw.digits(tonumber(chunk[i + 1])) .. '~' .. chunk[i], found }
                    end
                end
                if #chunk < 200 then break end
                rank = rank + 100
            end
        end
    end
    return { '', found }
end

redis.register_function{ function_name = 'switchyard_list', flags = { 'no-writes' }, callback = list }
