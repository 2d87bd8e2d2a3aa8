-- Dependencies: a task with depends_on waits in `waiting` until each dependency has completed. Each dependency keeps
-- the set `dependents:<id>` of the tasks that wait for it, so the cost of its end depends only on its own dependents.
-- If it ends without success, its dependents are cancelled, and their dependents too, unless they have run_anyway.

-- Limits on the results of dependencies in an assignment: of one result, and of all. Results beyond them are null.
local RESULT_BYTES, RESULTS_BYTES = 4096, 65536

-- Returns the ids of the tasks that `t` depends on, without repetition; or nil and the error text. `same` maps a task
-- that is not made, because an equal task exists, to the id of that task, which replaces it.
local function parse(t, same)
    local ids, seen = {}, {}
    for id in string.gmatch(t.depends_on, '[^,]+') do
        if not sw.is_name(id) then return nil, 'depends_on: ' .. sw.shown(id) .. ' is no task id' end
        id = same[id] or id
        if id == t.task then return nil, 'depends_on: the cycle ' .. id .. ' → ' .. id end
        if not seen[id] then
            seen[id] = true
            ids[#ids + 1] = id
        end
    end
    return ids
end

-- Returns a cycle among the tasks of one submission as text, or nil; and the tasks in an order in which each follows
-- its dependencies. The search is depth first, with an explicit stack because chains are long.
local function cycle_among(tasks, by_id)
    local done, order = {}, {}
    for _, root in ipairs(tasks) do
        local path, on_path = { { root, 1 } }, { [root.task] = true }
        while not done[root.task] do
            local top = path[#path]
            local t, i = top[1], top[2]
            local next_id = t.dependencies and t.dependencies[i]
            if not next_id then
                done[t.task] = true
                order[#order + 1] = t
                on_path[t.task] = nil
                path[#path] = nil
                if #path == 0 then break end
            else
                top[2] = i + 1
                local next_task = by_id[next_id]
                if on_path[next_id] then
                    local names = {}
                    for _, entry in ipairs(path) do
                        if #names > 0 or entry[1].task == next_id then names[#names + 1] = entry[1].task end
                    end
                    names[#names + 1] = next_id
                    return table.concat(names, ' → ')
                elseif next_task and not done[next_id] then
                    on_path[next_id] = true
                    path[#path + 1] = { next_task, 1 }
                end
            end
        end
    end
    return nil, order
end

-- Checks depends_on of the `n` tasks that were read, and sets t.dependencies (ids), t.waits (dependencies that have
-- not ended) and t.broken (text about a dependency that ended without success). Returns the error text, or nil.
--   known   for a stage: returns the state of a task that does not exist, if it is in the stage; "gone" means that it
--           did not succeed
function sw.check_dependencies(q, n, known)
    local tasks, by_id, own, same, count = sw.tasks_with_options(n), {}, {}, {}, 0
    for i = 1, n do own[sw.new_task(i)] = true end
    for _, t in ipairs(tasks) do
        if not t.same_as then by_id[t.task] = t else own[t.task] = nil end
        same[t.task] = t.same_as
    end
    local has_same = next(same) ~= nil
    for _, t in ipairs(tasks) do
        if t.depends_on and t.depends_on ~= '' then
            local problem
            t.dependencies, problem = parse(t, same)
            if problem then return 'task ' .. t.task .. ': ' .. problem end
            count = count + #t.dependencies
            if count > sw.MAX_DEPENDENCIES then
                return 'task ' .. t.task .. ': depends_on: at most ' .. sw.MAX_DEPENDENCIES
                    .. ' dependencies in one call, and there are more'
            end
            if has_same then sw.set_field(t, 'depends_on', table.concat(t.dependencies, ',')) end
        end
    end
    if count == 0 then return nil end
    local cycle, order = cycle_among(tasks, by_id)
    if cycle then return 'depends_on: the tasks form the cycle ' .. cycle end
    local states = {}
    for _, t in ipairs(order) do
        t.waits = {}
        for _, id in ipairs(t.dependencies or {}) do
            -- A dependency in the same submission may be cancelled at once, and its dependents with it.
            local state = own[id] and (by_id[id] and by_id[id].broken and 'cancelled' or 'pending') or states[id]
            if not state then
                state = call('HGET', q.task_prefix .. id, 'state')
                if not sw.is_task(state) then state = known and known(id) end
            end
            if not state then
                return 'task ' .. t.task .. ': depends_on: there is no task ' .. id .. ' in queue ' .. q.name
            end
            states[id] = state
            if state ~= 'completed' then
                if state ~= 'gone' and not sw.TERMINAL[state] then
                    t.waits[#t.waits + 1] = id
                elseif t.run_anyway ~= '1' then
                    t.broken = t.broken or id .. ' is ' .. state
                end
            end
        end
    end
end

-- Notes that `id` waits for each of `others`, which have not ended.
function sw.depend(c, id, others)
    for _, other in ipairs(others) do
        c.depends[#c.depends + 1] = other
        c.depends[#c.depends + 1] = id
    end
end

-- Called by commit, before commit_depends. Removes tasks that are retried from the sets of dependents.
function sw.commit_undepends(c)
    local q = c.q
    for id in pairs(c.undepends) do
        for other in string.gmatch(call('HGET', q.task_prefix .. id, 'depends_on') or '', '[^,]+') do
            sw.derived('ZREM', q.prefix .. 'dependents:' .. other, id)
        end
    end
end

-- Called by commit. Writes the sets of dependents, and marks the tasks that have some.
function sw.commit_depends(c)
    local q, marked = c.q, {}
    for i = 1, #c.depends, 2 do
        local other = c.depends[i]
        sw.derived('ZADD', q.prefix .. 'dependents:' .. other, 0, c.depends[i + 1])
        if not marked[other] then
            marked[other] = true
            local key = q.task_prefix .. other
            local v = call('HMGET', key, 'state', 'uses', 'worker')
            if sw.is_task(v[1]) and not v[2] then call('HSET', key, 'uses', 'dependencies') end
            if sw.LIVE[v[1]] then sw.mark_lease(q, v[3], other) end
        end
    end
end

-- Whether other tasks wait for the end of this one.
function sw.has_dependents(q, id)
    return call('EXISTS', q.prefix .. 'dependents:' .. id) == 1
end

-- Called by transition.lua when a task with dependencies, dependents or a unique key ends.
function sw.note_end(c, task, state)
    c.ended[#c.ended + 1] = { id = task.id, state = state }
    if task.unique_key then
        c.gives[#c.gives + 1] = { task.unique_key, task.id, state == 'completed' and task.unique_for_ms or nil }
    end
end

-- Called by finish when a task completes whose lease says that other tasks may depend on it.
function sw.note_completed(c, id)
    c.ended[#c.ended + 1] = { id = id, state = 'completed' }
end

-- Whether `task` still depends on `dependency`. Its id may have belonged to an earlier task that did.
local function depends_on(q, task, dependency)
    local text = call('HGET', q.task_prefix .. task.id, 'depends_on')
    return text and find(',' .. text .. ',', ',' .. dependency .. ',', 1, true) ~= nil
end

-- Settles one dependency of `id`, which has ended as `state`.
local function settle(c, id, dependency, state)
    if sw.planned_state(c, id) then return end
    local task = c.waiting[id] or sw.read(c.q, id)
    if not task or task.held_by ~= 'dependencies' or not depends_on(c.q, task, dependency) then return end
    if state ~= 'completed' and not task.run_anyway then
        c.waiting[id] = nil
        sw.cancel_task(c, task, 'its dependency ' .. dependency .. ' is ' .. state)
        return
    end
    c.waiting[id] = task
    task.deps_left = task.deps_left - 1
end

-- Settles up to `budget` dependents of a task that has ended. Ticks do the rest, for which the list `cascade` has the
-- task's id. Returns how many it settled.
local function settle_task(c, id, state, budget)
    -- `cascade` contains a task twice if it was retried meanwhile. Its set is shortened by commit, so it is settled
    -- only once.
    if c.settled[id] then return 0 end
    local key = c.q.prefix .. 'dependents:' .. id
    local ids = budget > 0 and call('ZRANGE', key, 0, budget) or {}
    local n = math.min(#ids, budget)
    local settled = {}
    for i = 1, n do
        settle(c, ids[i], id, state)
        settled[i] = ids[i]
    end
    if n > 0 then c.settled[id] = settled end
    if #ids > n or budget <= 0 and sw.has_dependents(c.q, id) then c.cascade[#c.cascade + 1] = id end
    return n
end

-- Called by commit. Settles up to `budget` dependents of the tasks that this call ends, including those that it
-- cancels in the process. Returns how many.
function sw.follow_up(c, budget)
    if not sw.has(c, 'ended') and not sw.has(c, 'waiting') then return 0 end
    local settled, i = 0, 0
    while i < #c.ended do
        i = i + 1
        settled = settled + settle_task(c, c.ended[i].id, c.ended[i].state, budget - settled)
    end
    c.ended = {}
    for id, task in pairs(c.waiting) do
        if task.deps_left <= 0 then
            sw.release(c, task, {})
        else
            sw.write_fields(c, id, { 'deps_left', tostring(task.deps_left) })
        end
    end
    c.waiting = {}
    return settled
end

-- Puts a task that waits for nothing any more in line, or in `held` if its run_at is in the future.
function sw.release(c, task, fields)
    local opts = { clear = { 'deps_left' } }
    if task.run_at and task.run_at > c.q.now then opts.held_by, opts.due_at = 'schedule', sw.digits(task.run_at) end
    sw.move(c, task, 'pending', fields, opts)
end

-- Whether task `id` neither exists nor is about to enter the queue with its batch. `state` is the state in its hash.
function sw.is_gone(q, id, state)
    return not sw.is_task(state) and call('HEXISTS', q.claims_key, id) == 0
end

-- Called by the reconciler when the hash of task `id` is gone. Ticks settle the tasks that depend on it.
function sw.note_gone(q, id)
    if not sw.has_dependents(q, id) or not sw.is_gone(q, id, call('HGET', q.task_prefix .. id, 'state')) then return end
    sw.ensure(q, 'has_holds')
    sw.write_config(q)
    sw.derived('RPUSH', q.prefix .. 'cascade', id)
end

-- Adds a task to the dependents of `other` again. If `other` has ended (`is_over`), ticks settle the task.
local function await(c, id, other, is_over)
    local q = c.q
    sw.depend(c, id, { other })
    if is_over and not call('LPOS', q.prefix .. 'cascade', other) then
        sw.derived('RPUSH', q.prefix .. 'cascade', other)
    end
end

-- Called by the reconciler. Compares the dependencies of `id`, a waiting task, with the sets of dependents. Returns
-- how many dependencies it has, and how many repairs were made.
function sw.check_awaited(q, id)
    local task, c, repaired = sw.read(q, id), sw.changes(q), 0
    if not task or task.held_by ~= 'dependencies' then return 0, 0 end
    local count, standing, completed, gone = 0, 0, 0, nil
    for other in string.gmatch(call('HGET', q.task_prefix .. id, 'depends_on') or '', '[^,]+') do
        local state = call('HGET', q.task_prefix .. other, 'state')
        local is_gone = sw.is_gone(q, other, state)
        local is_over = is_gone or sw.TERMINAL[state] or false
        local stands = call('ZSCORE', q.prefix .. 'dependents:' .. other, id)
        count = count + 1
        if stands then
            if is_over then await(c, id, other, true) end
        elseif not is_over or not is_gone and state ~= 'completed' and not task.run_anyway then
            await(c, id, other, is_over)
            stands, repaired = true, repaired + 1
        elseif is_gone then
            gone = gone or other
        else
            completed = completed + 1
        end
        if stands then standing = standing + 1 end
    end
    local lost = task.deps_left - standing
    if lost > completed and gone then
        -- More dependencies ended without being settled than have completed. How those that are gone ended is
        -- unknown.
        await(c, id, gone, true)
        repaired = repaired + 1
    elseif lost ~= 0 then
        repaired = repaired + 1
        if standing == 0 then
            sw.release(c, task, {})
        else
            sw.write_fields(c, id, { 'deps_left', tostring(standing) })
        end
    end
    rawset(c, 'is_general', true)
    sw.commit(c)
    if repaired > 0 then sw.add_to_stat(q, 'repaired', repaired) end
    return count, repaired
end

-- Called by tick. Continues with ended tasks that had too many dependents for one call: settles up to `budget` of
-- these, and counts a task without dependents as one. Returns how many.
function sw.plan_cascade(c, budget)
    local ids, left, n = call('LRANGE', c.q.prefix .. 'cascade', 0, budget - 1), budget, 0
    while left > 0 and n < #ids do
        n = n + 1
        local state, settled = call('HGET', c.q.task_prefix .. ids[n], 'state'), 0
        if sw.TERMINAL[state] then
            settled = settle_task(c, ids[n], state, left)
        elseif sw.is_gone(c.q, ids[n], state) then
            settled = settle_task(c, ids[n], 'gone', left)
        end
        left = left - math.max(settled, 1)
    end
    if n > 0 then c.cascaded[1] = n end
    return budget - left
end

-- Called by commit. Shortens the sets of settled dependents and the list `cascade`.
function sw.commit_cascade(c)
    local prefix = c.q.prefix
    for id, settled in pairs(rawget(c, 'settled') or {}) do
        sw.derived('ZREM', prefix .. 'dependents:' .. id, unpack(settled))
    end
    if sw.has(c, 'cascaded') then sw.derived('LTRIM', prefix .. 'cascade', c.cascaded[1], -1) end
    local cascade = rawget(c, 'cascade')
    if cascade and #cascade > 0 then sw.derived('RPUSH', prefix .. 'cascade', unpack(cascade)) end
end

-- Adds the results of its dependencies to an assignment, as the pair `dependency_results`: JSON by task id. A long or
-- absent result is null; the worker reads it from the dependency's hash.
--   plan   the plan of the pull, which limits the bytes of all its assignments
function sw.add_dependency_results(q, plan, assignment)
    for i = 1, #assignment, 2 do
        if assignment[i] == 'depends_on' then
            local results, any, bytes = {}, false, 0
            for id in string.gmatch(assignment[i + 1], '[^,]+') do
                local key = q.task_prefix .. id
                local length = bytes < RESULTS_BYTES and call('HSTRLEN', key, 'result') or 0
                local result = length > 0 and length <= RESULT_BYTES and call('HGET', key, 'result')
                results[id] = result or cjson.null
                bytes = bytes + (result and length or 0)
                any = true
            end
            if any then
                assignment[#assignment + 1] = 'dependency_results'
                assignment[#assignment + 1] = cjson.encode(results)
                plan.bytes = plan.bytes + bytes
            end
            return
        end
    end
end

-- For a retry: returns the ids of the dependencies that an ended task has to wait for, or nil and why it cannot run:
-- a dependency did not succeed, or is gone although the task has never run.
--   again   the tasks that the same call retries, by id
function sw.await_again(q, task, again)
    local text = call('HGET', q.task_prefix .. task.id, 'depends_on')
    local open = {}
    for other in string.gmatch(text or '', '[^,]+') do
        local state = call('HGET', q.task_prefix .. other, 'state')
        if again[other] or (sw.is_task(state) and not sw.TERMINAL[state]) then
            open[#open + 1] = other
        elseif task.run_anyway or state == 'completed' then
            -- The task does not wait for it.
        elseif not sw.is_task(state) then
            if task.attempt == 0 then return nil, 'its dependency ' .. other .. ' is gone' end
        else
            return nil, 'its dependency ' .. other .. ' is ' .. state .. '; retry that too'
        end
    end
    return open
end
