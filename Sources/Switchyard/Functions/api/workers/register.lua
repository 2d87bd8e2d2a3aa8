-- switchyard_register: registers a worker. A worker that registers again, after a reconnect, keeps its attempts. With
-- another nonce than that of the last registration it is another process, and the attempts of the former one are
-- lost.
--
-- Transition  with another nonce: running → pending or failed; assigned → pending or failed
-- Keys        1: the queue's prefix, 2: its config
-- Arguments   worker (id), nonce (1 to 200 characters of A-Z a-z 0-9 . _ : -, of its process), slots (1 to 1000,
--             default 1), protocol (1); what it offers: labels (label or label=value, separated by commas), cpu
--             (cores), memory_mb, resources (name=amount, …); only (labels of it, separated by commas: it takes only
--             tasks that require one of these); grace_ms (0 to 3600000: the worker ends processes with SIGTERM, this
--             grace and SIGKILL, and reports their end, with switchyard_finish and the outcome ended; until then
--             their slots, resources and limits stay taken); and for people: host, pid, version, note (why it
--             takes no tasks for now; empty: it takes tasks)
-- Reply       pairs: protocol, heartbeat_ms, lease_ms, instance, queue, partitions (how many the queue has), channels
--             (what the names of the queue's channels begin with), again
--             ("1": the former process had more attempts than one call ends, and the worker is not registered yet:
--             call again)
-- Errors      BADREQUEST
local SHOWN = { 'labels', 'cpu', 'memory_mb', 'resources', 'only', 'host', 'pid', 'version', 'note' }

local function reply(q, again)
    return { 'protocol', '1', 'heartbeat_ms', sw.digits(q.heartbeat_ms), 'lease_ms', sw.digits(q.lease_ms),
        'instance', q.instance, 'queue', q.name, 'partitions', sw.digits(q.partitions), 'channels', q.channels,
        'again', again and '1' or '0' }
end

-- Ends attempts of the former process after another process has taken the id, up to the limit of one call. Returns
-- whether those were all.
local function replace(q, worker, state)
    local c = sw.changes(q)
    local _, is_over = sw.plan_end_of_worker(c, worker, sw.TASKS_PER_STEP, 'replaced', {})
    sw.plan_gone(c, worker)
    sw.commit(c)
    if not is_over and state.draining == 0 then
        -- Until all attempts are ended, no process with this id gets tasks.
        sw.leave_sleep(q, worker, state)
        sw.set_state(q, worker, state, { draining = 1, asleep = 0 })
    end
    return is_over
end

local function register(keys, args)
    local q, failure = sw.enter_checked(keys)
    if not q then return failure end
    local head, tasks = sw.parse(args)
    if not head then return tasks end
    local worker, bad = sw.worker_of(head)
    if not worker then return bad end
    local slots = head.slots or '1'
    local problem = sw.check_integer('slots', slots, 1, sw.MAX_SLOTS)
    if problem then return sw.bad(problem) end
    if (head.protocol or '1') ~= '1' then
        return sw.bad('protocol: this library speaks 1, found ' .. sw.shown(head.protocol))
    end
    if head.nonce and not sw.is_name(head.nonce) then
        return sw.bad('nonce: expected 1 to 200 characters of A-Z a-z 0-9 . _ : -, found ' .. sw.shown(head.nonce))
    end
    problem = head.grace_ms and sw.check_integer('grace_ms', head.grace_ms, 0, 3600000)
    if problem then return sw.bad(problem) end
    local key = q.prefix .. 'worker:' .. worker
    local set = { 'slots', slots }
    for _, name in ipairs(SHOWN) do
        if head[name] then
            if #head[name] > 4096 then return sw.bad(name .. ': at most 4096 bytes, found ' .. #head[name]) end
            set[#set + 1] = name
            set[#set + 1] = head[name]
        end
    end
    if head.grace_ms then
        set[#set + 1] = 'grace_ms'
        set[#set + 1] = head.grace_ms
    end
    local class, wrong = sw.class_of(head)
    if not class then return sw.bad(wrong) end
    local before = call('HMGET', key, 'slots', 'draining', 'leaves', 'grace_ms')
    local text = call('HGET', q.attempts_prefix .. worker, '@state')
    call('ZCARD', q.index_keys.workers)
    local state = text and sw.worker_state(text)

    sw.ensure_instance(q)
    local is_other = state and head.nonce and state.nonce and head.nonce ~= state.nonce
    if is_other and not replace(q, worker, state) then return reply(q, true) end
    if class ~= '' then sw.ensure(q, 'has_lanes') end
    sw.write_config(q)
    call('HSET', key, unpack(set))
    if before[4] and not head.grace_ms then call('HDEL', key, 'grace_ms') end
    if state then sw.leave_sleep(q, worker, state) end
    local had_classless = q.has_lanes and sw.has_classless_workers(q)
    if q.has_lanes then sw.join_class(q, worker, class) end
    call('HSETNX', key, 'registered_at', q.now_text)
    local draining = before[2] == '1' and '1' or '0'
    -- A worker that reconnects continues to drain if it was told to. A worker whose id was leaving, or another
    -- process, does not.
    if before[3] or is_other then
        draining = '0'
        call('HDEL', key, 'leaves')
    end
    call('HSET', key, 'draining', draining)
    local cordoned_at = call('HGET', q.prefix .. 'cordoned', worker)
    if cordoned_at then call('HSET', key, 'cordoned_at', cordoned_at) end
    local takes = cordoned_at and draining == '0' and sw.CORDONED or draining
    state = state or { slots = slots, draining = 0, unstarted = 0, asleep = 0, room = '' }
    sw.set_state(q, worker, state, { slots = slots, draining = takes, asleep = 0, room = '', class = class,
        nonce = head.nonce or state.nonce or false, unstarted = is_other and 0 or state.unstarted })
    call('HSETNX', q.attempts_prefix .. worker, '@last', '0')
    call('ZADD', q.index_keys.workers, sw.digits(q.now + q.lease_ms), worker)
    sw.settle_classes(q, had_classless)
    sw.add_to_stat(q, 'slots', tonumber(slots) - sw.whole(before[1], 0))
    return reply(q, false)
end

-- allow-oom: without workers a full Redis stays full.
redis.register_function{ function_name = 'switchyard_register', flags = { 'allow-oom' }, callback = register }
