-- Plain tasks come into a queue of plain ones, in one call: most submissions there are. A plain task has nothing that
-- SPECIAL (new_tasks.lua) names.

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

-- Of the plain tasks of a call: ids, keys of their hashes, and where each begins in the list of all; place and id of each, in
-- pairs. Every call uses them again, and looks at no more than it has tasks.
local ids, keys, starts, places = {}, {}, {}, {}

-- Reads the pairs of a call that submits plain tasks in one go into a list that says for each task the key of its hash and
-- the pairs in it, one after the other. Answers it, how long it is and how many tasks there are; or nil: a task is not plain,
-- or not right.
local function read_plain(q, args, first)
    local prefix, now = q.task_prefix, q.now_text
    local opaque, checked = sw.OPAQUE, sw.CHECKED
    local all, at, n, id, bytes = nil, 0, 0, nil, 0
    for i = first, #args, 2 do
        local name, value = args[i], args[i + 1]
        if name == 'task' then
            if n == sw.MAX_TASKS_PER_CALL or sw.check_id(value) then return nil end
            local key = prefix .. value
            n, id, bytes = n + 1, value, 0
            ids[n], keys[n], starts[n] = id, key, at + 1
            if n == 1 then
                -- The empty places give the list its size at once, when there is one task.
                all = { key, 'state', 'pending', 'place', false, 'priority', 'normal', 'submitted_at', now,
                    nil, nil, nil, nil, nil, nil, nil, nil }
            else
                all[at + 1], all[at + 2], all[at + 3], all[at + 4], all[at + 5], all[at + 6], all[at + 7], all[at + 8],
                    all[at + 9] = key, 'state', 'pending', 'place', false, 'priority', 'normal', 'submitted_at', now
            end
            at = at + 9
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
            else
                return nil
            end
            if bytes > sw.MAX_VALUE_BYTES or at - starts[n] > MOST_FIELDS then return nil end
        end
    end
    return all, at, n
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
    local all, size, n = read_plain(q, args, first)
    if not all then return nil end
    if call('EXISTS', unpack(keys, 1, n)) > 0 or batch and call('EXISTS', q.prefix .. 'batch:' .. batch) == 1
        or sw.length(q) + n > q.max_queue_length then
        return nil
    end
    local tag = sw.time_tag(q, 0)
    for i = 1, n do
        local start = starts[i]
        local place = sw.place(q, all[start + 6], tag + i - 1)
        places[i * 2 - 1], places[i * 2], all[start + 4] = place, ids[i], place
    end
    if call('ZADD', q.pending_key, unpack(places, 1, n * 2)) < n then
        -- One id twice in the call.
        call('ZREM', q.pending_key, unpack(ids, 1, n))
        return nil
    end
    for i = 1, n do
        local last = i == n and size or starts[i + 1] - 1
        if batch then
            call('HSET', keys[i], 'batch', batch, unpack(all, starts[i] + 1, last))
        else
            call('HSET', unpack(all, starts[i], last))
        end
    end
    local woken = 0
    local wakes = not q.paused and call('ZCARD', q.idle_key) > 0
    if wakes or batch then
        local c = sw.changes(q)
        woken = wakes and sw.plan_wake(c, n) or 0
        if batch then
            sw.write_batch(q, { batch = batch }, { unpack(ids, 1, n) })
            sw.count_in_batch(c, batch, nil, 'pending', n)
        end
        sw.commit(c)
    end
    call('PUBLISH', q.events_key, (n == 1 and ids[1] or table.concat(ids, ' pending 0\n', 1, n)) .. ' pending 0')
    local replies = {}
    for i = 1, n do
        local position = wants_position and call('ZRANK', q.pending_key, ids[i]) or -1
        replies[i] = sw.answer(i, ids[i], 'pending', i <= woken and 'woken' or 'queued', position, 'new')
    end
    return replies
end
