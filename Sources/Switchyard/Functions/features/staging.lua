-- Staging: a batch of more tasks than one call may carry arrives in parts. A stage is a namespace of its own, which
-- no look-up sees: until the batch is opened, its tasks do not exist for any other call and do not count in the
-- queue's length. The call that opens it makes the batch visible at once. The tasks then enter the queue in bounded
-- steps, by further calls of the caller and by ticks.
--
--   stages                   stages, by the time when they are deleted unless they are opened
--   stage:<token>            batch, total, on_complete, on_complete_again; broken: why it cannot be opened; dropping:
--                            it is being deleted; part:<number>: this part has arrived; parts: how many have
--   stage_members:<token>    ids, in order
--   stage_task:<token>/<id>  the arguments of a task
--   claims                   id → token, and "unique <key>" → "<token> <id>". Until the batch is opened, a claim gives
--                            way: another submission that takes the id or the key breaks the stage
--
-- The caller chooses the token. With a token that is derived from the content, a repeated submission reuses what was
-- staged.

-- How long a stage waits for its next part or its opening.
local STAGED_MS = 30000

-- Limit on the bytes of arguments that one step of an opening adds, besides the limit on tasks.
local STEP_BYTES = 1048576

-- Returns the token of a stage. The argument "1" means the batch's id.
function sw.stage_token(stage, batch)
    return stage == '1' and batch or stage
end

-- Whether the stage of a token is not opened yet. The claims of an opened stage belong to tasks that will enter the
-- queue.
local function is_closed(q, token)
    return call('EXISTS', q.prefix .. 'stage:' .. token) == 1
end

local function break_stage(q, token, what)
    call('HSET', q.prefix .. 'stage:' .. token, 'broken', what .. ' was submitted by another call')
end

-- Called by a retry, which takes a unique key. Breaks a stage, not yet opened, that claims the key.
function sw.break_claim(q, unique_key)
    local token = match(call('HGET', q.claims_key, 'unique ' .. unique_key) or '', '^([^ ]+) ')
    if token and is_closed(q, token) then break_stage(q, token, 'unique_key ' .. unique_key) end
end

