-- Fast path of switchyard_submit: one task without options that concern more than the task. It runs the same commands
-- as the general path, without its lists.
--
-- Preconditions: the queue exists, has no tenants or aging, and does not drain; the call has one task and no
-- arguments before it; the task is new; no worker sleeps; no task is held; no batch is staged; the queue is not full.
-- Otherwise returns nil (nothing written).

if not sw.MAY.none.pending then error('switchyard: submit_one.lua disagrees with the table of transitions') end

-- The options that are stored as they are given; LIMITS has those with a maximum.
local STORED = { repo = true, target = true, args = true, mr = true, labels = true, command = true,
    env = true, cwd = true,
    traceparent = true, priority_reason = true, kind = true }

local LIMITS = { timeout_ms = 2592000000, max_retries = 100 }

function sw.submit_one(q, args)
    local id, size = args[2], #args
    if args[1] ~= 'task' or size % 2 == 1 or size > 40 or sw.check_id(id) then return nil end
    local key, bytes, priority = q.task_prefix .. id, 0, 'normal'
    local all = { key, 'state', 'pending', 'tag', false, 'priority', 'normal', 'submitted_at', q.now_text,
        nil, nil, nil, nil, nil, nil, nil, nil }
    local at = 9
    for i = 3, size, 2 do
        local name, value = args[i], args[i + 1]
        bytes = bytes + #value
        if STORED[name] or name == 'payload' and (#value <= SHORT_VALUE or #value > IN_PIECES) then
            all[at + 1], all[at + 2] = name, value
            at = at + 2
        elseif name == 'request' then
            -- A token equal to the id, as for a generated id, is not stored.
            if value ~= id then
                all[at + 1], all[at + 2] = name, value
                at = at + 2
            end
        elseif name == 'priority' and sw.LEVEL[value] then
            priority, all[7] = value, value
        elseif LIMITS[name] and not sw.check_integer(name, value, name == 'timeout_ms' and 1 or 0, LIMITS[name]) then
            all[at + 1], all[at + 2] = name, value
            at = at + 2
        else
            return nil
        end
    end
    if bytes > sw.MAX_VALUE_BYTES or call('EXISTS', key, q.idle_key, q.held_key, q.idle_pools_key, q.claims_key) > 0
        or sw.length(q, true) >= q.max_queue_length then
        return nil
    end
    local tag = sw.time_tag(q, 0)
    all[5] = sw.digits(tag)
    call('ZADD', q.pending_key, sw.score(q, priority, tag), id)
    call('HSET', unpack(all, 1, at))
    call(PUBLISH, q.events_key, id .. ' pending 0')
    return { { id, 'pending', 'queued', -1, 'new' } }
end
