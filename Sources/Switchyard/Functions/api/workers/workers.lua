-- switchyard_workers: returns the registered workers: a page of them, or at most 1000, sorted by the time at which
-- their registrations expire. Every worker that stays registered is on a page; one may be on two.
--
-- Keys        1: the queue's prefix, 2: its config
-- Arguments   cursor ("0", or that of an earlier reply: for a page), limit (without a cursor: 1 to 1000, default 1000)
-- Reply       for each worker the pairs of its hash, then id, class (its name, '': none), busy (leased attempts,
--             and those whose process is ending), ending (how many of these are ending), last_assigned (µs since 1970,
--             0: never), expires_at (ms since 1970). With a cursor two values: the cursor of the next page ("" at the
--             end), and that list
-- Errors      BADREQUEST

-- How many workers a page has, more or less: ZSCAN returns a small index whole.
local PAGE = 250

local function workers(keys, args)
    local q, failure = sw.open(keys)
    if not q then return failure end
    local head, tasks = sw.parse(args)
    if not head then return tasks end
    local problem = head.limit and sw.check_integer('limit', head.limit, 1, 1000)
    if problem then return sw.bad(problem) end
    local cursor, found, replies = head.cursor, nil, {}
    if cursor then
        if not find(cursor, '^%d+$') or #cursor > 20 then
            return sw.bad('cursor: expected one that an earlier page gave, found ' .. sw.shown(cursor))
        end
        local page = call('ZSCAN', q.prefix .. 'workers', cursor, 'COUNT', PAGE)
        cursor, found = page[1], page[2]
    else
        found = call('ZRANGE', q.prefix .. 'workers', 0, tonumber(head.limit or 1000) - 1, 'WITHSCORES')
    end
    local ending = sw.count_endings(q)
    for i = 1, #found, 2 do
        local fields = call('HGETALL', q.prefix .. 'worker:' .. found[i])
        local class = q.has_lanes and call('HGET', q.prefix .. 'class', found[i]) or ''
        local last = call('HGET', q.attempts_prefix .. found[i], '@last')
        for _, value in ipairs({ 'id', found[i], 'class', class, 'busy', tostring(sw.busy_slots(q, found[i])),
            'ending', tostring(ending[found[i]] or 0), 'last_assigned', last or '0', 'expires_at', found[i + 1] }) do
            fields[#fields + 1] = value
        end
        replies[#replies + 1] = fields
    end
    if not cursor then return replies end
    return { cursor == '0' and '' or cursor, replies }
end

redis.register_function{ function_name = 'switchyard_workers', flags = { 'no-writes' }, callback = workers }
