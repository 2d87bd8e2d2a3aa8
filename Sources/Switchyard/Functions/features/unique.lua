-- Unique tasks: while a task with a unique_key has not ended (and for unique_for_ms after it has completed), an equal
-- submission returns that task instead of building it twice. `unique:<key>` is its id.

-- The task that already has the key of `t`, as id and state; or nil.
function sw.holder_of_key(q, t)
    local id = call('GET', q.prefix .. 'unique:' .. t.unique_key)
    local state = id and call('HGET', q.task_prefix .. id, 'state')
    if not sw.is_task(state) then return nil end
    if sw.TERMINAL[state] and state ~= 'completed' then return nil end
    return id, state
end

-- Called by commit.
--   c.takes   unique keys to take, each followed by the task's id
--   c.gives   { key, id, unique_for_ms or nil }: keys to give up, at once or later
function sw.commit_unique(c)
    local prefix = c.q.prefix .. 'unique:'
    local takes = rawget(c, 'takes') or {}
    for i = 1, #takes, 2 do call('SET', prefix .. takes[i], takes[i + 1]) end
    for _, entry in ipairs(rawget(c, 'gives') or {}) do
        if pcall_redis('GET', prefix .. entry[1]) == entry[2] then
            if entry[3] then
                call('PEXPIRE', prefix .. entry[1], entry[3])
            else
                call('DEL', prefix .. entry[1])
            end
        end
    end
end
