-- switchyard_submit: adds tasks to the queue, all or none, and wakes workers for them.
--
-- Transition  none → pending (held_by schedule while delayed, dependencies while it waits for other tasks), or →
--             cancelled if a dependency has ended without success
-- Keys        1: the queue's prefix, 2: its config
-- Arguments   of the call: batch (id: the tasks are followed as one), stage (a token, or "1" for the batch's id: the
--             tasks are a part of a batch that switchyard_open_batch opens later), part (the number of this part),
--             on_complete (a task that runs once when the batch has ended: a JSON list of names and values),
--             on_complete_again ("1": it runs each time that the batch ends, also after a retry), if_no_workers
--             ("reject"), position ("1": reply with positions)
--             of each task: task (id), priority (critical|high|normal|low), priority_reason, timeout_ms, max_retries,
--             delay_ms, run_at (ms since 1970), request (a token: a submission that is repeated with the same token,
--             because its reply was lost, gets the same reply), and opaque bytes: repo, target, args, mr, labels,
--             command, env, cwd, payload, traceparent, kind; what its worker must have: requires (label, label=value,
--             label=one|other, label!=value, separated by commas), cpu (cores), memory_mb, resources (name=amount,
--             …); when it may run: depends_on (ids, separated by commas), run_anyway ("1": also if a dependency ends
--             without success), concurrency_key with concurrency_limit, rate_key with rate_per_second and rate_burst;
--             in which order: fairness_key with fairness_weight, affinity_key, group_key; and unique_key with
--             unique_for_ms
-- Reply       for each task, in order: {id, state, "woken" or "queued", position in line from 0 or -1, "new",
--             "repeated" or "unique"}. For "unique", id is that of the existing task with the same unique_key
-- Errors      BADREQUEST, TASKEXISTS, QUEUEFULL (names the limit), QUEUEDRAINING, NOWORKERS, TASKNOTFOUND (a stage
--             that is being deleted); nothing is written, except that QUEUEFULL is counted

-- The rows of the reply. All calls share them: Redis converts a reply before the next call begins.
local rows, new_ids = {}, sw.new_ids

local function row(i, id, state, woken, position, kind)
    local reply = rows[i]
    if not reply then
        reply = {}
        rows[i] = reply
    end
    reply[1], reply[2], reply[3], reply[4], reply[5] = id, state, woken, position, kind
    return reply
end

-- Returns an error reply if no registered worker could run one of the `n` tasks.
local function no_workers_for(q, n)
    if call('ZCOUNT', q.prefix .. 'workers', q.now_text, '+inf') == 0 then
        return redis.error_reply('NOWORKERS queue ' .. q.name .. ' has no live worker')
    end
    for i = 1, n do
        local id, _, lane = sw.new_task(i)
        if (lane or q.has_lanes) and not sw.is_served(q, lane or '') then
            return redis.error_reply('NOWORKERS queue ' .. q.name .. ' has no live worker for task ' .. id
                .. (lane and ', which needs ' .. lane or ': all take only tasks that require certain labels'))
        end
    end
end

-- Returns an error reply if the batch of the call is invalid.
local function check_batch(q, head)
    if not head.batch then
        if head.stage or head.on_complete or head.on_complete_again then return sw.bad('batch: missing') end
        return nil
    end
    if not sw.is_name(head.batch) then
        return sw.bad('batch: expected 1 to 200 characters of A-Z a-z 0-9 . _ : -, found ' .. sw.shown(head.batch))
    end
    if head.stage and not sw.is_name(head.stage) then
        return sw.bad('stage: expected 1 to 200 characters of A-Z a-z 0-9 . _ : -, found ' .. sw.shown(head.stage))
    end
    local wrong = head.part and sw.check_integer('part', head.part, 0, 1000000)
    if wrong then return sw.bad(wrong) end
    wrong = head.on_complete_again and sw.check_integer('on_complete_again', head.on_complete_again, 0, 1)
    if wrong then return sw.bad(wrong) end
    if not head.on_complete then
        if head.on_complete_again == '1' then return sw.bad('on_complete_again: expected on_complete, found none') end
        return nil
    end
    local pairs_, problem = sw.check_template('on_complete', head.on_complete)
    if not pairs_ then return sw.bad(problem) end
    local n, refused = sw.read_tasks(q, pairs_, 1)
    if not n then return sw.bad('on_complete: ' .. string.gsub(refused.err, '^BADREQUEST ', '')) end
    if n > 1 then return sw.bad('on_complete: expected one task, found ' .. n) end
    local _, _, _, t = sw.new_task(1)
    if t and (t.depends_on or t.unique_key) then
        return sw.bad('on_complete: depends_on and unique_key cannot be used here')
    end
