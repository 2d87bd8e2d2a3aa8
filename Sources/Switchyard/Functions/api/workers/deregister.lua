-- switchyard_deregister: a worker leaves. Assignments that it has not started return to their lines and are not
-- counted as deliveries; attempts that it runs are lost at once. If it has many, this call ends some, and the next
-- ticks end the rest.
--
-- Transition  assigned → pending; running → pending or failed
-- Keys        1: the queue's prefix, 2: its config
-- Arguments   worker (id), nonce (of its process)
-- Reply       how many attempts it still had
-- Errors      BADREQUEST, WORKERNOTFOUND
local function deregister(keys, args)
    local q, failure = sw.enter_checked(keys)
    if not q then return failure end
    local head, tasks = sw.parse(args)
    if not head then return tasks end
    local worker, bad = sw.worker_of(head)
    if not worker then return bad end
    local slots = call('HGET', q.prefix .. 'worker:' .. worker, 'slots')
    if not slots then return sw.worker_not_found(worker) end
    local refused = sw.check_nonce(q, worker, head.nonce)
    if refused then return refused end
    local c = sw.changes(q)
    local held = sw.busy_slots(q, worker)
    local _, is_over = sw.plan_end_of_worker(c, worker, sw.TASKS_PER_STEP, 'left', {})
    sw.plan_gone(c, worker)
    sw.commit(c)
    if is_over then sw.forget_worker(q, worker, sw.whole(slots, 0)) else sw.let_leave(q, worker) end
    return held
end

redis.register_function{ function_name = 'switchyard_deregister', flags = { 'allow-oom' }, callback = deregister }
