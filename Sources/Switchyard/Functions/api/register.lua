-- switchyard_register: makes a worker known, or known again after a reconnect; what it holds it keeps.
--
-- Keys        1: the queue's prefix
-- Arguments   worker (id), slots (1 to 1000, default 1), protocol (1); what it offers: labels (label or label=value,
--             separated by commas), cpu (cores), memory_mb, resources (name=amount, …); and for people: host, pid, version
-- Reply       pairs: protocol, heartbeat_ms, lease_ms, instance, queue, partitions (how many the queue has)
-- Errors      BADREQUEST
local SHOWN = { 'labels', 'cpu', 'memory_mb', 'resources', 'host', 'pid', 'version' }

local function register(keys, args)
    local q, failure = sw.open(keys)
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
    local key = q.prefix .. 'worker:' .. worker
    local set = { 'slots', slots }
    for _, name in ipairs(SHOWN) do
        if head[name] then
            if #head[name] > 4096 then return sw.bad(name .. ': at most 4096 bytes, found ' .. #head[name]) end
            set[#set + 1] = name
            set[#set + 1] = head[name]
        end
    end
    local class, wrong = sw.class_of(head)
    if not class then return sw.bad(wrong) end
    local before = call('HGET', key, 'slots')

    sw.ensure_instance(q)
    call('HSET', key, unpack(set))
    if class ~= '' then sw.ensure_lanes(q) end
    if q.has_lanes then sw.join_class(q, worker, class) end
    call('HSETNX', key, 'registered_at', q.now_text)
    -- One of its name was leaving: it goes on where that was, and has what it held.
    if call('HDEL', key, 'leaves') == 1 then call('HSET', key, 'draining', '0') end
    -- A worker that only reconnects goes on draining if it was told to.
    call('HSETNX', key, 'draining', '0')
    sw.set_state(q, worker, slots, call('HGET', key, 'draining'), class)
    call('ZADD', q.prefix .. 'workers', sw.digits(q.now + q.lease_ms), worker)
    call('HINCRBY', q.prefix .. 'stats', 'slots', tonumber(slots) - tonumber(before or 0))
    return { 'protocol', '1', 'heartbeat_ms', sw.digits(q.heartbeat_ms), 'lease_ms', sw.digits(q.lease_ms),
        'instance', q.instance, 'queue', q.name, 'partitions', sw.digits(q.partitions) }
end

-- allow-oom: without workers a full Redis stays full.
redis.register_function{ function_name = 'switchyard_register', flags = { 'allow-oom' }, callback = register }
