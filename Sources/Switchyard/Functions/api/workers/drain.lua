-- switchyard_drain: makes a worker drain: it gets no more tasks. Its control channel tells it at once, and its next
-- heartbeat tells it again.
--
-- Keys        1: the queue's prefix, 2: its config
-- Arguments   worker (id), nonce (of its process, if the worker itself says that it drains)
-- Reply       how many leased attempts it still has
-- Errors      BADREQUEST, WORKERNOTFOUND (also: another process has registered with the id)
local function drain(keys, args)
    local q, failure = sw.enter_checked(keys)
    if not q then return failure end
    local head, tasks = sw.parse(args)
    if not head then return tasks end
    local worker, bad = sw.worker_of(head)
    if not worker then return bad end
    if call('EXISTS', q.prefix .. 'worker:' .. worker) == 0 then return sw.worker_not_found(worker) end
    local refused = sw.check_nonce(q, worker, head.nonce)
    if refused then return refused end
    local held = sw.busy_slots(q, worker)
    sw.drain_worker(q, worker)
    call(PUBLISH, q.channels .. 'control:' .. worker, 'drain')
    return held
end

redis.register_function{ function_name = 'switchyard_drain', flags = { 'allow-oom' }, callback = drain }
