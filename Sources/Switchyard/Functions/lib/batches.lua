-- Batches: many tasks followed, and cancelled, as one. `batch:<id>` counts them, `members:<id>` lists them in order.
--
-- A batch of more tasks than one call may carry is staged: its parts come one by one, their tasks stand in `staged`, and
-- nobody sees them. The call that opens it makes it a batch at once; its tasks then come into line in bounded steps, some by
-- that call and the rest by ticks. A staged batch that is not opened within STAGED_MS is deleted.

local STAGED_MS = 3600000

-- Steps of batches that go on over several calls: the list `batch_work` holds "open <id>" and "cancel <id>"; how far each
-- has come is the field `done` of its hash.
local function begin_work(q, kind, id)
    call('HSET', q.prefix .. 'batch:' .. id, 'done', '0')
    call('RPUSH', q.prefix .. 'batch_work', kind .. ' ' .. id)
end

-- Opens a staged batch.
function sw.open_batch(q, id)
    call('HDEL', q.prefix .. 'batch:' .. id, 'staged')
    call('ZREM', q.prefix .. 'staged_batches', id)
    begin_work(q, 'open', id)
end

-- Cancels what has not ended of a batch.
function sw.cancel_batch(q, id, reason)
    call('HSET', q.prefix .. 'batch:' .. id, 'cancel_reason', reason)
    begin_work(q, 'cancel', id)
end

-- Notes the tasks of a part of a batch.
function sw.add_members(q, id, ids, staged)
    call('RPUSH', q.prefix .. 'members:' .. id, unpack(ids))
    if staged then call('ZADD', q.prefix .. 'staged_batches', sw.digits(q.now + STAGED_MS), id) end
end

-- The hash of a batch, or of a further part of it, with the new tasks `ids`.
function sw.write_batch(q, head, ids)
    local key, staged = q.prefix .. 'batch:' .. head.batch, head.stage == '1'
    call('HINCRBY', key, 'total', #ids)
    call('HSETNX', key, 'submitted_at', q.now_text)
    if staged then
        sw.ensure_holds(q)
        call('HSET', key, 'staged', '1')
    end
    if head.follow_up then
        sw.ensure_uses(q, head.follow_up)
        call('HSET', key, 'on_complete', head.on_complete)
    end
    if #ids > 0 then
        sw.add_members(q, head.batch, ids, staged)
    elseif not staged then
        -- All its tasks were there before: it has ended already, and no last task of it will take it away.
        call('HSETNX', key, 'finished_at', q.now_text)
        call('PEXPIRE', key, sw.digits(math.max(1, q.retention_ms)))
    end
end

-- One step of the first batch at work, of up to `limit` tasks. Answers how many it moved; nil: there is none at work.
function sw.step_batches(q, limit)
    local work = call('LINDEX', q.prefix .. 'batch_work', 0)
    if not work then return nil end
    local kind, id = string.match(work, '^(%a+) (.+)$')
    local key = q.prefix .. 'batch:' .. id
    local v = call('HMGET', key, 'done', 'cancel_reason')
    local done = tonumber(v[1] or 0)
    local ids = call('LRANGE', q.prefix .. 'members:' .. id, done, done + limit - 1)
    local c = sw.changes(q)
    for _, task_id in ipairs(ids) do
        local task = sw.read(q, task_id)
        if task and kind == 'cancel' and not sw.TERMINAL[task.state] then
            sw.cancel_task(c, task, v[2] or 'its batch was cancelled')
        elseif task and kind == 'open' and task.held_by == 'batch' then
            if task.broken then
                sw.cancel_task(c, task, 'its dependency ' .. task.broken)
            elseif task.deps_left > 0 then
                sw.move(c, task, 'pending', task.place, {}, { held_by = 'dependencies' })
            else
                sw.release(c, task, {})
            end
        end
    end
    if #ids < limit then
        call('LPOP', q.prefix .. 'batch_work')
        call('HDEL', key, 'done')
    else
        call('HSET', key, 'done', done + #ids)
    end
    sw.follow_up(c, limit - #ids)
    if kind == 'open' then sw.plan_wake_for_added(c) end
    sw.commit(c)
    return #ids
end

-- Deletes up to `limit` tasks of staged batches that nobody opened in time. Answers how many.
function sw.drop_staged(q, limit)
    local id = call('ZRANGEBYSCORE', q.prefix .. 'staged_batches', '-inf', q.now_text, 'LIMIT', 0, 1)[1]
    return id and sw.drop_staged_batch(q, id, limit) or 0
end

-- Deletes up to `limit` tasks of the staged batch `id`, and with the last of them the batch. Answers how many.
function sw.drop_staged_batch(q, id, limit)
    local ids = call('LRANGE', q.prefix .. 'members:' .. id, 0, limit - 1)
    if #ids < limit then
        call('ZREM', q.prefix .. 'staged_batches', id)
        call('DEL', q.prefix .. 'batch:' .. id)
    end
    if #ids == 0 then return 0 end
    call('LTRIM', q.prefix .. 'members:' .. id, #ids, -1)
    call('ZREM', q.prefix .. 'staged', unpack(ids))
    for _, task_id in ipairs(ids) do
        local key = call('HGET', q.prefix .. 'task:' .. task_id, 'unique_key')
        if key and call('GET', q.prefix .. 'unique:' .. key) == task_id then
            call('DEL', q.prefix .. 'unique:' .. key)
        end
        call('DEL', q.prefix .. 'task:' .. task_id, q.prefix .. 'dependents:' .. task_id)
    end
    return #ids
end

-- Every task of batch `id` has ended: its follow-up task (on_complete) comes into line, once.
function sw.start_follow_up(q, id)
    local key = q.prefix .. 'batch:' .. id
    local text = call('HGET', key, 'on_complete')
    if not text then return end
    call('HDEL', key, 'on_complete')
    local c = sw.changes(q)
    local _, tasks = sw.read_tasks(q, cjson.decode(text))
    local t = tasks[1]
    if call('EXISTS', q.task_prefix .. t.task) == 1 then return end
    call('HSET', key, 'follow_up', t.task)
    sw.plan_task(c, t, 1, nil)
    sw.plan_wake_for_added(c)
    sw.commit(c)
end
