-- switchyard_retry: returns tasks that ended without success to their lines, on request and with all their retries. A
-- task waits for those of its dependencies that have not ended or that the same call retries.
--
-- Transition  failed | timeout | cancelled → pending
-- Keys        1: the queue's prefix, 2: its config
-- Arguments   of each task: task (id)
-- Reply       for each task, in order: "pending", or an error
-- Errors      BADREQUEST (the whole call); for each task: TASKNOTFOUND; INVALIDSTATE (completed, or not ended, or a
--             dependency has not succeeded); TASKEXISTS (another task has its unique key)

-- Returns the tasks that may run again, by id, with what they wait for in `waits`; and `refused`: error replies by
-- id.
local function choose(q, tasks)
    local found, refused, keys_taken, count = {}, {}, {}, 0
    for _, t in ipairs(tasks) do
        local id = t.task
        local task = sw.read(q, id)
        local holder = task and task.unique_key and sw.is_key_taken(q, task.unique_key, id)
        if not task then
            refused[id] = sw.not_found(id)
        elseif task.state == 'completed' or not sw.TERMINAL[task.state] then
            refused[id] = sw.invalid_state(id, task.state, 'retried')
        elseif holder or task.unique_key and keys_taken[task.unique_key] then
            refused[id] = redis.error_reply('TASKEXISTS task ' .. id .. ' cannot be retried: task '
                .. (holder or keys_taken[task.unique_key]) .. ' has its unique_key ' .. sw.shown(task.unique_key))
        else
            if task.unique_key then keys_taken[task.unique_key] = id end
            found[id] = task
            count = count + 1
        end
    end
    -- A refused task may cause the refusal of its dependents, in any order.
    local has_changed = count > 0
    while has_changed do
        has_changed = false
        for _, t in ipairs(tasks) do
            local task = found[t.task]
            if task and (task.uses or task.waits) then
                local waits, why = sw.await_again(q, task, found)
                task.waits = waits
                if not waits then
                    refused[t.task] = redis.error_reply('INVALIDSTATE task ' .. t.task .. ' is ' .. task.state
                        .. ': it cannot be retried: ' .. why)
                    found[t.task] = nil
                    has_changed = true
                end
            end
        end
    end
    return found, refused
end

-- Returns the id of the task, other than `id`, that has a unique key or will have it as part of an opened batch; or
-- nil.
function sw.is_key_taken(q, unique_key, id)
    local holder, state = sw.holder_of_key(q, { unique_key = unique_key })
    if holder and holder ~= id then return holder, state end
    local token, claimed = match(call('HGET', q.claims_key, 'unique ' .. unique_key) or '', '^([^ ]+) (.+)$')
    if token and call('EXISTS', q.prefix .. 'stage:' .. token) == 0 then return claimed end
end

local function retry_one(c, task)
    local q, id = c.q, task.id
    local fields = { 'retry_count', '0', 'deliveries', '0' }
    if task.worker ~= '' then
        local v = call('HMGET', q.task_prefix .. id, 'outcome', 'error_code', 'error_message', 'exit_code',
            'finished_at')
        task.finished_at = sw.whole(v[5])
        local name, record = sw.record(q, task, v[1] or task.state, v[2] or nil, v[3] or nil, v[4] or nil)
        fields[#fields + 1] = name
        fields[#fields + 1] = record
    end
    local clear = sw.latest_fields(task)
    for _, name in ipairs({ 'finished_at', 'outcome', 'error_code', 'error_message', 'exit_code', 'result' }) do
        clear[#clear + 1] = name
    end
    local opts = { clear = clear }
    -- An ended dependency may still have the task in its set of dependents, and would settle it again.
    if task.waits then c.undepends[id] = true end
    if task.waits and #task.waits > 0 then
        fields[#fields + 1] = 'deps_left'
        fields[#fields + 1] = tostring(#task.waits)
        sw.depend(c, id, task.waits)
        opts.held_by = 'dependencies'
    else
        clear[#clear + 1] = 'deps_left'
    end
    sw.move(c, task, 'pending', fields, opts)
    if task.unique_key then
        c.takes[#c.takes + 1] = task.unique_key
        c.takes[#c.takes + 1] = id
    end
end

local function retry(keys, args)
    local q, failure = sw.enter_checked(keys)
    if not q then return failure end
    local head, tasks = sw.parse(args)
    if not head then return tasks end
    if #tasks == 0 then return sw.bad('task: missing') end
    local found, refused = choose(q, tasks)
    for _, task in pairs(found) do
        if task.unique_key then sw.break_claim(q, task.unique_key) end
    end
    local c = sw.changes(q)
    local replies = {}
    for i, t in ipairs(tasks) do
        local task = found[t.task]
        if task then retry_one(c, task) end
        replies[i] = task and 'pending' or refused[t.task]
    end
    sw.commit(c)
    return replies
end

redis.register_function{ function_name = 'switchyard_retry', callback = retry }
