-- The follow-up task of a batch (on_complete): it enters the queue when every task of the batch has ended, and is told
-- what happened, in its environment (SWITCHYARD_BATCH_…) and in its payload (`batch`).
--
-- It runs once. With on_complete_again it runs each time that the batch ends: a retry opens the batch again.

-- Limit on the ids of tasks without success that a follow-up task is told.
local FAILURES_TOLD = 100

-- Returns the first tasks of batch `id` that ended without success, by when they ended.
function sw.failures_of(q, id)
    local ids = pcall_redis('ZRANGE', q.prefix .. 'failures:' .. id, 0, FAILURES_TOLD - 1)
    return ids.err and {} or ids
end

-- Returns what happened to batch `id`, as the members of two JSON objects: of a payload, and of an environment.
-- Ids and numbers need no escapes.
local function outcome_of(q, id)
    local v = call('HMGET', q.prefix .. 'batch:' .. id, 'total', 'completed', 'failed', 'timeout', 'cancelled')
    for i = 1, 5 do v[i] = sw.digits(sw.whole(v[i], 0)) end
    local ids = sw.failures_of(q, id)
    local more = sw.digits(v[3] + v[4] + v[5] - #ids)
    local names = { 'total', 'completed', 'failed', 'timeout', 'cancelled' }
    local payload, env = { '"batch_id":"' .. id .. '"' }, { '"SWITCHYARD_BATCH_ID":"' .. id .. '"' }
    for i, name in ipairs(names) do
        payload[#payload + 1] = '"' .. name .. '":' .. v[i]
        env[#env + 1] = '"SWITCHYARD_BATCH_' .. string.upper(name) .. '":"' .. v[i] .. '"'
    end
    payload[#payload + 1] = '"failed_ids":[' .. (ids[1] and '"' .. table.concat(ids, '","') .. '"' or '') .. ']'
    payload[#payload + 1] = '"more_failed":' .. more
    env[#env + 1] = '"SWITCHYARD_BATCH_FAILED_IDS":"' .. table.concat(ids, ' ') .. '"'
    env[#env + 1] = '"SWITCHYARD_BATCH_MORE_FAILED":"' .. more .. '"'
    return '"batch":{' .. table.concat(payload, ',') .. '}', table.concat(env, ',')
end

-- Returns the text of a JSON object with further members before its own, which is otherwise unchanged; nil if `text` is
-- none. An absent text is an empty object.
local function with_members(text, members)
    local rest = match(text or '{}', '^%s*{%s*(.*)$')
    if not rest or text and not pcall(cjson.decode, text) then return nil end
    return '{' .. members .. (sub(rest, 1, 1) == '}' and '' or ',') .. rest
end

-- Returns the arguments of a task with `value` for the argument `name`.
local function with_argument(pairs_, name, value)
    local all, has = {}, false
    for i = 1, #pairs_, 2 do
        all[i], all[i + 1] = pairs_[i], pairs_[i + 1]
        if all[i] == name then all[i + 1], has = value, true end
    end
    if not has then all[#all + 1], all[#all + 2] = name, value end
    return all
end

local function argument(pairs_, name)
    for i = 1, #pairs_, 2 do
        if pairs_[i] == name then return pairs_[i + 1] end
    end
end

-- Reads the follow-up task, which is told `members` in its argument `name` if there is room for them. Returns its
-- arguments, or nil.
local function tell(q, pairs_, name, members)
    local value = with_members(argument(pairs_, name), members)
    local told = value and with_argument(pairs_, name, value)
    return told and sw.read_tasks(q, told, 1) and told or pairs_
end

-- Called when every task of batch `id` has ended: its follow-up task enters the queue.
function sw.start_follow_up(q, id)
    local key = q.prefix .. 'batch:' .. id
    local v = call('HMGET', key, 'on_complete', 'on_complete_again')
    if not v[1] then return end
    local pairs_ = sw.check_template('on_complete', v[1])
    if not pairs_ then return end
    if v[2] == '1' then
        -- Each run is a task of its own; the first has the id that was submitted.
        local runs = sw.increase(key, 'follow_ups', 1)
        local suffix = runs > 1 and '-' .. runs or ''
        pairs_ = with_argument(pairs_, 'task', sub(argument(pairs_, 'task'), 1, 200 - #suffix) .. suffix)
    else
        call('HDEL', key, 'on_complete')
    end
    local payload, env = outcome_of(q, id)
    pairs_ = tell(q, tell(q, pairs_, 'env', env), 'payload', payload)
    local n = sw.read_tasks(q, pairs_, 1)
    if not n then return end
    local follow_up, task_key = sw.new_task(1)
    if sw.is_task(call('HGET', task_key, 'state')) then return end
    call('HSET', key, 'follow_up', follow_up)
    sw.ensure_uses(q, n)
    local c = sw.changes(q)
    sw.plan_task(c, 1, nil, sw.time_tag(q, 0), sw.lived_before(1))
    rawset(c, 'is_general', true)
    sw.commit(c)
end
