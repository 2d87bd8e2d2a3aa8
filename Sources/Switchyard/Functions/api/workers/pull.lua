-- switchyard_pull: returns tasks that fit the free slots of a worker, most urgent first.
--
-- Transition  pending → assigned, or with start → running
-- Keys        1: the queue's prefix, 2: its config
-- Arguments   worker (id), nonce (of its process), max (0 to 100, default 1; 0: it has no free slot for the tasks
--             that it was woken for, so another worker is woken), start ("1"), together ("1": prefer tasks with the
--             same group_key), holding (how many attempts the worker knows of: if it has more leases, the tasks are
--             sent again, because a reply was lost), max_bytes (1 to 1048576, which is the default: how many bytes of
--             payload, args, command and env the reply may have; a larger task comes alone)
-- Reply       a list of assignments, each in pairs: task, attempt, deadline_at (once started), timeout_ms, priority
--             and the submitted fields. Each pull repeats the assignments that the worker has not started. A reply
--             ends at max_bytes; the worker is then woken to pull again.
-- Errors      BADREQUEST, WORKERNOTFOUND
local function pull(keys, args)
    local q, failure = sw.enter(keys)
    if not q then return failure end
    local head, tasks = sw.parse(args)
    if not head then return tasks end
    local worker, bad = sw.worker_of(head)
    if not worker then return bad end
    bad = sw.check_pull(head)
    if bad then return bad end
    local state, refused = sw.registered(worker, call('HGET', q.attempts_prefix .. worker, '@state'), head.nonce)
    if not state then return refused end
    local c = sw.changes(q)
    local assignments = sw.plan_pull(c, worker, state, head).assignments
    sw.commit(c)
    return assignments
end

-- allow-oom: pulls free a full Redis, because a task that is never pulled is never deleted.
redis.register_function{ function_name = 'switchyard_pull', flags = { 'allow-oom' }, callback = pull }
