-- switchyard_pull: a worker asks for tasks that fit its free slots, most urgent first.
--
-- Transition  pending → assigned, or with start → running
-- Keys        1: the queue's prefix, 2: its config
-- Arguments   worker (id), nonce (of its process), max (0 to 100, default 1; 0: it has no room for what it was woken for, so
--             that another worker is woken), start ("1"), together ("1": by preference tasks of one group_key), holding (how many
--             attempts the worker knows of: if it holds more, they are sent again, because a reply was lost)
-- Reply       a list of assignments, each in pairs: task, attempt, deadline_at (once started), timeout_ms, priority and whatever
--             was submitted. Assignments not started yet are sent again by every pull. A reply ends at 1 MiB: the next pull
--             goes on.
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

-- allow-oom: a full Redis must be drained, and a task that is never pulled never goes.
redis.register_function{ function_name = 'switchyard_pull', flags = { 'allow-oom' }, callback = pull }
