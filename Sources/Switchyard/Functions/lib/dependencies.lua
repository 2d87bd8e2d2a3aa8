-- Dependencies: a task with depends_on waits in `waiting` until each of those has completed. Each of those keeps the
-- list `dependents:<id>` of who waits for it, so its end costs by its own dependents only. If one ends without success,
-- its dependents are cancelled, and theirs, unless they run anyway.

-- The tasks that `t` depends on, without repetition; or nil and what is wrong. A task that is not made, because an equal
-- one was there before, stands for that one: `same` tells its id.
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
    if #ids > 1000 then return nil, 'depends_on: at most 1000 tasks, found ' .. #ids end
    return ids
end

-- A cycle among the tasks of one submission as text, or nil; and the tasks in an order in which each comes after those that
-- it depends on. Depth first, with a stack of its own: chains are long.
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

-- Checks depends_on of all tasks of a submission, and finds out what each still waits for: t.dependencies (ids),
-- t.waits_for (how many have not ended), t.broken (one that ended without success). Answers what is wrong, or nil.
function sw.check_dependencies(q, tasks)
    local by_id, same, any = {}, {}, false
    for _, t in ipairs(tasks) do
        if not t.same_as then by_id[t.task] = t end
        same[t.task] = t.same_as
    end
    for _, t in ipairs(tasks) do
        if t.depends_on and t.depends_on ~= '' then
            local problem
            t.dependencies, problem = parse(t, same)
            if problem then return 'task ' .. t.task .. ': ' .. problem end
            any = true
            if next(same) then sw.set_field(t, 'depends_on', table.concat(t.dependencies, ',')) end
        end
    end
    if not any then return nil end
    local cycle, order = cycle_among(tasks, by_id)
    if cycle then return 'depends_on: the tasks form the cycle ' .. cycle end
    local states = {}
    for _, t in ipairs(order) do
        t.waits_for = 0
        for _, id in ipairs(t.dependencies or {}) do
            -- One of the same submission may be cancelled at once, and those that depend on it with it.
            local state = by_id[id] and (by_id[id].broken and 'cancelled' or 'pending') or states[id] or call('HGET', q.prefix .. 'task:' .. id, 'state')
            if not state then
                return 'task ' .. t.task .. ': depends_on: there is no task ' .. id .. ' in queue ' .. q.name
            end
            states[id] = state
            if state ~= 'completed' then
                if sw.TERMINAL[state] then
                    if t.run_anyway ~= '1' then t.broken = t.broken or id .. ' is ' .. state end
                else
                    t.waits_for = t.waits_for + 1
                end
            end
        end
    end
end

