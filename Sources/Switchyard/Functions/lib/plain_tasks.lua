-- Plain tasks come into line, in one call: most submissions there are. Of what SPECIAL (new_tasks.lua) names, a plain task
-- has at most what tells its lane.

-- The replies to a submission are rows that every call uses again: they are read out before the next begins.
local rows = {}

function sw.answer(i, id, state, woken, position, kind)
    local reply = rows[i]
    if not reply then
        reply = {}
        rows[i] = reply
    end
    reply[1], reply[2], reply[3], reply[4], reply[5] = id, state, woken, position, kind
    return reply
end

local NEEDS = { requires = true, cpu = true, memory_mb = true, resources = true }

-- Of the plain tasks of a call: ids, keys of their hashes, and where each begins in the list of all; what tells its lane (a
-- table, or false), and then its lane (or false); place and id of each without a lane, in pairs. Every call uses them again, and
-- looks at no more than it has tasks.
local ids, keys, starts, lanes, places = {}, {}, {}, {}, {}

-- Reads the pairs of a call that submits plain tasks (of `batch`, if it is given) in one go into a list that says for each task the key of its hash and
-- the pairs in it, one after the other. Answers it, how long it is, how many tasks there are, and whether any has a lane; or
-- nil: a task is not plain, or not right.
local function read_plain(q, args, first, batch)
    local prefix, now = q.task_prefix, q.now_text
    local opaque, checked = sw.OPAQUE, sw.CHECKED
    local all, at, n, id, bytes, has_lanes = nil, 0, 0, nil, 0, false
    for i = first, #args, 2 do
        local name, value = args[i], args[i + 1]
        if name == 'task' then
            if n == sw.MAX_TASKS_PER_CALL or sw.check_id(value) then return nil end
            local key = prefix .. value
            n, id, bytes = n + 1, value, 0
            ids[n], keys[n], starts[n], lanes[n] = id, key, at + 1, false
            if n == 1 then
                -- The empty places give the list its size at once, when there is one task.
                all = { key, 'state', 'pending', 'place', false, 'priority', 'normal', 'submitted_at', now,
                    nil, nil, nil, nil, nil, nil, nil, nil }
            else
                all[at + 1], all[at + 2], all[at + 3], all[at + 4], all[at + 5], all[at + 6], all[at + 7], all[at + 8],
                    all[at + 9] = key, 'state', 'pending', 'place', false, 'priority', 'normal', 'submitted_at', now
            end
            at = at + 9
            if batch then
                all[at + 1], all[at + 2] = 'batch', batch
                at = at + 2
            end
        else
            local length = #value
            bytes = bytes + length
            if opaque[name] and (name ~= 'payload' or length <= SHORT_VALUE or length > IN_PIECES)
                or checked[name] and not checked[name](name, value) then
                -- A token equal to the id is what a generated id needs, and is not worth its bytes.
                if name ~= 'request' or value ~= id then
                    all[at + 1], all[at + 2] = name, value
                    at = at + 2
                end
            elseif name == 'payload' then
                for k, piece in ipairs(sw.pieces_of(value)) do
                    all[at + 1], all[at + 2] = sw.piece_name(k), piece
                    at = at + 2
                end
            elseif name == 'priority' and sw.LEVEL[value] then
                all[starts[n] + 6] = value
            elseif NEEDS[name] then
                lanes[n] = lanes[n] or {}
                lanes[n][name] = value
                all[at + 1], all[at + 2] = name, value
                at, has_lanes = at + 2, true
            else
                return nil
            end
            if bytes > sw.MAX_VALUE_BYTES or at - starts[n] > MOST_FIELDS then return nil end
        end
    end
    return all, at, n, has_lanes
end

-- Finds the lanes of the tasks. Answers the names of those that have some, each with how many of the tasks ('': those without);
-- or nil: what tells one is not right, or one id is there twice.
local function find_lanes(n)
    local counts, seen = { [''] = 0 }, {}
    for i = 1, n do
        local lane = ''
        if lanes[i] then lane = sw.lane_of(lanes[i]) end
        if not lane or seen[ids[i]] then return nil end
        seen[ids[i]] = true
        counts[lane] = (counts[lane] or 0) + 1
        lanes[i] = lane ~= '' and lane
    end
    return counts