-- Reads the claims of other stages on the ids and unique keys of the `n` tasks that were read. Returns the claims of
-- opened stages by task index: `ids` (true) and `keys` (the id of the task with the key); the list `breaks` of stages
-- that the submission breaks, each with the id or key that it takes; and `own`: the tasks that the submission's own
-- stage has.
--   own   the token of the submission's own stage, or nil
function sw.read_claims(q, n, own)
    local found = { ids = {}, keys = {}, breaks = {}, own = {} }
    local closed = {}
    local function consider(token, what)
        if closed[token] == nil then closed[token] = is_closed(q, token) end
        if closed[token] then found.breaks[#found.breaks + 1] = { token, what } end
        return not closed[token]
    end
    for i = 1, n do
        local id, _, _, t = sw.new_task(i)
        local token = call('HGET', q.claims_key, id)
        if token and token == own then
            found.own[i] = true
        elseif token and consider(token, 'task ' .. id) then
            found.ids[i] = true
        end
        local claim = t and t.unique_key and call('HGET', q.claims_key, 'unique ' .. t.unique_key)
        if claim then
            local by, holder = match(claim, '^([^ ]+) (.+)$')
            if by == own then
                if holder ~= id then found.keys[i] = holder end
            elseif by and consider(by, 'unique_key ' .. t.unique_key) then
                found.keys[i] = holder
            end
        end
    end
    return found
end

-- Breaks the stages whose claims a call takes. Called by the submission after all checks, and by commit for a single
-- task.
function sw.break_stages(q, claims)
    for _, entry in ipairs(claims.breaks) do break_stage(q, entry[1], entry[2]) end
end

-- Returns a function that returns "pending" for a task of the stage, for check_dependencies.
function sw.is_staged(q, token)
    return function(id) return call('HGET', q.claims_key, id) == token and 'pending' or nil end
end

-- Stores the tasks that were read in the stage, except those in `skipped` (by index), which are not new.
--   args, first   the arguments of the call; its tasks begin at position `first`
function sw.stage(q, token, head, args, first, skipped)
    local key = q.prefix .. 'stage:' .. token
    sw.write_config(q)
    sw.derived('HSET', key, 'batch', head.batch)
    if head.on_complete then
        call('HSET', key, 'on_complete', head.on_complete, 'on_complete_again', head.on_complete_again or '0')
    end
    if head.part and call('HSETNX', key, 'part:' .. head.part, '1') == 1 then sw.increase(key, 'parts', 1) end
    sw.derived('ZADD', q.prefix .. 'stages', sw.digits(q.now + STAGED_MS), token)
    local i, at, size, count = 0, first, #args, 0
    while at <= size do
        local id, from = args[at + 1], at + 2
        at = from
        while at <= size and args[at] ~= 'task' do at = at + 2 end
        i = i + 1
        if not skipped[i] then
            -- The field `task` makes a hash even of a task without arguments. The list of members keeps the order.
            sw.derived('HSET', q.prefix .. 'stage_task:' .. token .. '/' .. id, 'task', id, unpack(args, from, at - 1))
            sw.derived('RPUSH', q.prefix .. 'stage_members:' .. token, id)
            call('HSET', q.claims_key, id, token)
            local _, _, _, t = sw.new_task(i)
            -- Dependencies that equal tasks replace are not staged: the task depends on those tasks instead.
            if t and t.depends_on then
                call('HSET', q.prefix .. 'stage_task:' .. token .. '/' .. id, 'depends_on', t.depends_on)
            end
            if t and t.unique_key then call('HSET', q.claims_key, 'unique ' .. t.unique_key, token .. ' ' .. id) end
            count = count + 1
        end
    end
    sw.increase(key, 'total', count)
end

-- Returns the error reply about a stage that another submission has broken. Deletes the stage, as far as one call
-- goes.
function sw.refuse_broken(q, token, batch, why)
    sw.begin_writing()
    sw.derived('ZADD', q.prefix .. 'stages', 0, token)
    sw.drop_stage(q, token, sw.MAX_TASKS_PER_CALL / 2)
    return redis.error_reply('TASKEXISTS batch ' .. batch .. ' cannot be opened: ' .. why)
end

-- Opens the stage: creates its batch. Returns an error reply, or nil.
--   parts   how many parts it must have (a text), or nil
function sw.open_stage(q, token, batch, parts)
    local key = q.prefix .. 'stage:' .. token
    local v = call('HMGET', key, 'total', 'broken', 'on_complete', 'batch', 'dropping', 'parts',
        'on_complete_again')
    -- Early parts may have been deleted if the last one took too long.
    if v[4] ~= batch or v[5] and not v[2] or parts and tonumber(parts) ~= sw.whole(v[6], 0) and not v[2] then
        return redis.error_reply('TASKNOTFOUND batch ' .. batch .. ' does not exist, or was not opened in time')
    end
    if v[2] then return sw.refuse_broken(q, token, batch, v[2]) end
    if call('EXISTS', q.prefix .. 'batch:' .. batch) == 1 then
        return redis.error_reply('TASKEXISTS batch ' .. batch .. ' exists already in queue ' .. q.name)
    end
    local total, length = sw.whole(v[1], 0), sw.length(q)
    if total > 0 and length + total > q.max_queue_length then
        sw.add_to_stat(q, 'queue_full_errors', 1)
        return redis.error_reply('QUEUEFULL queue ' .. q.name .. ' holds ' .. length .. ' tasks; with ' .. total
            .. ' more it would exceed its limit of ' .. sw.digits(q.max_queue_length))
    end
    sw.ensure_instance(q)
    sw.ensure(q, 'has_holds')
    sw.write_config(q)
    sw.create_batch(q, batch, {}, { on_complete = v[3], on_complete_again = v[7] })
    local batch_key = q.prefix .. 'batch:' .. batch
    sw.derived('ZREM', q.prefix .. 'stages', token)
    if total == 0 then
        call('DEL', key)
        return nil
    end
    call('PERSIST', batch_key)
    call('HDEL', batch_key, 'finished_at')
    call('HSET', batch_key, 'total', total, 'pending', total, 'stage', token,
        'opened_at_tag', sw.digits(sw.time_tag(q, 0)))
    call('RENAME', q.prefix .. 'stage_members:' .. token, q.prefix .. 'members:' .. batch)
    call('DEL', key)
    sw.add_to_stat(q, 'opening', total)
    sw.begin_batch_work(q, 'open', batch, token)
end

-- Returns the arguments of the next tasks of a batch that is being opened, as one call would carry them, and how many
-- tasks they are.
local function read_part(q, token, ids)
    local args, bytes, dependencies, n = {}, 0, 0, 0
    for _, id in ipairs(ids) do
        local fields = call('HGETALL', q.prefix .. 'stage_task:' .. token .. '/' .. id)
        local count = 0
        for k = 1, #fields, 2 do
            bytes = bytes + #fields[k + 1]
            if fields[k] == 'depends_on' then
                count = 1
                for _ in string.gmatch(fields[k + 1], ',') do count = count + 1 end
            end
        end
        dependencies = dependencies + count
        if n > 0 and (bytes > STEP_BYTES or dependencies > sw.MAX_DEPENDENCIES) then break end
        n = n + 1
        args[#args + 1], args[#args + 2] = 'task', id
        for k = 1, #fields, 2 do
            if fields[k] ~= 'task' then args[#args + 1], args[#args + 2] = fields[k], fields[k + 1] end
        end
    end
    return args, n
end

-- Checks the dependencies of the `n` tasks that were read. How a dependency ended that existed when it was staged and
-- is gone now is unknown: the task is cancelled, and so are the tasks that depend on it.
local function find_dependencies(q, token, n)
    sw.check_dependencies(q, n, function(id) return call('HGET', q.claims_key, id) == token and 'pending' or 'gone' end)
end

-- Adds up to `limit` tasks of an opened batch to the queue. Returns how many.
function sw.step_open(q, batch, token, limit)
    local key = q.prefix .. 'batch:' .. batch
    local v = call('HMGET', key, 'done', 'total', 'opened_at_tag')
    local done, total = sw.whole(v[1], 0), sw.whole(v[2], 0)
    local ids = call('LRANGE', q.prefix .. 'members:' .. batch, done, done + limit - 1)
    local args, n = read_part(q, token, ids)
    local c = sw.changes(q)
    if n > 0 then
        local count, refused = sw.read_tasks(q, args, 1, batch)
        if count then
            find_dependencies(q, token, n)
            sw.ensure_uses(q, n)
            for i = 1, n do
                sw.count_in_batch(c, batch, 'pending', nil)
                local tag = (sw.tag_in(v[3]) or sw.time_tag(q, 0)) + done + i - 1
                sw.plan_task(c, i, batch, tag, sw.lived_before(i), sw.has_dependents(q, ids[i]))
            end
        else
            error(refused)
        end
    end
    local doomed, claims = {}, {}
    for i = 1, n do
        doomed[i] = q.prefix .. 'stage_task:' .. token .. '/' .. ids[i]
        claims[#claims + 1] = ids[i]
        local _, _, _, t = sw.new_task(i)
        if t and t.unique_key then claims[#claims + 1] = 'unique ' .. t.unique_key end
    end
    local is_last = done + n >= total or n == 0
    rawset(c, 'is_general', true)
    sw.commit(c)
    if n > 0 then
        call('UNLINK', unpack(doomed))
        call('HDEL', q.claims_key, unpack(claims))
        sw.add_to_stat(q, 'opening', -n)
    end
    if is_last then
        call('LPOP', q.prefix .. 'batch_work')
        call('HDEL', key, 'done', 'stage', 'opened_at_tag')
    else
        call('HSET', key, 'done', done + n)
    end
    return n
end

-- Whether the stage is being deleted, so that nothing can be added to it.
function sw.is_stage_going(q, token)
    return call('HEXISTS', q.prefix .. 'stage:' .. token, 'dropping') == 1
end

-- Deletes up to `limit` tasks of a stage, which cannot be opened from now on; deletes the stage with the last of
-- them. Returns how many.
function sw.drop_stage(q, token, limit)
    local members = q.prefix .. 'stage_members:' .. token
    call('HSET', q.prefix .. 'stage:' .. token, 'dropping', '1')
    local ids = call('LRANGE', members, 0, limit - 1)
    local doomed, claims = {}, {}
    for i, id in ipairs(ids) do
        local key = q.prefix .. 'stage_task:' .. token .. '/' .. id
        doomed[i] = key
        if call('HGET', q.claims_key, id) == token then claims[#claims + 1] = id end
        local unique_key = call('HGET', key, 'unique_key')
        local name = unique_key and 'unique ' .. unique_key
        if name and call('HGET', q.claims_key, name) == token .. ' ' .. id then claims[#claims + 1] = name end
    end
    if #claims > 0 then call('HDEL', q.claims_key, unpack(claims)) end
    if #doomed > 0 then
        call('UNLINK', unpack(doomed))
        call('LTRIM', members, #ids, -1)
    end
    if #ids < limit then
        call('ZREM', q.prefix .. 'stages', token)
        call('DEL', q.prefix .. 'stage:' .. token, members)
    end
    return #ids
end

-- Deletes up to `limit` tasks of a stage that was not opened in time. Returns how many (0 if no stage is due, or else
-- at least 1), and when the next stage is due (nil: none).
function sw.drop_due_stage(q, limit)
    local first = call('ZRANGE', q.prefix .. 'stages', 0, 0, 'WITHSCORES')
    if not first[1] then return 0, nil end
    if tonumber(first[2]) > q.now then return 0, tonumber(first[2]) end
    return math.max(1, sw.drop_stage(q, first[1], limit)), q.now
end