-- Notes that `id` waits for each of `dependencies` that has not ended. Written by commit.
function sw.depend(c, id, dependencies)
    c.depends = c.depends or {}
    for _, other in ipairs(dependencies) do
        c.depends[#c.depends + 1] = other
        c.depends[#c.depends + 1] = id
    end
end

-- Called by commit: the lists of dependents, and the mark on those that have some.
function sw.commit_depends(c)
    local prefix = c.q.prefix
    for i = 1, #c.depends, 2 do
        local key = prefix .. 'task:' .. c.depends[i]
        local v = call('HMGET', key, 'state', 'uses', 'worker')
        if v[1] and not sw.TERMINAL[v[1]] then
            call('RPUSH', prefix .. 'dependents:' .. c.depends[i], c.depends[i + 1])
            if not v[2] then call('HSET', key, 'uses', 'dependencies') end
            if sw.LIVE[v[1]] then sw.mark_lease(c.q, v[3], c.depends[i]) end
        end
    end
end

-- One dependency of `id` has ended as `state`.
local function settle(c, id, dependency, state)
    if c.moved[id] then return end
    local task = c.waiting[id] or sw.read(c.q, id)
    if not task or task.state ~= 'pending' or (task.held_by ~= 'dependencies' and task.held_by ~= 'batch') then return end
    if state ~= 'completed' and not task.run_anyway then
        if task.held_by == 'batch' then
            -- Nobody sees it yet: it is cancelled when its batch is opened.
            sw.write_hash(c, c.q.task_prefix .. id, { 'broken', dependency .. ' is ' .. state })
            return
        end
        c.waiting[id] = nil
        sw.cancel_task(c, task, 'its dependency ' .. dependency .. ' is ' .. state)
        return
    end
    c.waiting[id] = task
    task.deps_left = task.deps_left - 1
end

-- Settles up to `budget` dependents of the ended task `id`. Answers how many, and whether all are.
local function settle_dependents(c, id, state, budget)
    local key = c.q.prefix .. 'dependents:' .. id
    local ids = call('LRANGE', key, 0, budget)
    local n = math.min(#ids, budget)
    for i = 1, n do settle(c, ids[i], id, state) end
    c.dependents[id] = n
    return n, n == #ids
end

-- Settles up to `budget` dependents of a task that has ended; what is beyond that is left to the ticks, in the list `cascade`.
-- Answers how many.
local function settle_task(c, task, budget)
    -- It stands in `cascade` twice when it was retried meanwhile; its list is cut when this call commits, not before.
    if c.dependents[task.id] then return 0 end
    local n, all = 0, false
    if budget > 0 then n, all = settle_dependents(c, task.id, task.ended_as, budget) end
    -- Most have none: those are not left to the ticks.
    if not all and (n > 0 or sw.has_dependents(c.q, task.id)) then
        c.cascade[#c.cascade + 1] = task.id
    end
    return n
end

-- Settles up to `budget` dependents of the tasks that this call ends, and of those that it cancels for that, and so on.
-- Answers how many.
function sw.settle_ended(c, budget)
    local settled, i = 0, 0
    while i < #c.ended do
        i = i + 1
        settled = settled + settle_task(c, c.ended[i], budget - settled)
    end
    c.ended = {}
    for id, task in pairs(c.waiting) do
        if task.deps_left <= 0 and task.held_by == 'dependencies' then
            sw.release(c, task, {})
        else
            sw.write_hash(c, c.q.task_prefix .. id, { 'deps_left', tostring(task.deps_left) })
        end
    end
    c.waiting = {}
    return settled
end

-- Nothing holds the task any more, but perhaps its run_at.
function sw.release(c, task, fields)
    local opts = { clear = { 'deps_left' } }
    if task.run_at and task.run_at > c.q.now then
        opts.held_by = 'schedule'
        sw.move(c, task, 'pending', sw.digits(task.run_at), fields, opts)
    else
        sw.move(c, task, 'pending', task.place, fields, opts)
    end
end

-- Called by tick: goes on with ended tasks whose dependents were too many for one call, up to `budget` of these; one that has
-- none left counts as one. Answers how many.
function sw.plan_cascade(c, budget)
    local ids, left, n = call('LRANGE', c.q.prefix .. 'cascade', 0, budget - 1), budget, 0
    while left > 0 and n < #ids do
        n = n + 1
        local task, settled = sw.read(c.q, ids[n]), 0
        if task and sw.TERMINAL[task.state] then
            task.ended_as = task.state
            settled = settle_task(c, task, left)
        end
        left = left - math.max(settled, 1)
    end
    c.cascaded = n
    return budget - left
end

-- Called by commit.
function sw.commit_cascade(c)
    local prefix = c.q.prefix
    for id, n in pairs(c.dependents) do
        if n > 0 then call('LTRIM', prefix .. 'dependents:' .. id, n, -1) end
    end
    if c.cascaded and c.cascaded > 0 then call('LTRIM', prefix .. 'cascade', c.cascaded, -1) end
    if #c.cascade > 0 then call('RPUSH', prefix .. 'cascade', unpack(c.cascade)) end
end

-- Adds to an assignment what its dependencies answered: the pair `dependency_results`, JSON by task id. A result
-- that is longer than 4096 bytes, or none, is null there: read it from the dependency's hash.
function sw.add_dependency_results(q, assignment)
    for i = 1, #assignment, 2 do
        if assignment[i] == 'depends_on' then
            local results, any = {}, false
            for id in string.gmatch(assignment[i + 1], '[^,]+') do
                local result = call('HGET', q.prefix .. 'task:' .. id, 'result')
                results[id] = result and #result <= 4096 and result or cjson.null
                any = true
            end
            if any then
                assignment[#assignment + 1] = 'dependency_results'
                assignment[#assignment + 1] = cjson.encode(results)
            end
            return
        end
    end
end

-- A task that has ended is to run again: it waits for those of its dependencies that have not ended. One that ended
-- without success is passed over, for a person asked. Answers how many it waits for.
function sw.await_again(c, id)
    local text = call('HGET', c.q.prefix .. 'task:' .. id, 'depends_on')
    local open = {}
    for other in string.gmatch(text or '', '[^,]+') do
        local state = call('HGET', c.q.prefix .. 'task:' .. other, 'state')
        if state and not sw.TERMINAL[state] then open[#open + 1] = other end
    end
    -- It may still stand in their lists from before: counted twice, it would not wait for the others.
    for _, other in ipairs(open) do call('LREM', c.q.prefix .. 'dependents:' .. other, 0, id) end
    if #open > 0 then sw.depend(c, id, open) end
    return #open
end