end

-- Looks for existing tasks with the ids of the `n` tasks that were read. Returns, by index, the states of tasks that
-- the same submission has made before (`repeated`), and the attempt numbers that purged tasks have left (`lived`); or
-- nil and an error reply.
local function find_existing(q, n, claims)
    local repeated, lived, clash, count = {}, {}, nil, 0
    for i = 1, n do
        local id, key, _, _, request = sw.new_task(i)
        local v = call('HMGET', key, 'state', 'request', 'attempt')
        if claims.ids[i] then
            clash = clash or id
        elseif v[1] == 'purged' then
            lived[i] = v[3]
        elseif v[1] then
            if request and (v[2] or id) == request then
                repeated[i] = v[1]
                count = count + 1
            else
                clash = clash or id
            end
        end
    end
    -- In a repeated submission, all tasks exist, except those that an equal task replaced.
    for i = 1, count > 0 and n or 0 do
        local id, _, _, t = sw.new_task(i)
        if not (repeated[i] or claims.own[i] or t and t.unique_key) then
            clash = clash or next(repeated) and id or nil
        end
    end
    if clash then
        return nil, redis.error_reply('TASKEXISTS task ' .. clash .. ' exists already in queue ' .. q.name)
    end
    return repeated, lived
end

-- Finds the tasks whose unique_key is taken, and sets t.same_as and t.same_state. Returns how many.
local function find_equals(q, n, repeated, claims)
    local taken, count, asked, keys = {}, 0, {}, {}
    for i = 1, n do
        local _, _, _, t = sw.new_task(i)
        if t and t.unique_key and not repeated[i] then
            asked[#asked + 1], keys[#keys + 1] = t, q.prefix .. 'unique:' .. t.unique_key
        end
    end
    if #asked == 0 then return 0 end
    local holders = call('MGET', unpack(keys))
    for k, t in ipairs(asked) do
        t.same_as, t.same_state = taken[t.unique_key] or claims.keys[t.at], 'pending'
        if not t.same_as then t.same_as, t.same_state = sw.holder(q, holders[k]) end
        if t.same_as == t.task then t.same_as = nil end
        if t.same_as then count = count + 1 else taken[t.unique_key] = t.task end
    end
    return count
end

-- Whether the call repeats a part of an opened batch: each of its tasks exists, is about to enter the queue, or is
-- replaced by an equal task.
local function is_opened_part(head, n, repeated, claims)
    if not head.stage or not (next(repeated) or next(claims.own)) then return false end
    for i = 1, n do
        local _, _, _, t = sw.new_task(i)
        if not (repeated[i] or claims.own[i] or t and t.unique_key) then return false end
    end
    return true
end

-- Checks whether the batch exists already. If this call repeats the submission that made it, the reply is the same.
-- Returns an error reply or nil, and whether the call is a repetition.
local function check_batch_is_new(q, head, n, repeated, claims)
    local v = call('HMGET', q.prefix .. 'batch:' .. head.batch, 'total', 'request')
    if not v[1] then return nil, false end
    local _, _, _, _, request = sw.new_task(1)
    if request and v[2] == request or is_opened_part(head, n, repeated, claims) then return nil, true end
    return redis.error_reply('TASKEXISTS batch ' .. head.batch .. ' exists already in queue ' .. q.name), false
end

local NO_CLAIMS = { ids = {}, keys = {}, breaks = {}, own = {} }
local NONE_REPEATED, NONE_LIVED = {}, {}

-- Whether each task of the call is ready to run, and the replies. All calls share these lists.
local ready, replies = {}, {}

-- Stores the new tasks in the stage `token`. Stores nothing if the batch has been opened.
local function stage(q, token, head, args, first, n, claims, is_new)
    for i = 1, n do ready[i] = false end
    if head.is_repeated then return 0 end
    local skipped = {}
    for i = 1, n do skipped[i] = claims.own[i] or not is_new(i) end
    sw.begin_writing()
    sw.break_stages(q, claims)
    sw.stage(q, token, head, args, first, skipped)
    return 0
end

-- Plans and commits the new tasks. Returns how many workers it wakes.
--   is_new   returns whether the i-th task is new (nil: all are)
local function add(q, head, n, has_options, lived, is_busy, is_new)
    if has_options then sw.ensure_uses(q, n) end
    local c, added, tag, woken = sw.changes(q), head.batch and {}, sw.time_tag(q, 0), 0
    local plan_task, ready = sw.plan_task, ready
    for i = 1, n do
        ready[i] = false
        if not is_new or is_new(i) then
            if added then added[#added + 1] = (sw.new_task(i)) end
            ready[i] = plan_task(c, i, head.batch, tag + i - 1, lived[i])
        end
    end
    if not is_busy then
        local lines = sw.planned_lines()
        if lines then woken = sw.plan_wake(c, lines) end
    end
    if added and not head.is_repeated then
        local _, _, _, _, request = sw.new_task(1)
        sw.plan_batch(c, head.batch, added, head, request or nil)
    end
    sw.commit(c)
    if added and #added == 0 and not head.is_repeated then sw.start_follow_up(q, head.batch) end
    return woken
end

-- Whether a limit keeps a new task of `lane` from starting now. `blocked` has the lanes of which a task was blocked: it
-- saves the look at those behind it.
local function is_blocked(q, id, lane, blocked)
    if not sw.has_gates(lane) or blocked[lane] then return blocked[lane] end
    local before = call('ZRANK', q.prefix .. sw.line_of(lane), id)
    -- A closed lane is in no line that workers look at.
    blocked[lane] = not before or before >= sw.free_starts(sw.changes(q), lane)
    return blocked[lane]
end

local function reply_to(q, head, n, has_options, woken, repeated)
    if not has_options and repeated == NONE_REPEATED and not head.is_repeated and head.position ~= '1'
        and not head.stage then
        for i = 1, n do
            replies[i] = row(i, new_ids[i], 'pending', i <= woken and 'woken' or 'queued', -1, 'new')
        end
        replies[n + 1] = nil
        return replies
    end
    local rank, blocked = 0, {}
    for i = 1, n do
        local id, _, lane, t = sw.new_task(i)
        if repeated[i] then
            replies[i] = row(i, id, repeated[i], 'queued', -1, 'repeated')
        elseif t and t.same_as then
            replies[i] = row(i, t.same_as, t.same_state, 'queued', -1, 'unique')
        elseif head.is_repeated then
            replies[i] = row(i, id, 'pending', 'queued', -1, 'repeated')
        else
            local position = -1
            local starts = ready[i] and rank < woken and not is_blocked(q, id, lane, blocked)
            if starts then rank = rank + 1 end
            if ready[i] then
                if head.position == '1' then
                    position = call('ZRANK', q.prefix .. sw.line_of(lane or nil), id) or -1
                end
            end
            replies[i] = row(i, id, t and t.broken and 'cancelled' or 'pending',
                starts and 'woken' or 'queued', position, 'new')
        end
    end
    replies[n + 1] = nil
    return replies
end

-- Returns an error reply, and counts it, if the queue's maximum length does not allow `fresh` more tasks; or nil.
local function refuse_if_full(q, token, fresh, is_busy)
    local length = sw.length(q, is_busy)
    local staged = token and sw.whole(call('HGET', q.prefix .. 'stage:' .. token, 'total'), 0) or 0
    if length + staged + fresh <= q.max_queue_length then return nil end
    sw.add_to_stat(q, 'queue_full_errors', 1)
    if staged + fresh > q.max_queue_length then
        -- SchedulerError.canNeverFit tests for "can never hold".
        return redis.error_reply('QUEUEFULL queue ' .. q.name .. ' can never hold the ' .. staged + fresh
            .. ' tasks of this submission: its limit is ' .. sw.digits(q.max_queue_length)
            .. '; submit fewer at a time, or raise max_queue_length')
    end
    return redis.error_reply('QUEUEFULL queue ' .. q.name .. ' holds ' .. length .. ' tasks; with ' .. staged + fresh
        .. ' more it would exceed its limit of ' .. sw.digits(q.max_queue_length))
end

local function submit(keys, args)
    local q, failure = sw.enter(keys)
    if not q then return failure end
    if FAST and q.is_strict and q.draining == 0 and q.instance and q.is_compiled then
        local reply = sw.submit_one(q, args)
        if reply then return reply end
    end
    local head, first = sw.read_head(args)
    local refused
    if head.batch or head.stage or head.on_complete or head.on_complete_again then
        refused = check_batch(q, head)
        if refused then return refused end
    end
    local n, has_options = sw.read_tasks(q, args, first, head.batch)
    if not n then return has_options end

    -- In a busy queue, one command shows that all tasks are new and no worker sleeps.
    local repeated, lived, claims = NONE_REPEATED, NONE_LIVED, NO_CLAIMS
    local token = head.stage and sw.stage_token(head.stage, head.batch)
    local broken = token and call('HGET', q.prefix .. 'stage:' .. token, 'broken')
    if broken then return sw.refuse_broken(q, token, head.batch, broken) end
    if token and sw.is_stage_going(q, token) then
        return redis.error_reply('TASKNOTFOUND batch ' .. head.batch .. ' was not opened in time, and is being deleted')
    end
    local is_busy = sw.is_all_clear(q, n)
    if not is_busy then
        if call('EXISTS', q.claims_key) == 1 then claims = sw.read_claims(q, n, token) end
        if claims ~= NO_CLAIMS or sw.count_existing(n) > 0 then
            repeated, lived = find_existing(q, n, claims)
            if not repeated then return lived end
        end
    end
    if head.batch then
        refused, head.is_repeated = check_batch_is_new(q, head, n, repeated, claims)
        if refused then return refused end
    end
    local fresh, is_new = n, nil
    if has_options then fresh = fresh - find_equals(q, n, repeated, claims) end
    for _ in pairs(repeated) do fresh = fresh - 1 end
    for _ in pairs(claims.own) do fresh = fresh - 1 end
    if head.is_repeated then fresh = 0 end
    if fresh < n then
        is_new = function(i)
            local _, _, _, t = sw.new_task(i)
            return not (repeated[i] or t and t.same_as or head.is_repeated)
        end
    end
    if fresh > 0 then
        if q.draining == 1 then
            return redis.error_reply('QUEUEDRAINING queue ' .. q.name .. ' is draining: it takes no new tasks')
        end
        local wrong = has_options and sw.check_dependencies(q, n, token and sw.is_staged(q, token))
        if wrong then return sw.bad(wrong) end
        refused = head.if_no_workers == 'reject' and no_workers_for(q, n) or refuse_if_full(q, token, fresh, is_busy)
        if refused then return refused end
    end
    if not q.instance or not q.is_compiled then sw.ensure_instance(q) end
    local woken
    if token then
        woken = stage(q, token, head, args, first, n, claims, is_new or function() return true end)
    else
        if #claims.breaks > 0 then
            sw.begin_writing()
            sw.break_stages(q, claims)
        end
        woken = add(q, head, n, has_options, lived, is_busy, is_new)
    end
    return reply_to(q, head, n, has_options, woken, repeated)
end

redis.register_function{ function_name = 'switchyard_submit', callback = submit }