end

-- Puts the tasks that have lanes in their lines.
local function add_to_lanes(q, all, n, tag)
    local lines, heads, by_priority = {}, {}, {}
    for i = 1, n do
        local lane = lanes[i]
        if lane then
            local start = starts[i]
            local priority, line = all[start + 6], lines[lane]
            local place = sw.place(q, priority, tag + i - 1)
            if not line then
                line = {}
                lines[lane] = line
            end
            line[#line + 1] = place
            line[#line + 1] = ids[i]
            all[start + 4] = place
            if not heads[lane] or tonumber(place) < tonumber(heads[lane]) then heads[lane] = place end
            by_priority[priority] = (by_priority[priority] or 0) + 1
        end
    end
    for lane, line in pairs(lines) do call('ZADD', q.prefix .. sw.line_of(lane), unpack(line)) end
    for priority, count in pairs(by_priority) do call('HINCRBY', q.stats_key, 'in_lanes_' .. priority, count) end
    sw.commit_heads(q, heads)
end

-- Does what switchyard_submit does, if all is plain: the same changes as there without tables of each task, which cost more than
-- the commands. Answers nil, having changed nothing, when anything is not as plain as that, or not right.
function sw.submit_plain(q, args)
    local first, wants_position, batch = 1, false, nil
    while args[first] ~= 'task' do
        local name, value = args[first], args[first + 1]
        if name == 'position' then wants_position = value == '1'
        elseif name == 'batch' and sw.is_name(value) then batch = value
        else return nil
        end
        first = first + 2
    end
    local all, size, n, has_lanes = read_plain(q, args, first, batch)
    if not all then return nil end
    local counts = has_lanes and find_lanes(n)
    if has_lanes and not (counts and q.has_lanes) then return nil end
    -- In a busy queue nobody sleeps, and mostly nothing is held: one look tells that, and that the tasks are new.
    keys[n + 1], keys[n + 2] = q.idle_key, q.held_key
    local is_busy = call('EXISTS', unpack(keys, 1, n + 2)) == 0
    if not is_busy and call('EXISTS', unpack(keys, 1, n)) > 0 or batch and call('EXISTS', q.prefix .. 'batch:' .. batch) == 1
        or sw.length(q, is_busy) + n > q.max_queue_length then
        return nil
    end
    local tag, k = sw.time_tag(q, 0), 0
    for i = 1, n do
        if not lanes[i] then
            local start = starts[i]
            local place = sw.place(q, all[start + 6], tag + i - 1)
            places[k + 1], places[k + 2], all[start + 4] = place, ids[i], place
            k = k + 2
        end
    end
    if k > 0 and call('ZADD', q.pending_key, unpack(places, 1, k)) < k / 2 then
        -- One id twice in the call.
        call('ZREM', q.pending_key, unpack(ids, 1, n))
        return nil
    end
    if has_lanes then add_to_lanes(q, all, n, tag) end
    for i = 1, n do
        local last = i == n and size or starts[i + 1] - 1
        if lanes[i] then
            call('HSET', keys[i], 'lane', lanes[i], unpack(all, starts[i] + 1, last))
        else
            call('HSET', unpack(all, starts[i], last))
        end
    end
    local woken = 0
    local wakes = not is_busy and not q.paused and call('ZCARD', q.idle_key) > 0
    if wakes or batch then
        local c = sw.changes(q)
        woken = wakes and sw.plan_wake(c, n, counts or { [''] = n }) or 0
        if batch then
            sw.write_batch(q, { batch = batch }, { unpack(ids, 1, n) })
            sw.count_in_batch(c, batch, nil, 'pending', n)
        end
        sw.commit(c)
    end
    call('PUBLISH', q.events_key, (n == 1 and ids[1] or table.concat(ids, ' pending 0\n', 1, n)) .. ' pending 0')
    local replies = {}
    for i = 1, n do
        local position = wants_position and call('ZRANK', q.prefix .. sw.line_of(lanes[i]), ids[i]) or -1
        replies[i] = sw.answer(i, ids[i], 'pending', i <= woken and 'woken' or 'queued', position, 'new')
    end
    return replies
end
