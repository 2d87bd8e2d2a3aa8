-- switchyard_cordon: cordons a worker, or ends its cordon. A cordoned worker gets no tasks, also after it has
-- registered again with its id, until it is uncordoned. It keeps the attempts that it has.
--
-- Keys        1: the queue's prefix, 2: its config
-- Arguments   worker (id), off ("1": end the cordon)
-- Reply       how many leased attempts it still has
-- Errors      BADREQUEST, WORKERNOTFOUND (not registered; to end a cordon: nor cordoned)
local function cordon(keys, args)
    local q, failure = sw.enter_checked(keys)
    if not q then return failure end
    local head, tasks = sw.parse(args)
    if not head then return tasks end
    local worker, bad = sw.worker_of(head)
    if not worker then return bad end
    local problem = head.off and sw.check_integer('off', head.off, 0, 1)
    if problem then return sw.bad(problem) end
    local is_registered = call('EXISTS', q.prefix .. 'worker:' .. worker) == 1
    local is_end = head.off == '1'
    if not is_registered and not (is_end and call('HEXISTS', q.prefix .. 'cordoned', worker) == 1) then
        return sw.worker_not_found(worker)
    end
    local held = sw.busy_slots(q, worker)
    if is_end then sw.uncordon_worker(q, worker) else sw.cordon_worker(q, worker) end
    return held
end

redis.register_function{ function_name = 'switchyard_cordon', flags = { 'allow-oom' }, callback = cordon }
